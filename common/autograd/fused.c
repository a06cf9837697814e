/* The beginnings of the two halves of a transformer block, a panel of rows at a time.
 *
 * The hidden layer of a block is the widest thing it makes: four times the residual stream. Written out whole it goes to
 * memory and back for the product, for f, and for the second product. Here a panel of rows takes all the steps before the
 * next one begins. Backward needs the hidden layer before f, which is saved; the normalised rows and f's results are
 * cheap, and computed again. Panels depend on the widths only, so sums over rows have one order for any number of threads. */
#include "common/autograd/op.h"
#include "common/autograd/ops.h"

#include "common/base/memory.h"

/* y = down f(up norm(x)), or without `down`: y = up norm(x). */
typedef struct Chain {
    Tensor *x;
    LayerNorm norm;  /* weight NULL: none */
    Linear up, down; /* down.weight NULL: none */
    Unary f;
    Tensor *mean, *rstd, *hidden; /* what the norm found; up's results. NULL where backward does not ask */
    int64_t rows, in, width, out; /* width: of up's results */
} Chain;

/* Some of the rows. */
typedef struct Panel {
    int64_t first, rows;
} Panel;

/* Room for the temporary values of one panel. */
typedef struct Rooms {
    Rows normal, hidden, active; /* [panel, in], [panel, width] twice */
    Rows dy, dnormal;            /* backward's: dy in the inner type, the gradient of the normalised rows */
} Rooms;

enum { PANEL_BYTES = 1 << 20, ROW_GROUP = 64 };

/* How many rows make a panel: of the widest stage about PANEL_BYTES, so that what two stages share stays in the cache. */
static int64_t panel_rows(const Chain *c)
{
    int64_t rows = PANEL_BYTES / (int64_t)sizeof(float) / MAX(MAX(c->in, c->width), MAX(c->out, 1));
    return MIN(MAX(rows / ROW_GROUP, 1) * ROW_GROUP, c->rows);
}

static Rows rows_of(const Tensor *x)
{
    int64_t rows, cols;
    return op_as_rows(x, &rows, &cols);
}

static Rows panel_of(Rows x, Panel p)
{
    x.data = (char *)x.data + p.first * x.stride * (int64_t)dtype_bytes(x.type);
    return x;
}

static Rows room(Tape *t, DType type, int64_t rows, int64_t cols)
{
    return rows_of(tensor_make(t, type, SHAPE(rows, cols)));
}

/* What `up` reads: the normalised panel, or x as it is. */
static Rows normalised(Tape *t, const Chain *c, Panel p, Rows into, bool keep)
{
    Rows x = panel_of(rows_of(c->x), p);
    if (!c->norm.weight)
        return x;
    float *mean = keep && c->mean ? (float *)c->mean->data + p.first : NULL;
    float *rstd = keep && c->rstd ? (float *)c->rstd->data + p.first : NULL;
    KERNEL(t, norm, layer_norm, p.rows, c->in, x, (Rows){0}, (Rows){0}, op_floats(c->norm.weight),
           op_floats(c->norm.bias), c->norm.eps, into, mean, rstd);
    return into;
}

/* ---- Forward */

static void forward_panel(Tape *t, const Chain *c, Panel p, const Rooms *r, Rows y)
{
    Rows from = normalised(t, c, p, r->normal, true), hidden = c->hidden ? panel_of(rows_of(c->hidden), p) : r->hidden;
    Weight up = op_weight(c->up.weight);
    KERNEL(t, matmul, linear, p.rows, c->width, c->in, from, &up, op_floats(c->up.bias), c->down.weight ? hidden : y);
    if (!c->down.weight)
        return;
    Weight down = op_weight(c->down.weight);
    KERNEL(t, elementwise, unary, c->f, p.rows, c->width, hidden, r->active);
    KERNEL(t, matmul, linear, p.rows, c->out, c->width, r->active, &down, op_floats(c->down.bias), y);
}

static void forward(Tape *t, const Chain *c, const Tensor *y)
{
    Scope s = scope_open(t);
    int64_t most = panel_rows(c);
    Rooms r = {0};
    if (c->norm.weight)
        r.normal = room(t, t->inner, most, c->in);
    if (c->down.weight && !c->hidden)
        r.hidden = r.active = room(t, t->inner, most, c->width); /* f in place: nobody asks again */
    else if (c->down.weight)
        r.active = room(t, t->inner, most, c->width);
    for (Panel p = {0}; p.first < c->rows; p.first += most) {
        p.rows = MIN(most, c->rows - p.first);
        forward_panel(t, c, p, &r, panel_of(rows_of(y), p));
    }
    scope_close_n(t, s, NULL, 0);
}

/* ---- Backward */

typedef struct Slots {
    Slot x, gamma, beta, up_weight, up_bias, down_weight, down_bias;
    bool add_norm;
} Slots;

/* The gradients of a product's weight and bias grow by those of a panel; the first one may overwrite. */
static void product_gradients(Tape *t, Panel p, int64_t n, int64_t k, Rows dy, Rows x, Slot *weight, Slot *bias)
{
    if (weight->wanted)
        KERNEL(t, matmul, linear_weight_gradient, p.rows, n, k, dy, x, weight->add, weight->gradient.data);
    if (bias->wanted)
        KERNEL(t, elementwise, sum_rows, p.rows, n, dy, 1, bias->add, bias->gradient.data);
    weight->add = bias->add = true;
}

/* From the gradient of y to that of up's results, through the second product and f. */
static Rows back_through_down(Tape *t, const Chain *c, Panel p, const Rooms *r, Rows dy, Slots *s)
{
    Rows hidden = panel_of(rows_of(c->hidden), p);
    Weight down = op_weight(c->down.weight);
    KERNEL(t, matmul, linear_input_gradient, p.rows, c->out, c->width, dy, &down, false, r->hidden);
    KERNEL(t, elementwise, unary_both, c->f, p.rows, c->width, r->hidden, hidden, r->active, r->hidden);
    product_gradients(t, p, c->out, c->width, dy, r->active, &s->down_weight, &s->down_bias);
    return r->hidden;
}

/* From the gradient of up's results to that of x. */
static void back_through_up(Tape *t, const Chain *c, Panel p, const Rooms *r, Rows dhidden, Slots *s)
{
    Rows dx = s->x.wanted ? panel_of(rows_of(&s->x.gradient), p) : (Rows){0};
    Weight up = op_weight(c->up.weight);
    product_gradients(t, p, c->width, c->in, dhidden, normalised(t, c, p, r->normal, false), &s->up_weight,
                      &s->up_bias);
    if (!c->norm.weight) {
        if (s->x.wanted)
            KERNEL(t, matmul, linear_input_gradient, p.rows, c->width, c->in, dhidden, &up, s->x.add, dx);
        return;
    }
    KERNEL(t, matmul, linear_input_gradient, p.rows, c->width, c->in, dhidden, &up, false, r->dnormal);
    KERNEL_SCRATCH(t, norm, layer_norm_gradient_scratch, p.rows, c->in);
    KERNEL(t, norm, layer_norm_gradient, p.rows, c->in, r->dnormal, panel_of(rows_of(c->x), p),
           op_floats(c->norm.weight), (float *)c->mean->data + p.first, (float *)c->rstd->data + p.first, s->x.add, dx,
           s->add_norm, s->gamma.gradient.data, s->beta.gradient.data);
    s->add_norm = true;
}

static Slots slots_of(Tape *t, Tensor *const *in)
{
    Slots s = {gradient_slot(t, in[0]), gradient_slot(t, in[1]), gradient_slot(t, in[2]), gradient_slot(t, in[3]),
               gradient_slot(t, in[4]), gradient_slot(t, in[5]), gradient_slot(t, in[6]), false};
    s.add_norm = slots_agree(t, 2, (Slot *[]){&s.gamma, &s.beta});
    return s;
}

static void chain_backward(Tape *t, Node *n)
{
    const Chain *c = n->args;
    int64_t most = panel_rows(c);
    Rows dy = rows_of(n->out->gradient);
    Slots s = slots_of(t, n->in);
    Rooms r = {0};
    if (dy.type != t->inner)
        r.dy = room(t, t->inner, most, c->out);
    if (c->norm.weight) {
        r.normal = room(t, t->inner, most, c->in);
        r.dnormal = room(t, F32, most, c->in);
    }
    if (c->down.weight) {
        r.hidden = room(t, t->inner, most, c->width);
        r.active = room(t, t->inner, most, c->width);
    }
    Panel p = {0};
    do { /* once at least: gradients of no rows are zero */
        p.rows = MIN(most, c->rows - p.first);
        Rows d = panel_of(dy, p);
        if (r.dy.data) {
            KERNEL(t, elementwise, scale, p.rows, c->out, 1.0f, d, false, r.dy);
            d = r.dy;
        }
        back_through_up(t, c, p, &r, c->down.weight ? back_through_down(t, c, p, &r, d, &s) : d, &s);
        p.first += p.rows;
    } while (p.first < c->rows);
}

/* ---- */

static Tensor *chain(Tape *t, const char *op, Chain c)
{
    c.x = op_rows(t, c.x);
    c.up.weight = contiguous(t, c.up.weight);
    c.down.weight = c.down.weight ? contiguous(t, c.down.weight) : NULL;
    Tensor *in[] = {c.x, c.norm.weight, c.norm.bias, c.up.weight, c.up.bias, c.down.weight, c.down.bias};
    op_begin(t, op, COUNT_OF(in), in);
    char text[128], other[128];
    c.in = tensor_dim(c.x, -1);
    c.rows = c.in ? tensor_count(c.x) / c.in : 0;
    c.width = c.up.weight->shape.dim[0];
    c.out = c.down.weight ? c.down.weight->shape.dim[0] : c.width;
    contract(tensor_dim(c.up.weight, 1) == c.in && (!c.down.weight || tensor_dim(c.down.weight, 1) == c.width),
             "%s: x %s, weight %s", op, shape_text(c.x->shape, text), shape_text(c.up.weight->shape, other));
    Shape shape = c.x->shape;
    shape.dim[shape.rank - 1] = c.out;
    Scope s = scope_open(t);
    Tensor *y = tensor_make(t, c.down.weight ? F32 : t->inner, shape);
    bool records = op_records(t, COUNT_OF(in), in);
    if (records && c.norm.weight) {
        c.mean = tensor_make(t, F32, SHAPE(c.rows));
        c.rstd = tensor_make(t, F32, SHAPE(c.rows));
    }
    if (records && c.down.weight)
        c.hidden = tensor_make(t, t->inner, SHAPE(c.rows, c.width));
    t->macs += (double)c.rows * (double)c.width * (double)(c.in + (c.down.weight ? c.out : 0));
    forward(t, &c, y);
    if (records) {
        Node *n = op_record(t, op, chain_backward, y, &c, sizeof c);
        op_inputs(t, n, COUNT_OF(in), in);
        OP_SAVES(t, n, c.x, c.norm.weight, c.norm.bias, c.mean, c.rstd, c.up.weight, c.hidden, c.down.weight);
    }
    return scope_close(t, s, y);
}

Tensor *norm_affine(Tape *t, Tensor *x, const LayerNorm *norm, const Linear *l)
{
    return chain(t, "norm_affine", (Chain){.x = x, .norm = norm ? *norm : (LayerNorm){0}, .up = *l});
}

Tensor *feed_forward(Tape *t, Tensor *x, const LayerNorm *norm, const Linear *up, Unary f, const Linear *down)
{
    return chain(t, "feed_forward",
                 (Chain){.x = x, .norm = norm ? *norm : (LayerNorm){0}, .up = *up, .down = *down, .f = f});
}
