/* What BatchNorm remembers, and what its statistics are taken from: PyTorch's numbers, and several ranks that are one. */
#include "common/comm/virtual.h"
#include "common/nn/gradient_sum.h"
#include "common/nn/layers.h"
#include "common/nn/optimizer.h"
#include "run_floor/scratch.h"
#include "support/tape_test.h"

#include <math.h>

/* tolerance: of a value of 1 or less, and relative to larger ones. */
static void compare(const char *what, int64_t count, const float *got, const float *want, double tolerance)
{
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= tolerance * fmax(1, fabs((double)want[i]))))
            fail_msg("%s: element %ld is %.9g, not %.9g", what, (long)i, (double)got[i], (double)want[i]);
}

static void compare_tensor(Tape *t, const char *what, const Tensor *x, const float *want)
{
    float *values = floats_of(t, x);
    compare(what, tensor_count(x), values, want, 2e-6);
    mem_free(values);
}

/* ---- torch.nn.BatchNorm1d(3, eps=1e-3, momentum=0.3) of PyTorch 2.15: two batches in training, one in evaluation */

typedef struct Layer {
    Params *params;
    BatchNorm norm;
    Tape *tape;
} Layer;

static Layer layer_new(void)
{
    Layer l = {.params = params_new(), .tape = test_tape(1)};
    l.norm = batch_norm_new(l.params, "bn", 3, 1e-3f, 0.3f);
    params_allocate(l.params, true, 0, test_backend());
    param_write(l.params, l.norm.weight, (float[]){1.5f, -0.5f, 0.75f});
    param_write(l.params, l.norm.bias, (float[]){0.25f, 0.5f, -1});
    return l;
}

static void layer_free(Layer *l)
{
    tape_free(l->tape);
    params_free(l->params);
}

static int64_t batches_of(const Layer *l)
{
    int64_t batches;
    param_read(l->params, l->norm.num_batches_tracked, &batches);
    return batches;
}

/* [4,3,2] of ((i step) % modulus) / over + shift */
static Tensor *pattern(Tape *t, int step, int modulus, float over, float shift)
{
    float values[24];
    for (int i = 0; i < 24; i++)
        values[i] = (float)(i * step % modulus) / over + shift;
    Tensor *x = tensor_from(t, F32, SHAPE(4, 3, 2), values);
    tensor_needs_gradient(x);
    return x;
}

static Tensor *first_batch(Tape *t)
{
    return pattern(t, 7, 11, 4, -1);
}

static Tensor *forward_and_back(const Layer *l, Phase phase, Tensor *x, Tensor *weights)
{
    params_zero_gradients(l->params);
    Region before = region_open(l->tape, phase, GRAD);
    Tensor *y = tape_keep(l->tape, batch_norm(l->tape, &l->norm, x));
    tape_backward(l->tape, &y, &weights, 1);
    region_close(l->tape, before);
    return y;
}

static const float torch_mean[] = {0.829687536f, 0.924375057f, 0.863437533f};
static const float torch_variance[] = {0.701305807f, 0.706294656f, 0.700853765f};

static void train_as_torch(const Layer *l)
{
    static const float y1[] = {-2.12949038f, 1.47190046f,   1.021662f,     -0.101917624f, -0.458274126f, -1.42134237f,
                               2.50086927f,  0.442931652f,  1.34268475f,   0.219105124f,  -0.939808249f, -1.9028765f,
                               1.47190046f,  -0.586037159f, -0.101917624f, 0.540127873f,  -1.42134237f,  0.264027059f,
                               0.442931652f, -1.61500597f,  0.219105124f,  0.861150622f,  -1.9028765f,   -0.217507064f};
    static const float y2[] = {-1.73421907f, 0.155513406f, -0.116634995f, 0.979605198f,  -1.08019876f,  -0.0108795166f,
                               -0.22243309f, 1.66729939f,  1.1166352f,    0.431485087f,  -0.224743366f, -1.93565416f,
                               1.28935289f,  -1.73421907f, 0.568515122f,  -0.116634995f, -2.14951801f,  -1.08019876f,
                               2.80113888f,  -0.22243309f, 0.0203950256f, 1.1166352f,    -1.29406261f,  -0.224743366f};
    static const float dx2[] = {-2.86614513f, 1.15933347f,  -0.787536621f, -0.118298262f, 0.980469346f,  -1.25668585f,
                                2.77309537f,  -3.78392792f, -0.856823623f, -1.54915762f,  -0.638163745f, 0.0327359997f,
                                -2.17016625f, 3.1809988f,   1.54915762f,   0.856823623f,  0.651258111f,  -1.58589697f,
                                3.46907425f,  -1.76226258f, 0.118298262f,  0.787536621f,  -0.967374921f, 2.78365803f};
    Tape *t = l->tape;
    Tensor *weights = pattern(t, 3, 7, 2, -1.5f), *x = pattern(t, 5, 13, 8, 2);
    compare_tensor(t, "first batch", forward_and_back(l, TRAIN, first_batch(t), weights), y1);
    assert_int_equal(batches_of(l), 1);
    compare_tensor(t, "second batch", forward_and_back(l, TRAIN, x, weights), y2);
    compare_tensor(t, "dx", tensor_gradient(x), dx2);
    compare_tensor(t, "dgamma", tensor_gradient(l->norm.weight), (float[]){1.07084846f, 5.0701108f, -3.88519335f});
    compare_tensor(t, "dbeta", tensor_gradient(l->norm.bias), (float[]){-3, 0, 3});
    tape_reset(t);
    compare_tensor(t, "running mean", l->norm.running_mean, torch_mean);
    compare_tensor(t, "running variance", l->norm.running_var, torch_variance);
    assert_int_equal(batches_of(l), 2);
}

static void evaluate_as_torch(const Layer *l)
{
    static const float y[] = {-3.02495265f,  0.107367456f,  1.19819474f,  0.157776803f, -1.32536268f, -2.22059941f,
                              1.002316f,     -0.787581146f, 1.49545705f,  0.455039084f, -1.77298105f, -2.6682179f,
                              0.107367456f,  -1.68252969f,  0.157776803f, 0.752301335f, -2.22059941f, -0.653934956f,
                              -0.787581146f, -2.57747841f,  0.455039084f, 1.04956365f,  -2.6682179f,  -1.10155344f};
    static const float dx[] = {-2.68484616f, 0, -0.891786814f, 0.297262281f,  0.89523685f, -0.89523685f, 0.894948721f,
                               -2.68484616f, 0, -0.891786814f, -0.447618425f, 0.89523685f, -1.78989744f, 0.894948721f,
                               0.891786814f, 0, 1.34285522f,   -0.447618425f, 1.78989744f, -1.78989744f, -0.297262281f,
                               0.891786814f, 0, 1.34285522f};
    Tape *t = l->tape;
    Tensor *x = first_batch(t);
    compare_tensor(t, "evaluation", forward_and_back(l, EVAL, x, pattern(t, 3, 7, 2, -1.5f)), y);
    compare_tensor(t, "dx in evaluation", tensor_gradient(x), dx);
    compare_tensor(t, "dgamma in evaluation", tensor_gradient(l->norm.weight),
                   (float[]){5.20748281f, -1.63494253f, -3.39033675f});
    tape_reset(t);
    compare_tensor(t, "running mean", l->norm.running_mean, torch_mean); /* as it was */
    assert_int_equal(batches_of(l), 2);
}

static void it_is_torchs(void **state)
{
    (void)state;
    Layer l = layer_new();
    train_as_torch(&l);
    evaluate_as_torch(&l);
    layer_free(&l);
}

/* A teacher in training without gradients remembers, too. */
static void a_batch_without_gradients_is_remembered(void **state)
{
    (void)state;
    Layer l = layer_new();
    Region before = region_open(l.tape, TRAIN, NO_GRAD);
    batch_norm(l.tape, &l.norm, first_batch(l.tape));
    batch_norm(l.tape, &l.norm, pattern(l.tape, 5, 13, 8, 2));
    region_close(l.tape, before);
    compare_tensor(l.tape, "running mean", l.norm.running_mean, torch_mean);
    assert_int_equal(batches_of(&l), 2);
    layer_free(&l);
}

static void one_value(void *argument)
{
    (void)argument;
    Layer l = layer_new();
    region_open(l.tape, TRAIN, GRAD);
    batch_norm(l.tape, &l.norm, random_leaf(l.tape, "x", SHAPE(1, 3)));
}

static void read_and_written(void *argument)
{
    (void)argument;
    Layer l = layer_new();
    region_open(l.tape, TRAIN, GRAD);
    square(l.tape, multiply(l.tape, l.norm.running_mean, random_leaf(l.tape, "x", SHAPE(3))));
    batch_norm(l.tape, &l.norm, random_leaf(l.tape, "x", SHAPE(4, 3)));
}

static void no_channels_there(void *argument)
{
    (void)argument;
    Layer l = layer_new();
    batch_norm(l.tape, &l.norm, random_leaf(l.tape, "x", SHAPE(4, 5)));
}

static void what_is_refused(void **state)
{
    (void)state;
    char message[512];
    int status = child_status(one_value, NULL, false, message);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 2);
    assert_string_equal(message, "batch norm in training needs more than one value of a channel; raise "
                                 "train.batch_size\n");
    expect_broken_contract(read_and_written, NULL, "standardize_channels: a recorded op still reads the state");
    expect_broken_contract(no_channels_there, NULL, "5 channels, and parameters or buffers of others");
}

/* ---- Files */

static bool write_params(Params *p, const char *path, const char *leave_out, Error *e)
{
    int count, kept = 0;
    TensorToWrite *all = params_to_write(p, &count);
    for (int i = 0; i < count; i++)
        if (!leave_out || strcmp(all[i].name, leave_out) != 0)
            all[kept++] = all[i];
    bool good = safetensors_write(path, all, kept, NULL, 0, e);
    mem_free(all);
    return good;
}

/* The names are torch's; files from before num_batches_tracked are whole, and leave it as it is. */
static void its_buffers_come_back(void **state)
{
    Layer l = layer_new();
    train_as_torch(&l);
    static const char *const names[] = {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var",
                                        "bn.num_batches_tracked"};
    assert_int_equal(params_count(l.params), COUNT_OF(names));
    for (int i = 0; i < COUNT_OF(names); i++)
        assert_string_equal(params_at(l.params, i)->name, names[i]);
    assert_int_equal(params_elements(l.params), 6); /* buffers are none of them */
    assert_true(batch_norm_is_in(l.params));
    for (int old = 0; old < 2; old++) {
        Error e;
        LoadReport report;
        char *path = path_join(*state, old ? "old.safetensors" : "new.safetensors");
        assert_true(write_params(l.params, path, old ? "bn.num_batches_tracked" : NULL, &e));
        TensorFile *file = tensor_file_open(path, &e);
        Layer again = layer_new();
        if (!params_load(again.params, file, &(LoadOptions){.strict = true}, &report, &e))
            fail_msg("%s", e.text);
        assert_int_equal(batches_of(&again), old ? 0 : 2);
        param_write(again.params, again.norm.num_batches_tracked, &(int64_t){2});
        evaluate_as_torch(&again);
        load_report_free(&report);
        tensor_file_close(file);
        layer_free(&again);
        mem_free(path);
    }
    layer_free(&l);
}

/* ---- Ranks: a batch whose samples lie on several of them, in shares of any size */

enum { BATCH = 8, CHANNELS = 5, AREA = 6, MOST_RANKS = 4, SAMPLE = CHANNELS * AREA };

typedef struct Shared {
    bool sync, rows; /* rows: [B,AREA,CHANNELS] */
    int share[MOST_RANKS];
    float x[BATCH][SAMPLE], dy[BATCH][SAMPLE];
    float y[BATCH][SAMPLE], dx[BATCH][SAMPLE];
    float dweight[MOST_RANKS][CHANNELS], dbias[MOST_RANKS][CHANNELS];
    float mean[MOST_RANKS][CHANNELS], variance[MOST_RANKS][CHANNELS];
} Shared;

static void normalise_a_share(Comm *c, void *user)
{
    Shared *s = user;
    int rank = comm_rank(c), first = 0, mine = s->share[rank];
    for (int r = 0; r < rank; r++)
        first += s->share[r];
    Shape shape = s->rows ? SHAPE(mine, AREA, CHANNELS) : SHAPE(mine, CHANNELS, 2, AREA / 2);
    Params *p = params_new();
    BatchNorm norm = batch_norm_new(p, "bn", CHANNELS, 1e-5f, 0.1f);
    norm.relu = true;
    params_allocate(p, true, 0, test_backend());
    float weight[CHANNELS], bias[CHANNELS];
    random_floats("weight", CHANNELS, 0.5, 2, weight);
    random_floats("bias", CHANNELS, -1, 1, bias);
    param_write(p, norm.weight, weight);
    param_write(p, norm.bias, bias);
    Tape *t = tape_new(&(TapeOptions){.backend = test_backend(), .threads = 1, .comm = c});
    tape_sync_batch_norm(t, s->sync);
    Region before = region_open(t, TRAIN, GRAD);
    Tensor *x = tensor_from(t, F32, shape, s->x[first]), *dy = tensor_from(t, F32, shape, s->dy[first]);
    tensor_needs_gradient(x);
    Tensor *y = tape_keep(t, s->rows ? batch_norm_rows(t, &norm, x) : batch_norm(t, &norm, x));
    tape_backward(t, &y, &dy, 1);
    region_close(t, before);
    tensor_read(t, y, s->y[first]);
    tensor_read(t, tensor_gradient(x), s->dx[first]);
    tensor_read(t, tensor_gradient(norm.weight), s->dweight[rank]);
    tensor_read(t, tensor_gradient(norm.bias), s->dbias[rank]);
    param_read(p, norm.running_mean, s->mean[rank]);
    param_read(p, norm.running_var, s->variance[rank]);
    tape_free(t);
    params_free(p);
}

/* The mean stands away from 0, so that a sum of squares would show. */
static Shared shared_new(bool sync, bool rows, int ranks, const int *share)
{
    Shared s = {.sync = sync, .rows = rows};
    memcpy(s.share, share, (size_t)ranks * sizeof *share);
    random_floats("x", BATCH * SAMPLE, 2, 6, s.x[0]);
    random_floats("dy", BATCH * SAMPLE, -1, 1, s.dy[0]);
    virtual_ranks_run(ranks, normalise_a_share, &s, NULL);
    return s;
}

static void add_ranks(float *sum, float of_rank[][CHANNELS], int ranks)
{
    for (int c = 0; c < CHANNELS; c++) {
        sum[c] = 0;
        for (int r = 0; r < ranks; r++)
            sum[c] += of_rank[r][c];
    }
}

static const struct {
    int ranks, share[MOST_RANKS];
} splits[] = {{2, {4, 4}}, {4, {2, 2, 2, 2}}, {2, {1, 7}}, {3, {3, 1, 4}}};

static void synchronised_ranks_are_one(void **state)
{
    (void)state;
    for (int rows = 0; rows < 2; rows++) {
        Shared one = shared_new(true, rows, 1, (int[]){BATCH});
        for (int i = 0; i < COUNT_OF(splits); i++) {
            int ranks = splits[i].ranks;
            float dweight[CHANNELS], dbias[CHANNELS];
            Shared many = shared_new(true, rows, ranks, splits[i].share);
            add_ranks(dweight, many.dweight, ranks);
            add_ranks(dbias, many.dbias, ranks);
            compare("y", BATCH * SAMPLE, many.y[0], one.y[0], 1e-6);
            compare("dx", BATCH * SAMPLE, many.dx[0], one.dx[0], 1e-6);
            compare("dweight", CHANNELS, dweight, one.dweight[0], 1e-5); /* of sums of 48 */
            compare("dbias", CHANNELS, dbias, one.dbias[0], 1e-5);
            for (int r = 0; r < ranks; r++) { /* the same bits on every rank */
                compare("running mean", CHANNELS, many.mean[r], one.mean[0], 1e-6);
                compare("running variance", CHANNELS, many.variance[r], one.variance[0], 1e-6);
                assert_memory_equal(many.mean[r], many.mean[0], sizeof many.mean[0]);
                assert_memory_equal(many.variance[r], many.variance[0], sizeof many.variance[0]);
            }
        }
    }
}

/* By default each rank is alone with its share, and N of them are not one. */
static void ranks_are_alone_by_default(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT_OF(splits); i++) {
        Shared many = shared_new(false, false, splits[i].ranks, splits[i].share),
               one = shared_new(false, false, 1, (int[]){BATCH});
        for (int r = 0, first = 0; r < splits[i].ranks; first += splits[i].share[r++]) {
            int mine = splits[i].share[r];
            Shared alone = {.share = {mine}};
            memcpy(alone.x, many.x[first], (size_t)mine * sizeof many.x[0]);
            memcpy(alone.dy, many.dy[first], (size_t)mine * sizeof many.dy[0]);
            virtual_ranks_run(1, normalise_a_share, &alone, NULL);
            assert_memory_equal(many.y[first], alone.y, (size_t)mine * sizeof alone.y[0]);
            assert_memory_equal(many.dx[first], alone.dx, (size_t)mine * sizeof alone.dx[0]);
            assert_memory_equal(many.mean[r], alone.mean[0], sizeof alone.mean[0]);
            assert_memory_equal(many.variance[r], alone.variance[0], sizeof alone.variance[0]);
            assert_memory_not_equal(many.y[first], one.y[first], (size_t)mine * sizeof one.y[0]);
        }
    }
}

/* ---- A small network in training: convolution, norm with relu, mean over the map, classes */

enum { STEPS = 20, CLASSES = 3, SIDE = 6, IN = 2 };

typedef struct Learning {
    bool sync;
    double loss[MOST_RANKS][STEPS];
} Learning;

typedef struct Network {
    Params *params;
    Conv2d conv;
    BatchNorm bn;
    Linear head;
} Network;

static Network network_new(void)
{
    Network n = {.params = params_new()};
    n.conv = conv2d_new(n.params, "conv", IN, CHANNELS, 3, (Convolve){.pad = 1});
    n.bn = batch_norm_new(n.params, "bn", CHANNELS, 1e-5f, 0.1f);
    n.bn.relu = true;
    n.head = linear_torch_new(n.params, "head", CHANNELS, CLASSES, true);
    params_allocate(n.params, true, 3, test_backend());
    return n;
}

static Tensor *logits_of(Tape *t, const Network *n, Tensor *x)
{
    Tensor *map = batch_norm(t, &n->bn, conv2d(t, &n->conv, x)); /* with channels last: the convolution's own layout */
    Tensor *pooled = mean_tokens(t, tokens_from_map(t, map));
    return linear(t, &n->head, reshape(t, pooled, SHAPE(x->shape.dim[0], CHANNELS)));
}

static void learn(Comm *c, void *user)
{
    Learning *l = user;
    int rank = comm_rank(c), mine = BATCH / comm_ranks(c);
    float images[BATCH][IN * SIDE * SIDE], targets[BATCH][CLASSES] = {0};
    random_floats("images", BATCH * IN * SIDE * SIDE, -1, 1, images[0]);
    for (int i = 0; i < BATCH; i++)
        targets[i][i % CLASSES] = 1;
    Network n = network_new();
    Tape *t = tape_new(&(TapeOptions){.backend = test_backend(), .threads = 1, .comm = c});
    tape_sync_batch_norm(t, l->sync);
    Optimizer *o = optimizer_new(&(OptimizerOptions){.kind = OPTIMIZER_SGD, .momentum = 0.9}, n.params);
    GradientSum *g = gradient_sum_new(n.params, t, 16);
    for (int step = 0; step < STEPS; step++) {
        tape_set_step(t, (uint32_t)step);
        params_zero_gradients(n.params);
        gradient_sum_begin(g);
        Region before = region_open(t, TRAIN, GRAD);
        Tensor *x = tensor_from(t, F32, SHAPE(mine, IN, SIDE, SIDE), images[rank * mine]);
        Tensor *target = tensor_from(t, F32, SHAPE(mine, CLASSES), targets[rank * mine]);
        Tensor *losses = soft_cross_entropy(t, logits_of(t, &n, x), target, NULL);
        Tensor *loss = scale(t, sum_all(t, losses), 1.0f / BATCH);
        l->loss[rank][step] = (double)tensor_scalar(t, loss);
        tape_backward(t, &loss, NULL, 1);
        region_close(t, before);
        gradient_sum_finish(g);
        optimizer_step(o, t, 0.3);
        tape_reset(t);
    }
    gradient_sum_free(g);
    optimizer_free(o);
    tape_free(t);
    params_free(n.params);
}

/* The loss of every step, of all ranks together. */
static void losses_of(bool sync, int ranks, double loss[STEPS])
{
    Learning l = {.sync = sync};
    virtual_ranks_run(ranks, learn, &l, NULL);
    for (int step = 0; step < STEPS; step++) {
        loss[step] = 0;
        for (int r = 0; r < ranks; r++)
            loss[step] += l.loss[r][step];
    }
}

static double furthest(const double *a, const double *b)
{
    double most = 0;
    for (int step = 0; step < STEPS; step++)
        most = fmax(most, fabs(a[step] - b[step]));
    return most;
}

static void ranks_learn_as_one(void **state)
{
    (void)state;
    double one[STEPS], many[STEPS];
    losses_of(true, 1, one);
    print_message("losses %.3f to %.3f\n", one[0], one[STEPS - 1]);
    assert_true(one[STEPS - 1] < 0.8 * one[0]);
    for (int ranks = 2; ranks <= MOST_RANKS; ranks *= 2) {
        losses_of(true, ranks, many);
        print_message("%d synchronised ranks: losses at most %.1e from those of one", ranks, furthest(one, many));
        assert_true(furthest(one, many) < 3e-6);
        losses_of(false, ranks, many);
        print_message(", each alone %.1e\n", furthest(one, many));
        assert_true(furthest(one, many) > 1e-3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_torchs),
        cmocka_unit_test(a_batch_without_gradients_is_remembered),
        cmocka_unit_test(what_is_refused),
        SCRATCH_TEST(its_buffers_come_back),
        cmocka_unit_test(synchronised_ranks_are_one),
        cmocka_unit_test(ranks_are_alone_by_default),
        cmocka_unit_test(ranks_learn_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
