/* Cases of differentiable ops, and what is held of each: its values against a plain double-precision reference, its
 * gradients against central differences, windows and repeated use included, its shape and count on the meta device, and
 * that it stops when an input was released. */
#pragma once
#include "common/nn/params.h"
#include "support/largest_error.h"
#include "support/tape_test.h"

#include <math.h>

enum { MOST_INPUTS = 14 };

typedef struct Input {
    Shape shape;
    double low, high; /* both 0: -1 .. 1 */
    DType type;       /* I32, I64 or U8: integers low <= i < high, without gradient */
    bool fixed;       /* no gradient: targets */
    bool samples;     /* axis 0 may have length 0 */
    bool map;         /* [B,C,H,W]: is also given channels-last */
} Input;

/* An input as the reference sees it. */
typedef struct Values {
    double *x;
    Shape shape;
} Values;

typedef struct OpCase {
    const char *op;      /* as it is declared */
    const char *variant; /* what is special here, or NULL */
    Input in[MOST_INPUTS];
    Tensor *(*run)(Tape *t, Tensor *const *in);
    /* y from the inputs, in double; NULL: the op draws noise, and central differences are taken of the op itself. */
    void (*reference)(const Values *in, double *y);
    double tolerance;        /* of values and gradients, relative to the largest; 0: 1e-5 */
    bool released_elsewhere; /* the inputs do not reach the op itself */
} OpCase;

/* How an input lies in memory: itself, or a window or another view of a larger leaf. */
typedef enum Lay { WHOLE, LAST_AXIS, TOKEN_AXIS, RESHAPED, CHANNELS_LAST, LAYS } Lay;

/* One input of a running case: the leaf, and which of its elements the op sees. */
typedef struct Leaf {
    Shape shape;
    float *values;
    int64_t *at; /* [elements of the input] -> element of the leaf */
    Tensor *tensor;
    Lay lay;
} Leaf;

/* One run of a case. */
typedef struct Run {
    const OpCase *op;
    Tape *tape;
    Params *params;   /* the leaves are parameters; NULL: tensors of the tape */
    int inputs, uses; /* uses: how often the op is called on the same inputs */
    Leaf leaf[MOST_INPUTS];
    Shape y;
    float *cotangents[2];
} Run;

static inline int case_inputs(const OpCase *c)
{
    int n = 0;
    while (n < MOST_INPUTS && c->in[n].shape.rank > 0)
        n++;
    return n;
}

static inline bool is_fixed(const Input *in)
{
    return in->fixed || in->type != F32;
}

static inline Lay lay_of(const Input *in, Lay lay)
{
    bool possible = is_fixed(in) ? lay == WHOLE : lay != CHANNELS_LAST || in->map;
    return possible ? lay : WHOLE;
}

static inline Leaf leaf_new(const Input *in, Lay lay, const char *name)
{
    Leaf l = {.shape = in->shape, .lay = lay_of(in, lay)};
    const Shape s = in->shape;
    int axis = l.lay == LAST_AXIS ? s.rank - 1 : MIN(1, s.rank - 1);
    int64_t start = 0, count = shape_count(s);
    if (l.lay == LAST_AXIS || l.lay == TOKEN_AXIS) {
        start = 2;
        l.shape.dim[axis] += 3;
    } else if (l.lay == RESHAPED) {
        l.shape = SHAPE(1, count);
    } else if (l.lay == CHANNELS_LAST) {
        l.shape = SHAPE(s.dim[0], s.dim[2] * s.dim[3], s.dim[1]);
    }
    int64_t inner = shape_product(s, axis + 1, s.rank), area = s.rank == 4 ? s.dim[2] * s.dim[3] : 0;
    l.values = mem_new((size_t)shape_count(l.shape) * sizeof(float));
    bool usual = in->low == 0 && in->high == 0;
    random_floats(name, shape_count(l.shape), usual ? -1 : in->low, usual ? 1 : in->high, l.values);
    for (int64_t i = 0; in->type != F32 && i < count; i++)
        l.values[i] = floorf(l.values[i]);
    l.at = mem_new((size_t)count * sizeof *l.at);
    for (int64_t i = 0; i < count; i++) {
        if (l.lay == LAST_AXIS || l.lay == TOKEN_AXIS)
            l.at[i] =
                (i / (s.dim[axis] * inner) * l.shape.dim[axis] + i / inner % s.dim[axis] + start) * inner + i % inner;
        else if (l.lay == CHANNELS_LAST)
            l.at[i] = (i / (area * s.dim[1]) * area + i % area) * s.dim[1] + i / area % s.dim[1];
        else
            l.at[i] = i;
    }
    return l;
}

/* The input as the op gets it. */
static inline Tensor *leaf_view(Tape *t, const Leaf *l, Shape s)
{
    switch (l->lay) {
    case LAST_AXIS:
        return narrow(t, l->tensor, s.rank - 1, 2, s.dim[s.rank - 1]);
    case TOKEN_AXIS:
        return narrow(t, l->tensor, MIN(1, s.rank - 1), 2, s.dim[MIN(1, s.rank - 1)]);
    case RESHAPED:
        return reshape(t, l->tensor, s);
    case CHANNELS_LAST:
        return map_from_tokens(t, l->tensor, s.dim[2], s.dim[3]);
    default:
        return l->tensor;
    }
}

static inline Run run_new(const OpCase *c, Tape *t, Lay lay, int uses, bool as_parameters)
{
    Run r = {.op = c, .tape = t, .inputs = case_inputs(c), .uses = uses};
    r.params = as_parameters ? params_new() : NULL;
    for (int i = 0; i < r.inputs; i++) {
        char name[32];
        snprintf(name, sizeof name, "input%d", i);
        r.leaf[i] = leaf_new(&c->in[i], lay, name);
        if (r.params && c->in[i].type == F32)
            r.leaf[i].tensor =
                (c->in[i].fixed ? params_add_buffer : params_add)(r.params, name, r.leaf[i].shape, INIT_ZEROS);
    }
    if (r.params)
        params_allocate(r.params, t->device != DEVICE_META, 1, t->backend);
    return r;
}

static inline void run_free(Run *r)
{
    for (int i = 0; i < r->inputs; i++) {
        mem_free(r->leaf[i].values);
        mem_free(r->leaf[i].at);
    }
    for (int u = 0; u < r->uses; u++)
        mem_free(r->cotangents[u]);
    params_free(r->params);
}

static inline Tensor *integers_from(Tape *t, DType type, Shape shape, const float *values)
{
    int64_t count = shape_count(shape);
    void *integers = mem_new((size_t)count * sizeof(int64_t));
    for (int64_t i = 0; i < count; i++)
        if (type == U8)
            ((uint8_t *)integers)[i] = (uint8_t)values[i];
        else if (type == I32)
            ((int32_t *)integers)[i] = (int32_t)values[i];
        else
            ((int64_t *)integers)[i] = (int64_t)values[i];
    Tensor *x = tensor_from(t, type, shape, integers);
    mem_free(integers);
    return x;
}

/* The op on the leaves as they are now; `uses` results. */
static inline void run_forward(Run *r, Tensor *y[2])
{
    Tensor *in[MOST_INPUTS];
    for (int i = 0; i < r->inputs; i++) {
        Leaf *l = &r->leaf[i];
        if (r->op->in[i].type != F32)
            l->tensor = integers_from(r->tape, r->op->in[i].type, l->shape, l->values);
        else if (!r->params)
            l->tensor = tensor_from(r->tape, F32, l->shape, l->values);
        else
            param_write(r->params, l->tensor, l->values);
        if (!r->params && !is_fixed(&r->op->in[i]))
            tensor_needs_gradient(l->tensor);
        in[i] = leaf_view(r->tape, l, r->op->in[i].shape);
    }
    if (r->params)
        params_written(r->params);
    for (int u = 0; u < r->uses; u++)
        y[u] = r->op->run(r->tape, in);
    r->y = y[0]->shape;
}

/* Forward and backward with random cotangents; the results (free them) in y. */
static inline void run_backward(Run *r, float *values[2])
{
    Tensor *y[2], *cotangents[2];
    Region before = region_open(r->tape, TRAIN, GRAD);
    run_forward(r, y);
    for (int u = 0; u < r->uses; u++) {
        int64_t count = tensor_count(y[u]);
        values[u] = floats_of(r->tape, y[u]);
        r->cotangents[u] = mem_new((size_t)count * sizeof(float));
        random_floats(u ? "second cotangent" : "cotangent", count, -1, 1, r->cotangents[u]);
        cotangents[u] = tensor_from(r->tape, F32, y[u]->shape, r->cotangents[u]);
    }
    tape_backward(r->tape, y, cotangents, r->uses);
    region_close(r->tape, before);
}

/* The gradient of leaf i, [its elements]; free it. */
static inline float *run_gradient(const Run *r, int i)
{
    const Tensor *g = tensor_gradient(r->leaf[i].tensor);
    if (!g)
        fail_msg("input %d got no gradient", i);
    return floats_of(r->tape, g);
}

/* ---- Expected values */

typedef struct Expected {
    Values in[MOST_INPUTS];
    double *y;
} Expected;

static inline Expected expected_new(const Run *r)
{
    Expected e = {.y = mem_new((size_t)shape_count(r->y) * sizeof(double))};
    for (int i = 0; i < r->inputs; i++) {
        const Shape s = r->op->in[i].shape;
        e.in[i] = (Values){mem_new((size_t)shape_count(s) * sizeof(double)), s};
        for (int64_t j = 0; j < shape_count(s); j++)
            e.in[i].x[j] = r->leaf[i].values[r->leaf[i].at[j]];
    }
    return e;
}

static inline void expected_free(Expected *e, int inputs)
{
    for (int i = 0; i < inputs; i++)
        mem_free(e->in[i].x);
    mem_free(e->y);
}

/* sum of cotangents . y, by the reference. */
static inline double reference_loss(const Run *r, Expected *e)
{
    r->op->reference(e->in, e->y);
    double loss = 0;
    for (int u = 0; u < r->uses; u++)
        for (int64_t i = 0; i < shape_count(r->y); i++)
            loss += (double)r->cotangents[u][i] * e->y[i];
    return loss;
}

/* The same by the op itself. */
static inline double op_loss(Run *r)
{
    Tensor *y[2];
    tape_reset(r->tape);
    Region before = region_open(r->tape, TRAIN, NO_GRAD);
    run_forward(r, y);
    region_close(r->tape, before);
    double loss = 0;
    for (int u = 0; u < r->uses; u++) {
        float *values = floats_of(r->tape, y[u]);
        for (int64_t i = 0; i < shape_count(r->y); i++)
            loss += (double)r->cotangents[u][i] * (double)values[i];
        mem_free(values);
    }
    return loss;
}

static inline double op_difference(Run *r, float *x, float step)
{
    float middle = *x;
    *x = middle + step;
    double above = op_loss(r), high = *x;
    *x = middle - step;
    double below = op_loss(r), low = *x;
    *x = middle;
    return (above - below) / (high - low);
}

/* The derivative of the loss by element j of input i: central differences. */
static inline double central_difference(Run *r, Expected *e, int i, int64_t j)
{
    if (r->op->reference) {
        const double step = 1e-5;
        double *x = &e->in[i].x[j], middle = *x;
        *x = middle + step;
        double above = reference_loss(r, e);
        *x = middle - step;
        double below = reference_loss(r, e);
        *x = middle;
        return (above - below) / (2 * step);
    }
    float *x = &r->leaf[i].values[r->leaf[i].at[j]];
    double coarse = op_difference(r, x, 0x1p-4f), fine = op_difference(r, x, 0x1p-5f);
    return (4 * fine - coarse) / 3; /* Richardson: fp32 asks for large steps */
}

static inline void compare(const char *what, const char *where, int64_t count, const float *got, const double *expected,
                           double tolerance)
{
    double largest = 1;
    for (int64_t i = 0; i < count; i++)
        largest = fmax(largest, fabs(expected[i]));
    for (int64_t i = 0; i < count; i++) {
        error_seen(fabs((double)got[i] - expected[i]), tolerance * largest, where);
        if (!(fabs((double)got[i] - expected[i]) <= tolerance * largest))
            fail_msg("%s: %s: element %ld is %.9g, not %.9g", where, what, (long)i, (double)got[i], expected[i]);
    }
}

static inline void compare_floats(const char *what, const char *where, int64_t count, const float *got,
                                  const float *wanted, double tolerance)
{
    double *expected = mem_new((size_t)count * sizeof *expected);
    for (int64_t i = 0; i < count; i++)
        expected[i] = (double)wanted[i];
    compare(what, where, count, got, expected, tolerance);
    mem_free(expected);
}

static inline void check_values(Run *r, Expected *e, float *const *values, const char *where)
{
    if (!r->op->reference)
        return;
    r->op->reference(e->in, e->y);
    for (int u = 0; u < r->uses; u++)
        compare("values", where, shape_count(r->y), values[u], e->y, r->op->tolerance);
}

/* Of noise there is no reference but the CPU: other devices draw the same numbers, and central differences of the op itself would
 * take an emulated one minutes. */
static inline void check_against_cpu(const Run *r, Lay lay, float *const *values, const char *where)
{
    const double same = 2e-5;
    Error e;
    Tape *t = tape_new(&(TapeOptions){.backend = cpu_backend(&e), .threads = 1, .seed = 7});
    Run cpu = run_new(r->op, t, lay, r->uses, r->params != NULL);
    float *wanted[2];
    run_backward(&cpu, wanted);
    for (int u = 0; u < r->uses; u++)
        compare_floats("values", where, shape_count(r->y), values[u], wanted[u], same);
    for (int i = 0; i < r->inputs; i++) {
        if (is_fixed(&r->op->in[i]))
            continue;
        float *got = run_gradient(r, i), *want = run_gradient(&cpu, i);
        compare_floats("gradient", where, shape_count(r->leaf[i].shape), got, want, same);
        mem_free(got), mem_free(want);
    }
    for (int u = 0; u < r->uses; u++)
        mem_free(wanted[u]);
    tape_reset(t);
    run_free(&cpu);
    tape_free(t);
}

static inline void check_gradients(Run *r, Expected *e, const char *where)
{
    float *got[MOST_INPUTS] = {0};
    for (int i = 0; i < r->inputs; i++)
        if (!is_fixed(&r->op->in[i]))
            got[i] = run_gradient(r, i);
    for (int i = 0; i < r->inputs; i++) {
        if (!got[i])
            continue;
        const Leaf *l = &r->leaf[i];
        double *expected = mem_new((size_t)shape_count(l->shape) * sizeof(double));
        for (int64_t j = 0; j < shape_count(r->op->in[i].shape); j++)
            expected[l->at[j]] = central_difference(r, e, i, j);
        char what[32];
        snprintf(what, sizeof what, "gradient of input %d", i);
        compare(what, where, shape_count(l->shape), got[i], expected, r->op->tolerance);
        mem_free(expected);
        mem_free(got[i]);
    }
}

/* Values and gradients of a case whose inputs lie as `lay` says. */
static inline void check_lay(const OpCase *given, Tape *t, Lay lay, int uses, bool as_parameters)
{
    static const char *const lays[LAYS] = {"whole", "window of the last axis", "window of the tokens", "reshaped",
                                           "channels last"};
    OpCase c = *given;
    if (c.tolerance == 0)
        c.tolerance = c.reference ? 1e-5 : 1e-3;
    char where[160];
    snprintf(where, sizeof where, "%s%s%s (%s, used %d times, %s)", c.op, c.variant ? ", " : "",
             c.variant ? c.variant : "", lays[lay], uses, as_parameters ? "parameters" : "tensors");
    Run r = run_new(&c, t, lay, uses, as_parameters);
    float *values[2];
    run_backward(&r, values);
    Expected e = expected_new(&r);
    check_values(&r, &e, values, where);
    if (testing_cuda() && !c.reference)
        check_against_cpu(&r, lay, values, where);
    else
        check_gradients(&r, &e, where);
    expected_free(&e, r.inputs);
    for (int u = 0; u < uses; u++)
        mem_free(values[u]);
    tape_reset(t);
    run_free(&r);
}

/* What the tape makes of views is the same on every device, and an emulated one takes its time: of the lays it is given those
 * that its kernels can tell apart. */
static inline bool matters_to_kernels(const OpCase *c, Lay lay)
{
    bool map = false;
    for (int i = 0; i < case_inputs(c); i++)
        map = map || c->in[i].map;
    return lay == WHOLE || lay == LAST_AXIS || (lay == CHANNELS_LAST && map);
}

static inline void check_case(const OpCase *c)
{
    Tape *t = test_tape(1);
    size_t used = pool_used(tape_pool(t));
    for (Lay lay = WHOLE; lay < LAYS; lay++) {
        if (testing_emulated() && !matters_to_kernels(c, lay))
            continue;
        if (!testing_emulated() || lay != LAST_AXIS)
            check_lay(c, t, lay, 1, false);
        if (!testing_emulated() || lay == LAST_AXIS)
            check_lay(c, t, lay, 2, true);
    }
    assert_int_equal(pool_used(tape_pool(t)), used);
    tape_free(t);
}

/* The same code on the meta device: the same shape, the same count of multiply-adds, gradients of the right shape. */
static inline void check_on_meta(const OpCase *c)
{
    Tape *real = test_tape(1), *meta = tape_new(&(TapeOptions){.device = DEVICE_META, .seed = 7});
    Run on_real = run_new(c, real, WHOLE, 1, true), on_meta = run_new(c, meta, WHOLE, 1, true);
    float *real_values[2], *meta_values[2];
    run_backward(&on_real, real_values);
    run_backward(&on_meta, meta_values);
    assert_true(shape_equal(on_real.y, on_meta.y));
    assert_true(tape_macs(real) == tape_macs(meta));
    if (!testing_cuda()) /* whose tensors are aligned to more */
        assert_int_equal(pool_peak(tape_pool(real)), pool_peak(tape_pool(meta)));
    for (int i = 0; i < on_meta.inputs; i++)
        assert_true(is_fixed(&c->in[i]) || tensor_gradient(on_meta.leaf[i].tensor) != NULL);
    tape_reset(meta);
    tape_reset(real);
    mem_free(real_values[0]);
    mem_free(meta_values[0]);
    run_free(&on_real);
    run_free(&on_meta);
    tape_free(real);
    tape_free(meta);
}

/* No samples at all: nothing breaks, and what is not a sample has a gradient of zero. */
static inline void check_empty(const OpCase *given)
{
    OpCase c = *given;
    bool any = false;
    for (int i = 0; i < case_inputs(&c); i++)
        if (c.in[i].samples) {
            c.in[i].shape.dim[0] = 0;
            any = true;
        }
    if (!any)
        return;
    Tape *t = test_tape(1);
    Run r = run_new(&c, t, WHOLE, 1, false);
    float *values[2];
    run_backward(&r, values);
    for (int i = 0; i < r.inputs; i++) {
        float *g = is_fixed(&c.in[i]) ? NULL : run_gradient(&r, i);
        for (int64_t j = 0; g && j < shape_count(r.leaf[i].shape); j++)
            if (g[j] != 0)
                fail_msg("%s of no samples: input %d has a gradient of %g", c.op, i, (double)g[j]);
        mem_free(g);
    }
    mem_free(values[0]);
    tape_reset(t);
    run_free(&r);
    tape_free(t);
}

typedef struct Release {
    const OpCase *op;
    int input;
} Release;

static inline Tensor *some_input(Tape *t, const char *name, const Input *in)
{
    if (in->type == F32)
        return in->fixed ? random_tensor(t, name, in->shape) : random_leaf(t, name, in->shape);
    float *values = mem_new((size_t)shape_count(in->shape) * sizeof *values);
    random_floats(name, shape_count(in->shape), in->low, in->high, values);
    Tensor *x = integers_from(t, in->type, in->shape, values);
    mem_free(values);
    return x;
}

static inline void run_released(void *argument)
{
    const Release *release = argument;
    Tape *t = test_tape(1);
    region_open(t, TRAIN, GRAD);
    Tensor *in[MOST_INPUTS];
    for (int i = 0; i < case_inputs(release->op); i++)
        if (i != release->input)
            in[i] = some_input(t, "live", &release->op->in[i]);
    Scope s = scope_open(t);
    in[release->input] = some_input(t, "released", &release->op->in[release->input]);
    in[release->input]->refs++; /* still known, so that nothing else takes its place */
    scope_close_n(t, s, NULL, 0);
    release->op->run(t, in);
}

/* An input whose scope has closed stops the op with a line. */
static inline void check_released(const OpCase *c)
{
    for (int i = 0; i < case_inputs(c); i++)
        expect_broken_contract(run_released, &(Release){c, i}, "its scope has closed");
}
