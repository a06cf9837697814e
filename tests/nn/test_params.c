/* Named parameters: their names, their first values, and how they come out of files. */
#include "common/nn/layers.h"
#include "run_floor/scratch.h"
#include "support/param_values.h"
#include "support/tape_test.h"

#include <math.h>

static void names_and_places(void **state)
{
    (void)state;
    Params *p = params_new();
    params_add(p, "cls_token", SHAPE(1, 1, 6), INIT_ZEROS);
    for (int i = 0; i < 2; i++) {
        params_enter(p, "blocks.%d", i);
        vit_block_new(p, "inner", &(VitBlockShape){.width = 6, .hidden = 9, .heads = 2, .qkv_bias = true});
        params_leave(p);
    }
    params_enter(p, "patch_embed");
    conv2d_new(p, "proj", 3, 6, 4, (Convolve){.stride = 4});
    params_leave(p);
    params_add_buffer(p, "mean", SHAPE(3), INIT_ONES);
    static const char *const names[] = {"cls_token",
                                        "blocks.0.inner.norm1.weight",
                                        "blocks.0.inner.norm1.bias",
                                        "blocks.0.inner.attn.qkv.weight",
                                        "blocks.0.inner.attn.qkv.bias",
                                        "blocks.0.inner.attn.proj.weight",
                                        "blocks.0.inner.attn.proj.bias",
                                        "blocks.0.inner.norm2.weight",
                                        "blocks.0.inner.norm2.bias",
                                        "blocks.0.inner.mlp.fc1.weight",
                                        "blocks.0.inner.mlp.fc1.bias",
                                        "blocks.0.inner.mlp.fc2.weight",
                                        "blocks.0.inner.mlp.fc2.bias",
                                        "blocks.1.inner.norm1.weight"};
    for (int i = 0; i < COUNT_OF(names); i++)
        assert_string_equal(params_at(p, i)->name, names[i]);
    assert_int_equal(params_count(p), 1 + 2 * 12 + 2 + 1);
    int64_t block = 4 * 6 + 18 * 6 + 18 + 6 * 6 + 6 + 9 * 6 + 9 + 6 * 9 + 6;
    assert_int_equal(params_elements(p), 6 + 2 * block + 6 * 3 * 16 + 6); /* the buffer is none of them */
    assert_true(shape_equal(params_find(p, "patch_embed.proj.weight")->value.shape, SHAPE(6, 3, 4, 4)));
    assert_null(params_find(p, "blocks.2.inner.norm1.weight"));

    params_allocate(p, true, 1, test_backend());
    for (int i = 0; i < params_count(p); i++) {
        const Param *param = params_at(p, i);
        assert_int_equal((uintptr_t)param->value.data % 64, 0);
        if (param->state.trainable)
            assert_ptr_equal(param->value.data, params_flat_values(p) + param->offset);
    }
    params_free(p);
}

/* As torch.nn.Linear: +-1/sqrt(in) bounds weight and bias, and both come near it. */
static void torch_linear_begins_within_its_bound(void **state)
{
    (void)state;
    Params *p = params_new();
    linear_torch_new(p, "fc", 16, 500, true);
    linear_torch_new(p, "bare", 16, 2, false);
    params_allocate(p, true, 1, test_backend());
    assert_null(params_find(p, "bare.bias"));
    static const char *const names[] = {"fc.weight", "fc.bias"};
    for (int i = 0; i < COUNT_OF(names); i++) {
        const Tensor *x = &params_find(p, names[i])->value;
        const float *values = param_values(p, x);
        float most = 0, least = 0;
        for (int64_t k = 0; k < tensor_count(x); k++) {
            most = fmaxf(most, values[k]);
            least = fminf(least, values[k]);
        }
        assert_true(most <= 0.25f && most > 0.24f && least >= -0.25f && least < -0.24f);
    }
    params_free(p);
}

static void declares_twice(void *argument)
{
    (void)argument;
    Params *p = params_new();
    params_add(p, "w", SHAPE(1), INIT_ONES);
    params_add(p, "w", SHAPE(1), INIT_ONES);
}

static void leaves_too_often(void *argument)
{
    (void)argument;
    params_leave(params_new());
}

static void broken_contracts(void **state)
{
    (void)state;
    expect_broken_contract(declares_twice, NULL, "two parameters named w");
    expect_broken_contract(leaves_too_often, NULL, "params_leave");
}

/* ---- First values */

static Params *three_weights(bool reversed, uint32_t seed, const char *extra)
{
    static const char *const names[] = {"one", "two", "three"};
    Params *p = params_new();
    if (extra)
        params_add(p, extra, SHAPE(1000), (Init){INIT_NORMAL, 1});
    for (int i = 0; i < 3; i++)
        params_add(p, names[reversed ? 2 - i : i], SHAPE(100, 100), (Init){i == 1 ? INIT_UNIFORM : INIT_NORMAL, 0.02});
    params_allocate(p, true, seed, test_backend());
    return p;
}

static const void *values_of(Params *p, const char *name)
{
    return param_values(p, &params_find(p, name)->value);
}

static void assert_same_values(Params *a, Params *b, const char *name, bool same)
{
    size_t bytes = (size_t)tensor_count(&params_find(a, name)->value) * sizeof(float);
    assert_int_equal(memcmp(values_of(a, name), values_of(b, name), bytes) == 0, same);
}

static void first_values_depend_on_seed_and_name_alone(void **state)
{
    (void)state;
    Params *p = three_weights(false, 1, NULL), *reversed = three_weights(true, 1, "extra"),
           *other = three_weights(false, 2, NULL);
    static const char *const names[] = {"one", "two", "three"};
    for (int i = 0; i < 3; i++) {
        assert_same_values(p, reversed, names[i], true);
        assert_same_values(p, other, names[i], false);
    }
    assert_memory_not_equal(values_of(p, "one"), values_of(p, "three"), 40000);
    params_free(p);
    params_free(reversed);
    params_free(other);
}

static void moments(Params *p, const char *name, double *mean, double *deviation, double *largest)
{
    const float *values = values_of(p, name);
    double sum = 0, squares = 0;
    *largest = 0;
    int64_t count = tensor_count(&params_find(p, name)->value);
    for (int64_t i = 0; i < count; i++) {
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
        *largest = fmax(*largest, fabs((double)values[i]));
    }
    *mean = sum / (double)count;
    *deviation = sqrt(squares / (double)count - *mean * *mean);
}

static void first_values_are_distributed_as_asked(void **state)
{
    (void)state;
    Params *p = three_weights(false, 1, NULL);
    double mean, deviation, largest;
    moments(p, "one", &mean, &deviation, &largest); /* normal, 0.02, 10,000 draws */
    assert_true(fabs(mean) < 4 * 0.02 / 100 && fabs(deviation / 0.02 - 1) < 0.03);
    assert_true(largest > 3 * 0.02 && largest < 6 * 0.02);
    moments(p, "two", &mean, &deviation, &largest); /* uniform, +-0.02 */
    assert_true(fabs(mean) < 4 * 0.0116 / 100 && fabs(deviation / (0.02 / sqrt(3.0)) - 1) < 0.03);
    assert_true(largest <= 0.02 && largest > 0.0199);
    params_free(p);

    p = params_new();
    conv2d_new(p, "conv", 4, 30, 5, (Convolve){.groups = 2}); /* fan-in 2 * 25 */
    layer_norm_new(p, "norm", 5, 1e-6f);
    linear_new(p, "linear", 3, 4, true, (Init){INIT_NORMAL, 1});
    params_allocate(p, true, 1, test_backend());
    moments(p, "conv.weight", &mean, &deviation, &largest);
    assert_true(largest <= 1 / sqrt(50.0) && largest > 0.95 / sqrt(50.0));
    static const float ones[] = {1, 1, 1, 1, 1}, zeros[5] = {0};
    assert_memory_equal(values_of(p, "norm.weight"), ones, sizeof ones);
    assert_memory_equal(values_of(p, "norm.bias"), zeros, sizeof zeros);
    assert_memory_equal(values_of(p, "linear.bias"), zeros, 4 * sizeof(float));
    params_free(p);
}

/* ---- Files */

typedef struct Saved {
    Params *params;
    TensorFile *file;
} Saved;

static const float stored[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

/* A file with w [3,4], b [3] and head.weight [2,2], each name behind `prefix`; and a model that wants w, b, head.weight [3,2]
 * and extra. */
static Saved saved_new(const char *folder, const char *prefix)
{
    Saved s = {.params = params_new()};
    char names[4][32], *path = path_join(folder, "model.safetensors");
    static const char *const plain[] = {"w", "b", "head.weight"};
    for (int i = 0; i < 3; i++)
        snprintf(names[i], sizeof names[i], "%s%s", prefix, plain[i]);
    const TensorToWrite tensors[] = {{names[0], F32, 2, {3, 4}, stored},
                                     {names[1], F32, 1, {3}, stored},
                                     {names[2], F32, 2, {2, 2}, stored},
                                     {"step", F32, 0, {0}, stored}};
    Error e;
    assert_true(safetensors_write(path, tensors, 4, NULL, 0, &e));
    s.file = tensor_file_open(path, &e);
    assert_non_null(s.file);
    params_add(s.params, "w", SHAPE(3, 4), INIT_ZEROS);
    params_add_buffer(s.params, "b", SHAPE(3), INIT_ZEROS);
    params_add(s.params, "head.weight", SHAPE(3, 2), INIT_ZEROS);
    params_add(s.params, "extra", SHAPE(2), INIT_ONES);
    params_allocate(s.params, true, 1, test_backend());
    mem_free(path);
    return s;
}

static void saved_free(Saved *s)
{
    params_free(s->params);
    tensor_file_close(s->file);
}

static float first_of(const Saved *s, const char *name)
{
    return *(const float *)values_of(s->params, name);
}

static void what_does_not_fit_is_listed(void **state)
{
    Saved s = saved_new(*state, "");
    LoadReport r;
    Error e;
    assert_false(params_load(s.params, s.file, &(LoadOptions){.strict = true}, &r, &e));
    static const char *const words[] = {"1 missing (extra)", "head.weight ([2, 2] in the file, [3, 2] in the model)",
                                        "1 that the model does not have (step)", "model.safetensors"};
    for (int i = 0; i < COUNT_OF(words); i++)
        if (!strstr(e.text, words[i]))
            fail_msg("\"%s\" does not say \"%s\"", e.text, words[i]);
    assert_true(first_of(&s, "w") == 0); /* nothing was changed */
    load_report_free(&r);

    uint64_t version = params_find(s.params, "w")->state.version;
    assert_true(params_load(s.params, s.file, &(LoadOptions){0}, &r, &e));
    assert_int_equal(r.loaded, 2);
    assert_int_equal(r.missing_count, 1);
    assert_int_equal(r.misshaped_count, 1);
    assert_int_equal(r.unused_count, 1);
    assert_string_equal(r.missing.text, "extra");
    assert_string_equal(r.unused.text, "step");
    assert_memory_equal(values_of(s.params, "w"), stored, sizeof stored);
    assert_memory_equal(values_of(s.params, "b"), stored, 3 * sizeof(float));
    assert_true(first_of(&s, "extra") == 1 && first_of(&s, "head.weight") == 0);
    assert_true(params_find(s.params, "w")->state.version > version); /* packed copies are stale */
    load_report_free(&r);
    saved_free(&s);
}

static void a_skipped_head_keeps_its_values(void **state)
{
    Saved s = saved_new(*state, "");
    LoadReport r;
    Error e;
    assert_false(params_load(s.params, s.file, &(LoadOptions){.strict = true, .skip = "head."}, &r, &e));
    assert_null(strstr(e.text, "head.weight"));
    load_report_free(&r);
    assert_true(params_load(s.params, s.file, &(LoadOptions){.skip = "head."}, &r, &e));
    assert_int_equal(r.misshaped_count, 0);
    assert_string_equal(r.unused.text, "step");
    assert_true(first_of(&s, "head.weight") == 0);
    load_report_free(&r);
    saved_free(&s);
}

static bool renamed_w(const char *name, char renamed[static 256])
{
    snprintf(renamed, 256, "w");
    return strcmp(name, "extra") == 0;
}

/* Only what stands behind the prefix is this model's. */
static void a_prefix_and_another_name(void **state)
{
    Saved s = saved_new(*state, "ema.");
    LoadReport r;
    Error e;
    assert_true(params_load(s.params, s.file, &(LoadOptions){.prefix = "ema.", .rename = renamed_w}, &r, &e));
    assert_int_equal(r.loaded, 2);
    assert_int_equal(r.missing_count, 0);
    assert_int_equal(r.unused_count, 0); /* `step` does not have it */
    assert_non_null(strstr(r.misshaped.text, "extra ([3, 4] in the file, [2] in the model)"));
    load_report_free(&r);
    assert_true(params_load(s.params, s.file, &(LoadOptions){0}, &r, NULL));
    assert_int_equal(r.loaded, 0);
    assert_int_equal(r.missing_count, 4);
    assert_int_equal(r.unused_count, 4);
    load_report_free(&r);
    saved_free(&s);
}

/* The rows of a head that the file lacks are made up. */
static bool a_row_more(void *user, const Param *param, Shape shape, const float *values, float *out)
{
    (void)user;
    if (strcmp(param->name, "head.weight") != 0)
        return false;
    memcpy(out, values, (size_t)shape_count(shape) * sizeof *out);
    out[4] = out[5] = 9;
    return true;
}

static void a_shape_can_be_adapted(void **state)
{
    Saved s = saved_new(*state, "");
    LoadReport r;
    assert_true(params_load(s.params, s.file, &(LoadOptions){.adapt = a_row_more}, &r, NULL));
    assert_int_equal(r.loaded, 3);
    assert_int_equal(r.misshaped_count, 0);
    assert_memory_equal(values_of(s.params, "head.weight"), ((const float[]){1, 2, 3, 4, 9, 9}), 6 * sizeof(float));
    load_report_free(&r);
    saved_free(&s);
}

static void everything_survives_a_file(void **state)
{
    char *path = path_join(*state, "all.safetensors");
    Error e;
    Params *p = three_weights(false, 1, NULL), *q = three_weights(false, 2, NULL);
    int count = 0;
    TensorToWrite *all = params_to_write(p, &count);
    assert_true(safetensors_write(path, all, count, NULL, 0, &e));
    TensorFile *file = tensor_file_open(path, &e);
    LoadReport r;
    assert_true(params_load(q, file, &(LoadOptions){.strict = true}, &r, &e));
    assert_int_equal(r.loaded, 3);
    assert_same_values(p, q, "one", true);
    assert_same_values(p, q, "three", true);
    load_report_free(&r);
    tensor_file_close(file);
    mem_free(all);
    mem_free(path);
    params_free(p);
    params_free(q);
}

/* ---- Stored forms, aliases, types */

static void fill_with_sums(Random *r, Shape shape, float *x)
{
    for (int64_t i = 0; i < shape_count(shape); i++)
        x[i] = (float)random_uniform(r) + (float)shape.rank;
}

/* A TensorFlow-like model: a kernel [2,3] (ours [3,2]), a stack of them, a shared table, a scalar, nothing, a flag. */
typedef struct Tf {
    Params *params;
    Tensor *kernel, *stack, *table, *scalar, *nothing, *flag, *copy;
} Tf;

static Tf tf_new(uint32_t seed)
{
    Tf m = {.params = params_new()};
    params_separator(m.params, "/");
    params_enter(m.params, "body");
    m.kernel = params_add(m.params, "dense/kernel", SHAPE(3, 2), (Init){INIT_UNIFORM, 1});
    m.stack = params_add(m.params, "stack", SHAPE(2, 3, 2), INIT_ZEROS);
    m.table = params_add(m.params, "table", SHAPE(2), (Init){INIT_NORMAL, 1});
    m.scalar = params_add(m.params, "scalar", (Shape){0}, (Init){INIT_NORMAL, 1});
    m.nothing = params_add(m.params, "nothing", SHAPE(4, 0, 2), INIT_ZEROS);
    m.flag = params_add_flags(m.params, "initted", SHAPE(1), (uint8_t)seed);
    m.copy = params_add_buffer(m.params, "copy", SHAPE(2, 3, 2), INIT_ZEROS);
    params_init_function(m.params, m.stack, fill_with_sums);
    params_init_from(m.params, m.copy, m.stack);
    params_store_transposed(m.params, m.kernel);
    params_store_transposed(m.params, m.stack);
    params_alias(m.params, "again", m.table);
    params_leave(m.params);
    params_allocate(m.params, true, seed, test_backend());
    return m;
}

/* The file of m, which has the table once more, its second number plus `more`. */
static TensorFile *tf_written(const Tf *m, const char *folder, float more)
{
    char *path = path_join(folder, "tf.safetensors");
    Error e;
    int count;
    TensorToWrite *all = params_to_write(m->params, &count);
    all = mem_resize(all, (size_t)(count + 1) * sizeof *all);
    float again[2];
    param_read(m->params, m->table, again);
    again[1] += more;
    all[count++] = (TensorToWrite){"body/again", F32, 1, {2}, again};
    assert_true(safetensors_write(path, all, count, NULL, 0, &e));
    TensorFile *file = tensor_file_open(path, &e);
    assert_non_null(file);
    mem_free(all);
    mem_free(path);
    return file;
}

static void first_values_by_function_and_by_copy(void **state)
{
    (void)state;
    Tf m = tf_new(1);
    const float *stack = param_values(m.params, m.stack);
    for (int i = 0; i < 12; i++)
        assert_true(stack[i] >= 3 && stack[i] < 4);
    assert_memory_equal(param_values(m.params, m.copy), stack, 12 * sizeof(float));
    assert_int_equal(params_elements(m.params), 6 + 12 + 2 + 1);
    assert_int_equal((uintptr_t)m.copy->data % 64, 0); /* behind a buffer of one byte */
    assert_int_equal(*(const uint8_t *)param_values(m.params, m.flag), 1);
    params_free(m.params);
}

static void files_have_the_stored_form(void **state)
{
    Tf m = tf_new(1), other = tf_new(2);
    Error e;
    LoadReport r;
    TensorFile *file = tf_written(&m, *state, 0);
    const FileTensor *x = tensor_file_find(file, "body/dense/kernel");
    float kernel[6];
    const float *ours = param_values(m.params, m.kernel);
    assert_true(x && x->rank == 2 && x->shape[0] == 2 && x->shape[1] == 3);
    assert_true(tensor_file_read(file, x, F32, kernel, &e));
    for (int in = 0; in < 2; in++)
        for (int out = 0; out < 3; out++)
            assert_true(kernel[in * 3 + out] == ours[out * 2 + in]);
    assert_true(params_load(other.params, file, &(LoadOptions){.strict = true}, &r, &e));
    assert_int_equal(r.loaded, params_count(m.params));
    for (int i = 0; i < params_count(m.params); i++) {
        const Tensor *a = &params_at(m.params, i)->value, *b = &params_at(other.params, i)->value;
        assert_memory_equal(param_values(m.params, a), param_values(other.params, b),
                            (size_t)tensor_count(a) * dtype_bytes(a->type));
    }
    load_report_free(&r);
    tensor_file_close(file);
    params_free(m.params);
    params_free(other.params);
}

static void a_file_that_contradicts_itself_is_refused(void **state)
{
    Tf m = tf_new(1), other = tf_new(2);
    Error e;
    LoadReport r;
    TensorFile *file = tf_written(&m, *state, 1);
    assert_false(params_load(other.params, file, &(LoadOptions){0}, &r, &e));
    assert_non_null(strstr(e.text, "body/table and body/again are one tensor in this model"));
    assert_int_equal(*(const uint8_t *)param_values(other.params, other.flag), 2); /* nothing was changed */
    assert_ptr_equal(&params_find(m.params, "body/again")->value, m.table);
    load_report_free(&r);
    tensor_file_close(file);
    params_free(m.params);
    params_free(other.params);
}

/* A file that has the shared tensor under its second name alone. */
static void an_alias_is_enough(void **state)
{
    char *path = path_join(*state, "alias.safetensors");
    const float values[] = {5, 6};
    Tf m = tf_new(1);
    Error e;
    LoadReport r;
    assert_true(safetensors_write(path, &(TensorToWrite){"body/again", F32, 1, {2}, values}, 1, NULL, 0, &e));
    TensorFile *file = tensor_file_open(path, &e);
    assert_true(params_load(m.params, file, &(LoadOptions){0}, &r, &e));
    assert_int_equal(r.loaded, 1);
    assert_int_equal(r.unused_count, 0);
    assert_memory_equal(param_values(m.params, m.table), values, sizeof values);
    load_report_free(&r);
    tensor_file_close(file);
    mem_free(path);
    params_free(m.params);
}

static void alias_of_a_name(void *argument)
{
    (void)argument;
    Params *p = params_new();
    params_alias(p, "w", params_add(p, "w", SHAPE(1), INIT_ONES));
}

static void more_broken_contracts(void **state)
{
    (void)state;
    expect_broken_contract(alias_of_a_name, NULL, "two parameters named w");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_values_by_function_and_by_copy),
        cmocka_unit_test(more_broken_contracts),
        SCRATCH_TEST(files_have_the_stored_form),
        SCRATCH_TEST(a_file_that_contradicts_itself_is_refused),
        SCRATCH_TEST(an_alias_is_enough),
        cmocka_unit_test(names_and_places),
        cmocka_unit_test(torch_linear_begins_within_its_bound),
        cmocka_unit_test(broken_contracts),
        cmocka_unit_test(first_values_depend_on_seed_and_name_alone),
        cmocka_unit_test(first_values_are_distributed_as_asked),
        SCRATCH_TEST(what_does_not_fit_is_listed),
        SCRATCH_TEST(a_skipped_head_keeps_its_values),
        SCRATCH_TEST(a_prefix_and_another_name),
        SCRATCH_TEST(a_shape_can_be_adapted),
        SCRATCH_TEST(everything_survives_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
