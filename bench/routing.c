/* The Routing Transformer's variant B, a training step of its language model: forward, loss, backward, Adam, the means. */
#include "bench/side/network.h"
#include "common/base/memory.h"
#include "common/nn/optimizer.h"
#include "common/tensor/random.h"
#include "models/routing/routing.h"

#include <string.h>

extern const Model routing_model; /* of the folder */

static const double LEARNING_RATE = 1e-4;

typedef struct Network {
    Settings *settings;
    const LucidrainsConfig *config;
    Params *params;
    Lucidrains *model;
    Optimizer *optimizer;
    Tape *tape;
    Shape shape;     /* [B,S+1] */
    int64_t *tokens; /* every one but the last is read */
    uint32_t step;
} Network;

static Tensor *loss_of(Network *n)
{
    const LucidrainsInput in = {.tokens = tensor_from(n->tape, I64, n->shape, n->tokens)};
    return tape_keep(n->tape, lucidrains_loss(n->tape, n->model, &in, n->config->ignore_index).total);
}

/* Leaves the gradients with the parameters; the means have taken their step. */
static Tensor *forward_backward(Network *n)
{
    Tape *t = n->tape;
    Region before = region_open(t, TRAIN, GRAD);
    tape_set_step(t, n->step++);
    params_zero_gradients(n->params);
    Tensor *loss = loss_of(n);
    tape_backward(t, &loss, NULL, 1);
    region_close(t, before);
    lucidrains_update_means(t, n->model);
    return loss;
}

static void train(void *own)
{
    Network *n = own;
    forward_backward(n);
    optimizer_step(n->optimizer, n->tape, LEARNING_RATE);
    tape_reset(n->tape);
}

/* The first forward finds the means, so that both sides begin with clusters of these tokens. Returns its multiply-adds. */
static double find_means(Network *n)
{
    Region before = region_open(n->tape, EVAL, NO_GRAD);
    loss_of(n);
    tape_reset(n->tape);
    tape_macs_reset(n->tape);
    loss_of(n);
    double macs = tape_macs(n->tape);
    tape_reset(n->tape);
    region_close(n->tape, before);
    return macs;
}

/* ---- Results and inputs as files */

static bool check(void *own, const char *path, Error *e)
{
    Network *n = own;
    bool good = network_write_step(path, n->params, forward_backward(n), e);
    tape_reset(n->tape);
    return good;
}

static bool write_inputs(const Network *n, const char *path, Error *e)
{
    int count;
    TensorToWrite *list = network_list(n->params, "param", false, 1, &count);
    list[count] = (TensorToWrite){"tokens", I64, 2, {n->shape.dim[0], n->shape.dim[1]}, n->tokens};
    return network_write(path, list, count + 1, count, e);
}

/* ---- Making one */

static void close_network(void *own)
{
    Network *n = own;
    optimizer_free(n->optimizer);
    lucidrains_free(n->model);
    params_free(n->params);
    tape_free(n->tape);
    settings_free(n->settings);
    mem_free(n->tokens);
    mem_free(n);
}

/* Any tokens but 0, which does not count. */
static void draw_tokens(Network *n, uint32_t seed)
{
    Random r = random_at(seed, STREAM_DATA, random_site("tokens"), 0);
    int64_t count = shape_count(n->shape);
    n->tokens = mem_new((size_t)count * sizeof *n->tokens);
    for (int64_t i = 0; i < count; i++)
        n->tokens[i] = 1 + random_integer(&r, n->config->num_tokens - 1);
}

static Network *make_network(const char *config, const char *precision, int64_t batch, int threads, uint32_t seed,
                             Error *e)
{
    const Backend *backend = cpu_backend(e);
    const char *const pairs[] = {"precision", precision, NULL};
    Settings *settings = backend ? network_settings(&routing_model, config, pairs, e) : NULL;
    if (!settings)
        return NULL;
    Network *n = mem_new(sizeof *n);
    const RoutingConfig *c = settings->model;
    *n = (Network){.settings = settings, .config = &c->lucidrains, .params = params_new()};
    n->shape = SHAPE(batch, n->config->max_seq_len + 1);
    n->model = lucidrains_new(n->config, n->params);
    params_allocate(n->params, true, seed, backend);
    n->tape = tape_new(&(TapeOptions){.backend = backend,
                                      .threads = threads,
                                      .seed = seed,
                                      .inner = settings->run.precision == PRECISION_BF16 ? BF16 : F32});
    draw_tokens(n, seed);
    return n;
}

static bool prepare(Case *c, Words *words, const char *inputs, Error *e)
{
    const char *config = words_text(words, "config", "lucidrains_enwik8"), *mode = words_text(words, "mode", "train"),
               *precision = words_text(words, "precision", "fp32");
    int64_t batch = words_int(words, "batch", 1), threads = words_int(words, "threads", 2);
    int64_t seed = words_int(words, "seed", 0);
    if (strcmp(mode, "train") || batch < 1 || threads < 1 || seed < 0)
        return error_set(e, "expected mode=train, batch and threads above 0, and a seed");
    Network *n = make_network(config, precision, batch, (int)threads, (uint32_t)seed, e);
    if (!n)
        return false;
    n->optimizer = optimizer_new(&(OptimizerOptions){.kind = OPTIMIZER_ADAM, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
                                 n->params);
    *c = (Case){.own = n,
                .flop = 3 * 2 * find_means(n), /* by input and by weight: two more products each */
                .items = batch * n->config->max_seq_len,
                .threads = (int)threads,
                .tape = n->tape,
                .operation = train,
                .check = check,
                .close = close_network};
    bool good = write_inputs(n, inputs, e);
    if (!good)
        close_network(n);
    return good;
}

int main(void)
{
    return side_main(prepare);
}
