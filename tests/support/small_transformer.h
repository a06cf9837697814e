/* A transformer of two blocks on random tokens: small enough for a test, large enough that threads share its kernels. */
#pragma once
#include "common/nn/layers.h"
#include "common/nn/optimizer.h"
#include "support/tape_test.h"

enum { BLOCKS = 2 };

typedef struct Transformer {
    Params *params;
    Tensor *position;
    VitBlock blocks[BLOCKS];
    LayerNorm norm;
    Linear head;
    int64_t batch, tokens, width, classes;
} Transformer;

static inline Transformer transformer_new(int64_t batch, int64_t tokens, int64_t width, float noise)
{
    const Init init = {INIT_NORMAL, 0.05};
    Transformer m = {.params = params_new(), .batch = batch, .tokens = tokens, .width = width, .classes = 10};
    m.position = params_add(m.params, "pos_embed", SHAPE(1, tokens, width), init);
    for (int i = 0; i < BLOCKS; i++) {
        char name[16];
        snprintf(name, sizeof name, "blocks.%d", i);
        m.blocks[i] = vit_block_new(m.params, name,
                                    &(VitBlockShape){.width = width,
                                                     .hidden = 2 * width,
                                                     .heads = 2,
                                                     .qkv_bias = true,
                                                     .eps = 1e-6f,
                                                     .dropout = noise,
                                                     .drop_path = noise,
                                                     .weight = init});
    }
    m.norm = layer_norm_new(m.params, "norm", width, 1e-6f);
    m.head = linear_new(m.params, "head", width, m.classes, true, init);
    return m;
}

static inline Tensor *transformer_logits(Tape *t, const Transformer *m, Tensor *x)
{
    Scope s = scope_open(t);
    x = add_rows(t, x, m->position);
    for (int i = 0; i < BLOCKS; i++)
        x = vit_block(t, &m->blocks[i], x);
    Tensor *pooled = mean_tokens(t, layer_norm(t, &m->norm, x)); /* [B,1,C] */
    return scope_close(t, s, linear(t, &m->head, reshape(t, pooled, SHAPE(m->batch, m->width))));
}

/* Forward, backward and a step of the optimizer; returns the loss. */
static inline float transformer_step(Tape *t, Transformer *m, Optimizer *o, const float *x, const float *targets,
                                     uint32_t step)
{
    tape_set_step(t, step);
    Region before = region_open(t, TRAIN, GRAD);
    Tensor *in = tensor_from(t, F32, SHAPE(m->batch, m->tokens, m->width), x);
    Tensor *target = tensor_from(t, F32, SHAPE(m->batch, m->classes), targets);
    Tensor *loss = mean_all(t, soft_cross_entropy(t, transformer_logits(t, m, in), target, NULL));
    float value = tensor_scalar(t, loss);
    params_zero_gradients(m->params);
    tape_backward(t, &loss, NULL, 1);
    region_close(t, before);
    optimizer_step(o, t, 1e-3);
    tape_reset(t);
    return value;
}
