#include "bench/side/classifier.h"

#include "bench/side/network.h"
#include "common/autograd/ops.h"
#include "common/base/memory.h"
#include "common/nn/optimizer.h"

#include <string.h>

static const double LEARNING_RATE = 1e-5;

static const ClassifierSide *side; /* whose side this process is */

typedef struct Network {
    Settings *settings;
    Params *params;
    void *model;
    Optimizer *optimizer; /* NULL: inference */
    Tape *tape;
    Shape image_shape;
    float *images, *targets; /* [B,C,S,S], [B,classes] */
    int64_t *labels;
    int classes;
    uint32_t step;
} Network;

static Tensor *forward(Network *n)
{
    const Classifier *c = side->model->workload_hooks;
    return c->forward(n->tape, n->model, tensor_from(n->tape, F32, n->image_shape, n->images), NULL);
}

/* Leaves the gradients with the parameters. */
static Tensor *forward_backward(Network *n)
{
    Tape *t = n->tape;
    Region before = region_open(t, TRAIN, GRAD);
    tape_set_step(t, n->step++);
    params_zero_gradients(n->params);
    Tensor *targets = tensor_from(t, F32, SHAPE(n->image_shape.dim[0], n->classes), n->targets);
    Tensor *loss = tape_keep(t, mean_all(t, soft_cross_entropy(t, forward(n), targets, NULL)));
    tape_backward(t, &loss, NULL, 1);
    region_close(t, before);
    return loss;
}

static void train(void *own)
{
    Network *n = own;
    forward_backward(n);
    optimizer_step(n->optimizer, n->tape, LEARNING_RATE);
    tape_reset(n->tape);
}

static void infer(void *own)
{
    Network *n = own;
    forward(n);
    tape_reset(n->tape);
}

/* ---- Results and inputs as files */

static bool check_training(void *own, const char *path, Error *e)
{
    Network *n = own;
    bool good = network_write_step(path, n->params, forward_backward(n), e);
    tape_reset(n->tape);
    return good;
}

static bool check_inference(void *own, const char *path, Error *e)
{
    Network *n = own;
    Tensor *logits = forward(n);
    TensorToWrite result = side_to_write("logits", logits);
    bool good = safetensors_write(path, &result, 1, NULL, 0, e);
    tape_reset(n->tape);
    return good;
}

static bool write_inputs(const Network *n, const char *path, Error *e)
{
    int count;
    const int64_t *d = n->image_shape.dim;
    TensorToWrite *list = network_list(n->params, "param", false, 2, &count);
    list[count] = (TensorToWrite){"x", F32, 4, {d[0], d[1], d[2], d[3]}, n->images};
    list[count + 1] = (TensorToWrite){"labels", I64, 1, {d[0]}, n->labels};
    return network_write(path, list, count + 2, count, e);
}

/* ---- Making one */

static void close_network(void *own)
{
    Network *n = own;
    optimizer_free(n->optimizer);
    if (n->model)
        side->model->destroy(n->model);
    params_free(n->params);
    tape_free(n->tape);
    settings_free(n->settings);
    mem_free(n->images);
    mem_free(n->targets);
    mem_free(n->labels);
    mem_free(n);
}

static void make_batch(Network *n, int64_t batch)
{
    const Classifier *c = side->model->workload_hooks;
    const void *config = n->settings->model;
    int64_t image = side->image_side(config);
    n->classes = c->classes(config);
    n->image_shape = SHAPE(batch, c->channels(config), image, image);
    int64_t values = shape_count(n->image_shape);
    n->images = mem_new((size_t)values * sizeof *n->images);
    n->targets = mem_new((size_t)(batch * n->classes) * sizeof *n->targets);
    n->labels = mem_new((size_t)batch * sizeof *n->labels);
    side_fill("images", values, 2, F32, n->images);
    for (int64_t i = 0; i < batch; i++) {
        n->labels[i] = (i * 37 + 11) % n->classes;
        n->targets[i * n->classes + n->labels[i]] = 1;
    }
}

static double count_forward_flop(Network *n)
{
    tape_macs_reset(n->tape);
    infer(n);
    return 2 * tape_macs(n->tape);
}

static Network *make_network(const char *config, const char *precision, int64_t batch, int threads, Error *e)
{
    const Backend *backend = cpu_backend(e);
    const char *const pairs[] = {side->noise_key, "0", "precision", precision, NULL}; /* a peer would draw others */
    Settings *settings = backend ? network_settings(side->model, config, pairs, e) : NULL;
    if (!settings)
        return NULL;
    Network *n = mem_new(sizeof *n);
    *n = (Network){.settings = settings, .params = params_new()};
    n->model = side->model->create(settings->model, n->params);
    params_allocate(n->params, true, 0, backend);
    n->tape = tape_new(&(TapeOptions){
        .backend = backend, .threads = threads, .inner = settings->run.precision == PRECISION_BF16 ? BF16 : F32});
    make_batch(n, batch);
    return n;
}

static bool prepare(Case *c, Words *words, const char *inputs, Error *e)
{
    const char *config = words_text(words, "config", side->config), *mode = words_text(words, "mode", "train"),
               *precision = words_text(words, "precision", "fp32");
    int64_t batch = words_int(words, "batch", 32);
    int threads = (int)words_int(words, "threads", 2);
    bool training = strcmp(mode, "train") == 0;
    if ((!training && strcmp(mode, "infer")) || batch < 1 || threads < 1)
        return error_set(e, "expected mode=train|infer, and batch and threads above 0");
    Network *n = make_network(config, precision, batch, threads, e);
    if (!n)
        return false;
    if (training)
        n->optimizer = optimizer_new(&side->optimizer, n->params);
    *c = (Case){.own = n,
                .flop = count_forward_flop(n) * (training ? 3 : 1), /* by input and by weight: two more products each */
                .items = batch,
                .threads = threads,
                .tape = n->tape,
                .operation = training ? train : infer,
                .check = training ? check_training : check_inference,
                .close = close_network};
    bool good = write_inputs(n, inputs, e);
    if (!good)
        close_network(n);
    return good;
}

int classifier_side(const ClassifierSide *of)
{
    side = of;
    return side_main(prepare);
}
