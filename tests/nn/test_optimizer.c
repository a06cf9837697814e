/* Optimizers against plain double loops over several steps, and schedules against values worked out by hand. */
#include "common/nn/optimizer.h"
#include "common/nn/schedule.h"
#include "run_floor/scratch.h"
#include "support/param_values.h"
#include "support/tape_test.h"

#include <math.h>

enum { STEPS = 5, MOST = 40 };

/* Four parameters of odd sizes and a buffer; `c` is touched in every second step only, `frozen` never. */
typedef struct Model {
    Params *params;
    Tape *tape;
} Model;

static Model model_new(void)
{
    Model m = {params_new(), test_tape(1)};
    const Init init = {INIT_UNIFORM, 1};
    params_add(m.params, "a.weight", SHAPE(5, 7), init);
    params_add(m.params, "a.bias", SHAPE(5), init);
    params_add_buffer(m.params, "running", SHAPE(3), INIT_ONES);
    params_add(m.params, "c.weight", SHAPE(3, 3), init);
    params_add(m.params, "unused", SHAPE(2, 2), init);
    params_allocate(m.params, true, 4, test_backend());
    return m;
}

static void model_free(Model *m)
{
    params_free(m->params);
    tape_free(m->tape);
}

static bool touched_in(const char *name, int step)
{
    return strcmp(name, "unused") != 0 && (step % 2 == 0 || strcmp(name, "c.weight") != 0);
}

static double gradient_of(int parameter, int step, int64_t i)
{
    return (double)(float)sin(3.0 * parameter + 5.0 * step + 0.7 * (double)i);
}

static void give_gradients(Model *m, int step)
{
    params_zero_gradients(m->params);
    for (int i = 0; i < params_count(m->params); i++) {
        Param *p = params_at(m->params, i);
        if (!p->state.trainable || !touched_in(p->name, step))
            continue;
        p->state.touched = true;
        float gradient[MOST];
        for (int64_t j = 0; j < tensor_count(&p->value); j++)
            gradient[j] = (float)gradient_of(i, step, j);
        param_write(m->params, &p->gradient, gradient);
    }
}

/* One parameter's reference: values, state and a step count of its own. */
typedef struct Reference {
    double value[MOST], m[MOST], v[MOST];
    int steps;
} Reference;

static void adamw_reference(const OptimizerOptions *o, Reference *r, bool decays, int parameter, int step,
                            int64_t count, double lr)
{
    r->steps++;
    double added = o->kind == OPTIMIZER_ADAM && decays ? o->weight_decay : 0;
    double c1 = 1 - pow(o->beta1, r->steps), c2 = 1 - pow(o->beta2, r->steps);
    for (int64_t i = 0; i < count; i++) {
        double g = gradient_of(parameter, step, i) + added * r->value[i];
        r->value[i] *= 1 - lr * (o->kind == OPTIMIZER_ADAMW && decays ? o->weight_decay : 0);
        r->m[i] = o->beta1 * r->m[i] + (1 - o->beta1) * g;
        r->v[i] = o->beta2 * r->v[i] + (1 - o->beta2) * g * g;
        r->value[i] -= lr / c1 * r->m[i] / (sqrt(r->v[i] / c2) + o->eps);
    }
}

static void sgd_reference(const OptimizerOptions *o, Reference *r, bool decays, int parameter, int step, int64_t count,
                          double lr)
{
    for (int64_t i = 0; i < count; i++) {
        double g = gradient_of(parameter, step, i) + (decays ? o->weight_decay : 0) * r->value[i];
        r->m[i] = r->steps == 0 ? g : o->momentum * r->m[i] + g;
        r->value[i] -= lr * (o->momentum > 0 ? g + o->momentum * r->m[i] : g);
    }
    r->steps++;
}

/* A bias has one moment a value, a.weight [5,7] and c.weight [3,3] have moments of rows (in m) and of columns (in v). */
static void adafactor_reference(const OptimizerOptions *o, Reference *r, const Shape *shape, bool decays, int parameter,
                                int step, double lr)
{
    int64_t count = shape_count(*shape), rows = shape->rank > 1 ? shape->dim[0] : 1, cols = count / rows;
    double d = 1 - pow((double)o->first_step + r->steps + 1, -o->decay_power), u[MOST], rms = 0, size = 0, mean = 0;
    double by_row[MOST] = {0}, by_col[MOST] = {0}, g[MOST];
    for (int64_t i = 0; i < count; i++) {
        g[i] = gradient_of(parameter, step, i) + (decays ? o->weight_decay : 0) * r->value[i];
        double square = g[i] * g[i] + o->eps1;
        by_row[i / cols] += square / (double)cols;
        by_col[i % cols] += square / (double)rows;
        size += r->value[i] * r->value[i] / (double)count;
    }
    for (int64_t i = 0; i < rows; i++)
        mean += (r->m[i] = d * r->m[i] + (1 - d) * by_row[i]) / (double)rows;
    for (int64_t i = 0; i < cols; i++)
        r->v[i] = d * r->v[i] + (1 - d) * by_col[i];
    for (int64_t i = 0; i < count; i++) {
        double second = r->v[i % cols] * (shape->rank > 1 ? r->m[i / cols] / mean : 1);
        u[i] = g[i] / sqrt(second);
        rms += u[i] * u[i] / (double)count;
    }
    for (int64_t i = 0; i < count; i++)
        r->value[i] -= lr * fmax(sqrt(size), o->scale_floor) * u[i] / fmax(1, sqrt(rms) / o->threshold);
    r->steps++;
}

static void reference_step(const OptimizerOptions *o, Reference *r, const Param *p, bool bias_decays, int parameter,
                           int step, double lr)
{
    int64_t count = tensor_count(&p->value);
    bool decays = p->value.shape.rank > 1 || bias_decays;
    if (o->kind == OPTIMIZER_ADAFACTOR)
        adafactor_reference(o, r, &p->value.shape, decays, parameter, step, lr);
    else if (o->kind == OPTIMIZER_SGD)
        sgd_reference(o, r, decays, parameter, step, count, lr);
    else
        adamw_reference(o, r, decays, parameter, step, count, lr);
}

static void references_begin(Model *m, Reference *r)
{
    for (int i = 0; i < params_count(m->params); i++) {
        Param *p = params_at(m->params, i);
        r[i] = (Reference){.steps = 0};
        const float *values = param_values(m->params, &p->value);
        for (int64_t j = 0; j < tensor_count(&p->value); j++)
            r[i].value[j] = (double)values[j];
    }
}

static void check_parameters(Model *m, const Reference *r)
{
    for (int i = 0; i < params_count(m->params); i++) {
        Param *p = params_at(m->params, i);
        const float *values = param_values(m->params, &p->value);
        for (int64_t j = 0; j < tensor_count(&p->value); j++)
            if (!(fabs((double)values[j] - r[i].value[j]) <= 1e-6))
                fail_msg("%s[%ld] is %.9g, not %.9g", p->name, (long)j, (double)values[j], r[i].value[j]);
    }
}

static void check_optimizer(const OptimizerOptions *options, bool bias_decays)
{
    Model m = model_new();
    Optimizer *o = optimizer_new(options, m.params);
    Reference r[8];
    references_begin(&m, r);
    for (int step = 0; step < STEPS; step++) {
        double lr = 0.01 * (step + 1);
        give_gradients(&m, step);
        optimizer_step(o, m.tape, lr);
        for (int i = 0; i < params_count(m.params); i++) {
            Param *p = params_at(m.params, i);
            if (p->state.touched)
                reference_step(options, &r[i], p, bias_decays, i, step, lr);
        }
        check_parameters(&m, r);
    }
    assert_int_equal(params_find(m.params, "a.weight")->state.version, 1 + STEPS);
    assert_int_equal(params_find(m.params, "c.weight")->state.version, 1 + (STEPS + 1) / 2);
    assert_int_equal(params_find(m.params, "unused")->state.version, 1);
    optimizer_free(o);
    model_free(&m);
}

static bool everything_decays(const Param *param)
{
    (void)param;
    return true;
}

static const OptimizerOptions adamw = {OPTIMIZER_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8,
                                       .weight_decay = 0.05};
static const OptimizerOptions nesterov = {.kind = OPTIMIZER_SGD, .momentum = 0.9, .weight_decay = 0.05};

static void adamw_steps(void **state)
{
    (void)state;
    check_optimizer(&adamw, false);
    OptimizerOptions all = adamw;
    all.decays = everything_decays;
    check_optimizer(&all, true);
}

static const OptimizerOptions adam = {OPTIMIZER_ADAM, .beta1 = 0.9, .beta2 = 0.98, .eps = 1e-6, .weight_decay = 0.05};

static void adam_steps(void **state)
{
    (void)state;
    check_optimizer(&adam, false);
}

static void adafactor_steps(void **state)
{
    (void)state;
    OptimizerOptions o = ADAFACTOR_T2T;
    check_optimizer(&o, false);
    o.first_step = 7;
    o.weight_decay = 0.5;
    o.threshold = 0.5;
    o.scale_floor = 2;
    check_optimizer(&o, false);
}

/* Gradients are made as short as they may be, all by one factor, and no longer than they are. */
static void gradients_are_clipped(void **state)
{
    (void)state;
    OptimizerOptions o = {.kind = OPTIMIZER_SGD};
    for (int i = 0; i < 3; i++) {
        Model m = model_new();
        o.clip_norm = i == 2 ? 1e6 : i;
        Optimizer *optimizer = optimizer_new(&o, m.params);
        Param *w = params_find(m.params, "a.weight");
        const float *before = param_values(m.params, &w->value);
        give_gradients(&m, 0);
        double norm = optimizer_gradient_norm(optimizer, m.tape), scale = i == 1 ? 1 / (norm + 1e-6) : 1;
        optimizer_step(optimizer, m.tape, 0.1);
        assert_true(norm > 1.5);
        const float *after = param_values(m.params, &w->value);
        assert_true(fabs((double)after[3] - ((double)before[3] - 0.1 * scale * gradient_of(0, 0, 3))) < 1e-6);
        optimizer_free(optimizer);
        model_free(&m);
    }
}

static void sgd_steps(void **state)
{
    (void)state;
    check_optimizer(&nesterov, false);
    check_optimizer(&(OptimizerOptions){.kind = OPTIMIZER_SGD}, false);
}

static void padding_stays_zero(void **state)
{
    (void)state;
    Model m = model_new();
    Optimizer *o = optimizer_new(&adamw, m.params);
    for (int step = 0; step < STEPS; step++) {
        give_gradients(&m, step);
        optimizer_step(o, m.tape, 0.1);
    }
    float flat[48];
    params_download(m.params, flat, params_flat_values(m.params), sizeof flat);
    for (int64_t i = 35; i < 48; i++) /* behind a.weight [5,7], whose slice ends on 64 bytes */
        assert_true(flat[i] == 0);
    optimizer_free(o);
    model_free(&m);
}

static void the_norm_is_of_what_arrived(void **state)
{
    (void)state;
    Model m = model_new();
    Optimizer *o = optimizer_new(&adamw, m.params);
    give_gradients(&m, 1);
    double sum = 0;
    for (int i = 0; i < params_count(m.params); i++)
        for (int64_t j = 0; params_at(m.params, i)->state.touched && j < tensor_count(&params_at(m.params, i)->value);
             j++)
            sum += gradient_of(i, 1, j) * gradient_of(i, 1, j);
    assert_true(sum > 0 && fabs(optimizer_gradient_norm(o, m.tape) - sqrt(sum)) < 1e-9);
    params_zero_gradients(m.params);
    assert_true(optimizer_gradient_norm(o, m.tape) == 0);
    optimizer_free(o);
    model_free(&m);
}

/* Three steps, saved, loaded into another model and optimizer: both go on with the same bits. */
static void check_round_trip(const OptimizerOptions *options, const char *folder)
{
    char *path = path_join(folder, "state.safetensors");
    Error e;
    Model a = model_new(), b = model_new();
    Optimizer *first = optimizer_new(options, a.params), *second = optimizer_new(options, b.params);
    for (int step = 0; step < 3; step++) {
        give_gradients(&a, step);
        optimizer_step(first, a.tape, 0.01);
    }
    int count = 0;
    TensorToWrite *all = params_to_write(a.params, &count);
    all = mem_resize(all, (size_t)(count + 3) * sizeof *all);
    count += optimizer_to_write(first, all + count);
    assert_true(safetensors_write(path, all, count, NULL, 0, &e));
    TensorFile *file = tensor_file_open(path, &e);
    assert_non_null(file);
    LoadReport report;
    assert_true(params_load(b.params, file, &(LoadOptions){0}, &report, &e));
    assert_true(optimizer_load(second, file, &e));
    for (int step = 3; step < STEPS; step++) {
        give_gradients(&a, step);
        give_gradients(&b, step);
        optimizer_step(first, a.tape, 0.01);
        optimizer_step(second, b.tape, 0.01);
    }
    for (int i = 0; i < params_count(a.params); i++) {
        const Tensor *x = &params_at(a.params, i)->value, *y = &params_at(b.params, i)->value;
        assert_memory_equal(param_values(a.params, x), param_values(b.params, y),
                            (size_t)tensor_count(x) * sizeof(float));
    }
    load_report_free(&report);
    tensor_file_close(file);
    mem_free(all);
    mem_free(path);
    optimizer_free(first);
    optimizer_free(second);
    model_free(&a);
    model_free(&b);
}

static void state_survives_a_file(void **state)
{
    check_round_trip(&adamw, *state);
    check_round_trip(&nesterov, *state);
    check_round_trip(&ADAFACTOR_T2T, *state);
}

static void a_state_of_another_model_is_refused(void **state)
{
    char *path = path_join(*state, "state.safetensors");
    Error e;
    Model m = model_new();
    Optimizer *o = optimizer_new(&adamw, m.params), *sgd = optimizer_new(&nesterov, m.params);
    TensorToWrite out[3];
    assert_int_equal(optimizer_to_write(o, out), 3);
    assert_true(safetensors_write(path, out, optimizer_to_write(sgd, out), NULL, 0, &e));
    TensorFile *file = tensor_file_open(path, &e);
    assert_true(optimizer_load(sgd, file, &e));
    assert_false(optimizer_load(o, file, &e));
    assert_non_null(strstr(e.text, "optimizer.v"));
    tensor_file_close(file);
    mem_free(path);
    optimizer_free(o);
    optimizer_free(sgd);
    model_free(&m);
}

/* What a file has wrong in its last tensor leaves the first ones as they were. */
static void a_bad_state_changes_nothing(void **state)
{
    char *path = path_join(*state, "state.safetensors");
    Error e;
    Model m = model_new();
    Optimizer *o = optimizer_new(&adamw, m.params);
    for (int step = 0; step < 2; step++) {
        give_gradients(&m, step);
        optimizer_step(o, m.tape, 0.01);
    }
    TensorToWrite mine[3], other[3];
    void *before[3], *wrong[3];
    for (int i = 0; i < optimizer_to_write(o, mine); i++) {
        size_t bytes = (size_t)mine[i].shape[0] * dtype_bytes(mine[i].type);
        before[i] = mem_copy(mine[i].data, bytes);
        wrong[i] = mem_new(bytes);
        other[i] = mine[i];
        other[i].data = wrong[i];
    }
    other[2].shape[0]--;
    assert_true(safetensors_write(path, other, 3, NULL, 0, &e));
    TensorFile *file = tensor_file_open(path, &e);
    assert_false(optimizer_load(o, file, &e));
    tensor_file_close(file);
    assert_int_equal(optimizer_to_write(o, mine), 3);
    for (int i = 0; i < 3; i++) {
        assert_memory_equal(mine[i].data, before[i], (size_t)mine[i].shape[0] * dtype_bytes(mine[i].type));
        mem_free(before[i]);
        mem_free(wrong[i]);
    }
    mem_free(path);
    optimizer_free(o);
    model_free(&m);
}

/* ---- Schedules */

static void close_to(double got, double expected)
{
    if (!(fabs(got - expected) <= 1e-12))
        fail_msg("%.15g, not %.15g", got, expected);
}

static void cosine_by_step(void **state)
{
    (void)state;
    const CosineSchedule s = {.peak = 1, .floor = 0.2, .start = 0, .warmup = 4, .total = 12};
    static const double expected[] = {0.25, 0.5, 0.75, 1, 1, 0.2 + 0.4 * (1 + 0.92387953251128674)};
    for (int i = 0; i < COUNT_OF(expected); i++)
        close_to(schedule_cosine(&s, i), expected[i]);
    close_to(schedule_cosine(&s, 8), 0.6);
    close_to(schedule_cosine(&s, 12), 0.2);
    close_to(schedule_cosine(&s, 1000), 0.2);
    close_to(schedule_cosine(&(CosineSchedule){.peak = 1, .total = 2}, 0), 1);
    close_to(schedule_cosine(&(CosineSchedule){.peak = 1, .total = 2}, 1), 0.5);
}

/* timm's scheduler is stepped after the epoch: epochs 0 and 1 both train at the start of the warm-up. */
static void cosine_by_epoch(void **state)
{
    (void)state;
    const CosineSchedule s = {.peak = 1, .floor = 0.2, .start = 0.1, .warmup = 3, .total = 12};
    static const double expected[] = {0.1, 0.1, 0.4, 0.7, 0.2 + 0.4 * (1 + 0.70710678118654752)};
    for (int i = 0; i < COUNT_OF(expected); i++)
        close_to(schedule_timm_cosine(&s, i), expected[i]);
    close_to(schedule_timm_cosine(&s, 7), 0.6);
    close_to(schedule_timm_cosine(&s, 13), 0.2);
    close_to(schedule_timm_cosine(&s, 20), 0.2);
    const CosineSchedule cold = {.peak = 1, .floor = 0.2, .start = 0.1, .total = 12};
    close_to(schedule_timm_cosine(&cold, 0), 1);
    close_to(schedule_timm_cosine(&cold, 1), 1);
}

/* tensor2tensor's own figures (golden file learning_rate). */
static void constant_then_inverse_square_root(void **state)
{
    (void)state;
    close_to(schedule_rsqrt(25, 400, 0), 25);
    close_to(schedule_rsqrt(25, 400, 400), 25);
    assert_true(fabs(schedule_rsqrt(25, 400, 401) - 24.96881) < 1e-5);
    close_to(schedule_rsqrt(25, 400, 10000), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adamw_steps),
        cmocka_unit_test(adam_steps),
        cmocka_unit_test(adafactor_steps),
        cmocka_unit_test(gradients_are_clipped),
        cmocka_unit_test(sgd_steps),
        cmocka_unit_test(padding_stays_zero),
        cmocka_unit_test(the_norm_is_of_what_arrived),
        SCRATCH_TEST(state_survives_a_file),
        SCRATCH_TEST(a_state_of_another_model_is_refused),
        SCRATCH_TEST(a_bad_state_changes_nothing),
        cmocka_unit_test(cosine_by_step),
        cmocka_unit_test(constant_then_inverse_square_root),
        cmocka_unit_test(cosine_by_epoch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
