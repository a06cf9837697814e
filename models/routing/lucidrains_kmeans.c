#include "models/routing/lucidrains_attention.h"

#include "common/attention/kmeans.h"
#include "common/autograd/ranks.h"
#include "common/base/memory.h"

enum { FIRST_ROUNDS = 10 };
static const float NORM_EPS = 1e-12f;

/* The mean of where the forwards since the last update would put the means. */
struct Wanted {
    Tensor *centres; /* [H,K,d], a state */
    int forwards;
    bool begun; /* the means were found, and initted says so */
};

Kmeans kmeans_new(Params *p, int64_t heads, int64_t clusters, int64_t width, double decay, double commitment)
{
    const Shape shape = SHAPE(heads, clusters, width);
    Kmeans k = {.decay = (float)decay, .commitment = (float)commitment, .site = random_site(params_name(p, "init"))};
    k.means = params_add_buffer(p, "means", shape, (Init){INIT_NORMAL, 1});
    k.initted = params_add_flags(p, "initted", (Shape){0}, 0);
    k.wanted = mem_new(sizeof *k.wanted);
    k.wanted->centres = state_new(params_states(p), shape, F32);
    return k;
}

void kmeans_free(Kmeans *k)
{
    mem_free(k->wanted);
    k->wanted = NULL;
}

/* The centres of x as `nearest` assigns it. */
static Tensor *centres_of(Tape *t, const Kmeans *k, Tensor *x, Tensor *assigned, const Tensor *means)
{
    KmeansSums batch = kmeans_sums(t, x, assigned, tensor_dim(k->means, 1));
    return kmeans_centres(t, &batch, means);
}

void kmeans_begin(Tape *t, const Kmeans *k, Tensor *x, const int64_t *index)
{
    Region before = region_open(t, tape_training(t) ? TRAIN : EVAL, NO_GRAD);
    Scope s = scope_open(t);
    int64_t heads = tensor_dim(x, 2), width = tensor_dim(x, 3), clusters = tensor_dim(k->means, 1);
    int32_t *rows = mem_new((size_t)(clusters * heads) * sizeof *rows);
    for (int64_t i = 0; i < clusters * heads; i++)
        rows[i] = (int32_t)index[i / heads];
    Tensor *chosen = tensor_from(t, I32, SHAPE(1, clusters, heads), rows);
    mem_free(rows);
    Tensor *all = comm_gather_rows(t, x);
    all = reshape(t, all, SHAPE(1, tensor_dim(all, 0) * tensor_dim(all, 1), heads, width));
    Tensor *means = permute(t, gather_rows(t, all, chosen), (const int[]){0, 2, 1, 3}); /* [1,H,K,d] */
    means = reshape(t, means, SHAPE(heads, clusters, width));
    for (int i = 0; i < FIRST_ROUNDS; i++)
        means = scope_close(t, s, centres_of(t, k, x, nearest(t, cluster_scores(t, x, means)), means));
    state_set(t, k->means, means);
    state_set(t, k->initted, tensor_from(t, U8, (Shape){0}, &(uint8_t){1}));
    scope_close_n(t, s, NULL, 0);
    region_close(t, before);
    k->wanted->forwards = 0;
}

/* So many different tokens out of all ranks', or, if there are fewer, tokens that may repeat. */
static void begin_anywhere(Tape *t, const Kmeans *k, Tensor *x)
{
    int64_t tokens = tensor_dim(x, 0) * tensor_dim(x, 1) * comm_ranks(tape_comm(t)), clusters = tensor_dim(k->means, 1);
    int64_t *index = mem_new((size_t)MAX(tokens, clusters) * sizeof *index);
    Random r = {.draw = tape_draw(t, k->site), .replay = tape_replaying(t)};
    if (tokens >= clusters)
        random_permutation(&r, tokens, index);
    else
        for (int64_t i = 0; i < clusters; i++)
            index[i] = random_integer(&r, tokens);
    kmeans_begin(t, k, x, index);
    mem_free(index);
}

/* The forward's part of the mean. */
static void want(Tape *t, const Kmeans *k, Tensor *unit, Tensor *assigned)
{
    Region before = region_open(t, TRAIN, NO_GRAD);
    Scope s = scope_open(t);
    float past = (float)k->wanted->forwards;
    kmeans_follow(t, past / (past + 1), centres_of(t, k, unit, assigned, k->means), k->wanted->centres);
    k->wanted->forwards++;
    scope_close_n(t, s, NULL, 0);
    region_close(t, before);
}

/* Asked of the device until it is so, once: nothing makes it untrue. */
static bool begun(Tape *t, const Kmeans *k)
{
    uint8_t initted = 1; /* where there is no memory to read, too */
    if (!k->wanted->begun)
        tensor_read(t, k->initted, &initted);
    return k->wanted->begun = initted;
}

Tensor *kmeans_scores(Tape *t, const Kmeans *k, Tensor *x, Tensor **aux)
{
    if (!begun(t, k))
        begin_anywhere(t, k, x);
    Scope s = scope_open(t);
    Tensor *unit = normalize_l2(t, x, NORM_EPS);
    Tensor *scores = cluster_scores(t, unit, k->means); /* [B,H,N,K] */
    Tensor *assigned = nearest(t, scores);              /* [B,H,N]   */
    Tensor *loss = scale(t, kmeans_loss(t, unit, k->means, assigned), k->commitment);
    if (tape_training(t))
        want(t, k, unit, assigned);
    Tensor *both[] = {scores, loss};
    scope_close_n(t, s, both, 2);
    *aux = both[1];
    return both[0];
}

void kmeans_update(Tape *t, const Kmeans *k)
{
    if (!k->wanted || k->wanted->forwards == 0)
        return;
    kmeans_follow(t, k->decay, k->wanted->centres, k->means);
    k->wanted->forwards = 0;
}
