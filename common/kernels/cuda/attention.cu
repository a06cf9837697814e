/* Attention on the GPU: the family's entries, and which kernels a backward pass is made of. */
#include "common/kernels/cuda/attention.cuh"

static size_t forward_scratch(const Exec *, const AttentionShape *s)
{
    return attention_statistics_bytes(s);
}

static size_t backward_scratch(const Exec *, const AttentionShape *s)
{
    return attention_statistics_bytes(s) + attention_bias_bytes(s, &s->bias);
}

static void check_types(const HeadRows *x, int count)
{
    for (int i = 0; i < count; i++)
        contract(!x[i].data || x[i].type == F32 || x[i].type == BF16, "attention: rows of %s, not float32 or bfloat16",
                 dtype_name(x[i].type));
}

static void forward(const Exec *exec, const AttentionShape *s, HeadRows q, HeadRows k, HeadRows v, HeadRows o,
                    float *lse)
{
    const HeadRows all[] = {q, k, v, o};
    check_types(all, 4);
    attention_forward(exec, s, q, k, v, o, lse);
}

static void probabilities(const Exec *exec, const AttentionShape *s, HeadRows q, HeadRows k, const float *lse, float *p)
{
    const HeadRows all[] = {q, k};
    check_types(all, 2);
    attention_probabilities(exec, s, q, k, lse, p);
}

static void backward(const Exec *exec, const AttentionShape *s, HeadRows q, HeadRows k, HeadRows v, HeadRows o,
                     const float *lse, HeadRows d_o, const float *dlse, bool add, HeadRows dq, HeadRows dk, HeadRows dv,
                     ScoreTable dbias)
{
    const HeadRows all[] = {q, k, v, o, d_o, dq, dk, dv}, none = {NULL, 0, 0, F32};
    check_types(all, 8);
    contract(!dbias.data || (s->bias.data && dbias.heads == s->bias.heads), "attention backward: dbias is not of bias");
    size_t rows_bytes = attention_statistics_bytes(s), bytes = rows_bytes + attention_bias_bytes(s, &dbias);
    contract(exec->scratch_bytes >= bytes, "attention backward: %zu bytes of scratch, not %zu", exec->scratch_bytes,
             bytes);
    if (s->batch == 0)
        return;
    Statistics statistics = attention_statistics(exec, s, q, k, o, d_o, lse, dlse);
    Backward c = {*s, q, k, v, d_o, dq, dk, dv, dbias, statistics, add};
    if (dq.data)
        attention_backward_queries(exec, &c);
    if (dbias.data)
        attention_backward_bias(exec, &c, (float *)((char *)exec->scratch + rows_bytes));
    bool alike = s->k_heads == s->v_heads && shared_by_all(s, dk) == shared_by_all(s, dv);
    if (dk.data && dv.data && !alike) {
        c.dv = none;
        attention_backward_keys(exec, &c);
        c.dv = dv;
        c.dk = none;
    }
    if (c.dk.data || c.dv.data)
        attention_backward_keys(exec, &c);
}

const AttentionKernels cuda_attention = {
    .forward_scratch = forward_scratch,
    .backward_scratch = backward_scratch,
    .forward = forward,
    .backward = backward,
    .probabilities = probabilities,
    .softmax = attention_softmax,
    .softmax_gradient = attention_softmax_gradient,
};
