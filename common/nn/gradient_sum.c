#include "common/nn/gradient_sum.h"

#include "common/autograd/op.h"

typedef struct Bucket {
    int first, last; /* parameters, as they are registered; those in between that are buffers lie elsewhere */
    CommSum *sum;
} Bucket;

struct GradientSum {
    Params *params;
    Tape *tape;
    ARRAY(Bucket) buckets; /* in the order in which they are sent */
    ARRAY(CommSum *) sums; /* the buckets', and that of the flags behind them */
    float *touched;        /* [parameters]: on how many ranks */
    size_t begun, over;    /* buckets */
    int whole;             /* of the next bucket, parameters from here on are whole */
};

enum { BUCKET_FLOATS = 1 << 20 };

static Param *trainable_at(const GradientSum *g, int i)
{
    Param *param = params_at(g->params, i);
    return param->state.trainable ? param : NULL;
}

static void add_bucket(GradientSum *g, int first, int last, int64_t from, int64_t to)
{
    float *gradients = params_flat_gradients(g->params);
    int tag = (int)g->buckets.count + 1;
    CommSum *sum = comm_sum_new(tape_comm(g->tape), g->tape->backend, tag, gradients + from, to - from);
    *array_add(&g->buckets) = (Bucket){first, last, sum};
    *array_add(&g->sums) = sum;
}

static void fill_buckets(GradientSum *g, int64_t least)
{
    int last = params_count(g->params) - 1;
    int64_t end = params_flat_count(g->params);
    for (int i = last; i >= 0; i--) {
        const Param *param = trainable_at(g, i);
        if (!param || (end - param->offset < least && param->offset > 0))
            continue;
        if (end > param->offset)
            add_bucket(g, i, last, param->offset, end);
        end = param->offset;
        last = i - 1;
    }
}

static void look(void *own);

GradientSum *gradient_sum_new(Params *p, Tape *t, int64_t bucket_floats)
{
    if (comm_ranks(tape_comm(t)) == 1)
        return NULL;
    GradientSum *g = mem_new(sizeof *g);
    *g = (GradientSum){.params = p, .tape = t};
    fill_buckets(g, bucket_floats ? bucket_floats : BUCKET_FLOATS);
    g->touched = mem_new((size_t)params_count(p) * sizeof *g->touched);
    *array_add(&g->sums) = comm_sum_new(tape_comm(t), NULL, (int)g->buckets.count + 1, g->touched, params_count(p));
    tape_on_node_done(t, look, g);
    return g;
}

void gradient_sum_free(GradientSum *g)
{
    if (!g)
        return;
    tape_on_node_done(g->tape, NULL, NULL);
    for (size_t i = 0; i < g->sums.count; i++)
        comm_sum_free(g->sums.items[i]);
    array_free(&g->sums);
    array_free(&g->buckets);
    mem_free(g->touched);
    mem_free(g);
}

static int last_of_next(const GradientSum *g)
{
    return g->begun < g->buckets.count ? g->buckets.items[g->begun].last + 1 : 0;
}

void gradient_sum_begin(GradientSum *g)
{
    if (!g)
        return;
    g->begun = g->over = 0;
    g->whole = last_of_next(g);
}

/* What did not arrive here counts as zero where it did on another rank. */
static void begin_next(GradientSum *g)
{
    const Bucket *b = &g->buckets.items[g->begun++];
    for (int i = b->first; i <= b->last; i++) {
        Param *param = trainable_at(g, i);
        if (!param)
            continue;
        if (!param->state.touched)
            op_zero(g->tape, &param->gradient);
        param->state.summed = true;
    }
    comm_sum_begin(b->sum);
    g->whole = last_of_next(g);
}

static bool next_is_whole(GradientSum *g)
{
    if (g->begun == g->buckets.count)
        return false;
    const Bucket *b = &g->buckets.items[g->begun];
    while (g->whole > b->first && params_at(g->params, g->whole - 1)->state.pending == 0)
        g->whole--;
    return g->whole == b->first;
}

/* Between two ops of the way back. Messages move when they are asked after. */
static void look(void *own)
{
    GradientSum *g = own;
    while (next_is_whole(g))
        begin_next(g);
    bool oldest = true;
    for (size_t i = g->over; i < g->begun; i++) {
        oldest = comm_sum_go_on(g->buckets.items[i].sum) && oldest;
        g->over += oldest;
    }
}

void gradient_sum_finish(GradientSum *g)
{
    if (!g)
        return;
    int count = params_count(g->params);
    for (int i = 0; i < count; i++)
        g->touched[i] = trainable_at(g, i) && params_at(g->params, i)->state.touched;
    while (g->begun < g->buckets.count)
        begin_next(g);
    comm_sum_begin(g->sums.items[g->sums.count - 1]);
    comm_sums_finish(g->sums.items, (int)g->sums.count);
    for (int i = 0; i < count; i++)
        if (trainable_at(g, i))
            params_at(g->params, i)->state.touched = g->touched[i] > 0;
}
