/* The golden harness: a toy model with a transposed kernel, a shared tensor, a flag and a counter passes its file, and every
 * altered tensor of the file is found. */
#include "common/autograd/ops.h"
#include "common/run/golden.h"
#include "run_floor/scratch.h"

static const Backend *backend(void)
{
    Error e;
    return cpu_backend(&e);
}

typedef struct Toy {
    Params *params;
    Tensor *kernel, *bias, *count, *initted;
} Toy;

static Toy toy_new(void)
{
    Toy m = {.params = params_new()};
    m.kernel = params_add(m.params, "kernel", SHAPE(3, 2), INIT_ZEROS); /* [out, in] */
    m.bias = params_add(m.params, "bias", SHAPE(3), INIT_ZEROS);
    m.count = params_add_buffer(m.params, "count", (Shape){0}, INIT_ZEROS);
    m.initted = params_add_flags(m.params, "initted", (Shape){0}, 0);
    params_store_transposed(m.params, m.kernel);
    params_alias(m.params, "bias_again", m.bias);
    params_allocate(m.params, true, 0, backend());
    return m;
}

/* y = x kernel + bias; then the counter counts the step. */
static bool run_toy(Golden *g, Error *e)
{
    Tape *t = golden_tape(g);
    Toy m = toy_new();
    Tensor *x = NULL, *ids = NULL;
    bool good =
        golden_params(g, m.params, e) && (x = golden_input(g, "x", e)) && (ids = golden_integers(g, "ids", I64, e));
    if (good) {
        Tensor *y = affine(t, x, m.kernel, m.bias), *aux = sum_all(t, y);
        golden_output(g, "y", y);
        golden_output(g, "ids", ids);
        golden_output(g, "aux", aux);
        golden_backward(g, 1, (const char *const[]){"y"}, &y, m.params);
        *(float *)m.count->data += 1;
        *(uint8_t *)m.initted->data = 1;
        golden_running(g, m.params);
        golden_updated(g, m.params);
    }
    params_free(m.params);
    return good;
}

static const GoldenEntry entries[] = {{"toy", run_toy}, {NULL, NULL}};

/* The file's tensors; `aux` of rank 1 though ours has rank 0, the gradient of a shared tensor under its first name. */
enum { TENSORS = 15 };
static const float kernel[] = {1, 2, 3, 4, 5, 6}, bias[] = {0.5f, 0, -1}, seven[] = {7}, eight[] = {8},
                   x[] = {1, -1, 2, 0};
static const float y[] = {-2.5f, -3, -4, 2.5f, 4, 5}, cotangent[] = {1, 0, 2, 0, 1, 0}, aux[] = {2};
static const float grad_kernel[] = {1, 2, 2, -1, 0, -2}, grad_bias[] = {1, 1, 2}, grad_x[] = {7, 16, 2, 5};
static const int64_t ids[] = {3, 1};
static const uint8_t no = 0, yes = 1;
static const TensorToWrite tensors[TENSORS] = {
    {"param/kernel", F32, 2, {2, 3}, kernel},
    {"param/bias", F32, 1, {3}, bias},
    {"param/bias_again", F32, 1, {3}, bias},
    {"param/count", F32, 0, {0}, seven},
    {"param/initted", U8, 0, {0}, &no},
    {"input/x", F32, 2, {2, 2}, x},
    {"input/ids", I64, 1, {2}, ids},
    {"output/y", F32, 2, {2, 3}, y},
    {"output/ids", I64, 1, {2}, ids},
    {"output/aux", F32, 1, {1}, aux},
    {"cotangent/y", F32, 2, {2, 3}, cotangent},
    {"grad/kernel", F32, 2, {2, 3}, grad_kernel},
    {"grad/bias", F32, 1, {3}, grad_bias},
    {"grad_input/x", F32, 2, {2, 2}, grad_x},
    {"output/updated.count", F32, 0, {0}, eight},
};

/* What golden_run answers to these tensors and one more. */
static int answer(const char *folder, const TensorToWrite *list, const TensorToWrite *more)
{
    TensorToWrite all[TENSORS + 1];
    memcpy(all, list, TENSORS * sizeof *all);
    if (more)
        all[TENSORS] = *more;
    char *path = path_join(folder, "toy.safetensors");
    const MetadataEntry metadata[] = {{"model", "toys"}, {"entry", "toy"}, {"config", "{}"}, {"mode", "train"}};
    Error e;
    assert_true(safetensors_write(path, all, TENSORS + (more != NULL), metadata, COUNT_OF(metadata), &e));
    int code = golden_run(path, "toys", entries, backend(), 1);
    mem_free(path);
    return code;
}

static void the_file_passes(void **state)
{
    assert_int_equal(answer(*state, tensors, NULL), 0);
    assert_int_equal(answer(*state, tensors, &(TensorToWrite){"output/updated.initted", U8, 0, {0}, &yes}), 0);
    assert_int_equal(answer(*state, tensors, &(TensorToWrite){"output/running.count", F32, 0, {0}, eight}), 0);
    assert_int_equal(answer(*state, tensors, &(TensorToWrite){"output/running.count", F32, 0, {0}, seven}), 1);
    assert_int_equal(answer(*state, tensors, &(TensorToWrite){"grad/bias_again", F32, 1, {3}, grad_bias}), 0);
}

static void every_altered_tensor_is_found(void **state)
{
    for (int i = 0; i < TENSORS; i++) {
        TensorToWrite list[TENSORS];
        memcpy(list, tensors, sizeof list);
        size_t bytes = dtype_bytes(list[i].type);
        for (int a = 0; a < list[i].rank; a++)
            bytes *= (size_t)list[i].shape[a];
        unsigned char *copy = mem_copy(list[i].data, bytes);
        copy[bytes - 1] ^= list[i].type == F32 ? 0x7f : 2; /* another exponent, another integer */
        list[i].data = copy;
        bool unseen =
            strcmp(list[i].name, "param/initted") == 0; /* it is overwritten, and its outcome not in the file */
        int code = answer(*state, list, NULL);
        if ((code == 0) != unseen)
            fail_msg("altered %s: exit %d", list[i].name, code);
        mem_free(copy);
    }
}

static void what_nothing_computes_is_found(void **state)
{
    static const char *const names[] = {"output/nothing", "output/updated.nothing", "grad/nothing",
                                        "param/nothing",  "input/nothing",          "loss/nothing"};
    for (int i = 0; i < COUNT_OF(names); i++)
        assert_int_equal(answer(*state, tensors, &(TensorToWrite){names[i], F32, 1, {1}, seven}), 1);
    assert_int_equal(answer(*state, tensors, &(TensorToWrite){"output/updated.kernel", F32, 2, {3, 2}, kernel}), 1);
    assert_int_equal(answer(*state, tensors, &(TensorToWrite){"output/updated.initted", U8, 0, {0}, &no}), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(the_file_passes),
        SCRATCH_TEST(every_altered_tensor_is_found),
        SCRATCH_TEST(what_nothing_computes_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
