/* The beginnings of the two halves of a transformer block, some rows at a time.
 *
 * The hidden layer of a block is the widest thing it makes: four times the residual stream. Written out whole it goes to
 * memory and back for the product, for f, and for the second product. Here some rows take all the steps before the next
 * ones begin: forward a tile of each thread (kernels/chain.h), backward a panel, of which every product is shared by all
 * threads, because the gradients of weights are sums over rows. Backward needs the hidden layer before f, which is saved;
 * the normalised rows and f's results are cheap, and computed again. Panels depend on the widths only, so sums over rows
 * have one order for any number of threads. */
#include "common/autograd/op.h"
#include "common/autograd/ops.h"

#include "common/base/memory.h"

/* y = down f(up norm(x)), or without `down`: y = up norm(x). */
typedef struct Half {
    Tensor *x;
    LayerNorm norm;  /* weight NULL: none */
    Linear up, down; /* down.weight NULL: none */
    Unary f;
    Tensor *mean, *rstd, *hidden; /* what the norm found; up's results. NULL where backward does not ask */
    int64_t rows, in, width, out; /* width: of up's results */
} Half;

/* Some of the rows. */
typedef struct Panel {
    int64_t first, rows;
} Panel;

/* Room for the temporary values of one panel. */
typedef struct Rooms {
    Rows normal, hidden, active; /* [panel, in], [panel, width] twice */
    Rows dy, dnormal;            /* backward's: dy in the inner type, the gradient of the normalised rows */
} Rooms;

enum { PANEL_BYTES = 1 << 22, GPU_PANEL_BYTES = 1 << 26, ROW_GROUP = 64 };

/* How many rows make a panel: of the widest stage about PANEL_BYTES, so that what two stages share stays in the last cache,
 * and threads seldom wait for each other (a quarter of it costs a twentieth of a training step). A GPU wants more work at a
 * time: in 4 MB its kernels run for a microsecond, less than it takes to start them. */
static int64_t panel_rows(const Tape *t, const Half *c)
{
    int64_t bytes = t->device == DEVICE_CUDA ? GPU_PANEL_BYTES : PANEL_BYTES;
    int64_t rows = bytes / (int64_t)sizeof(float) / MAX(MAX(c->in, c->width), MAX(c->out, 1));
    rows = MAX(rows / ROW_GROUP, 1) * ROW_GROUP;
    return MIN(rows + (c->rows % rows == 1), c->rows); /* one row alone may be summed in another order */
}

static Rows rows_of(const Tensor *x)
{
    int64_t rows, cols;
    return op_as_rows(x, &rows, &cols);
}

static Rows room(Tape *t, DType type, int64_t rows, int64_t cols)
{
    return rows_of(tensor_make(t, type, SHAPE(rows, cols)));
}

/* ---- Forward */

static void forward(Tape *t, const Half *c, const Tensor *y)
{
    Weight up = op_weight(c->up.weight), down = c->down.weight ? op_weight(c->down.weight) : (Weight){0};
    Chain chain = {.rows = c->rows,
                   .in = c->in,
                   .width = c->width,
                   .out = c->out,
                   .gamma = op_floats(c->norm.weight),
                   .beta = op_floats(c->norm.bias),
                   .eps = c->norm.eps,
                   .up = &up,
                   .down = c->down.weight ? &down : NULL,
                   .up_bias = op_floats(c->up.bias),
                   .down_bias = op_floats(c->down.bias),
                   .f = c->f,
                   .inner = t->inner};
    KERNEL_SCRATCH(t, chain, forward_scratch, &t->exec, &chain);
    KERNEL(t, chain, forward, &chain, rows_of(c->x), c->hidden ? rows_of(c->hidden) : (Rows){0}, op_floats(c->mean),
           op_floats(c->rstd), rows_of(y));
}

/* ---- Backward */

typedef struct Slots {
    Slot x, gamma, beta, up_weight, up_bias, down_weight, down_bias;
    bool add_norm;
} Slots;

/* What `up` read: the normalised rows once more, or x as it is. */
static Rows normalised(Tape *t, const Half *c, Panel p, Rows room)
{
    Rows x = rows_from(rows_of(c->x), p.first), none = {0};
    if (!c->norm.weight)
        return x;
    KERNEL(t, norm, layer_norm, p.rows, c->in, x, none, none, op_floats(c->norm.weight), op_floats(c->norm.bias),
           c->norm.eps, room, NULL, NULL);
    return room;
}

/* The gradients of a product's weight and bias grow by those of a panel; the first one may overwrite. */
static void product_gradients(Tape *t, Panel p, int64_t n, int64_t k, Rows dy, Rows x, Slot *weight, Slot *bias)
{
    if (weight->wanted) {
        KERNEL_SCRATCH(t, matmul, linear_weight_gradient_scratch, p.rows, n, k);
        KERNEL(t, matmul, linear_weight_gradient, p.rows, n, k, dy, x, weight->add, weight->gradient.data);
    }
    if (bias->wanted)
        KERNEL(t, elementwise, sum_rows, p.rows, n, dy, 1, bias->add, bias->gradient.data);
    weight->add = bias->add = true;
}

/* From the gradient of y to that of up's results, through the second product and f. */
static Rows back_through_down(Tape *t, const Half *c, Panel p, const Rooms *r, Rows dy, Slots *s)
{
    Rows hidden = rows_from(rows_of(c->hidden), p.first);
    Weight down = op_weight(c->down.weight);
    KERNEL(t, matmul, linear_input_gradient, p.rows, c->out, c->width, dy, &down, false, r->hidden);
    KERNEL(t, elementwise, unary_both, c->f, p.rows, c->width, r->hidden, hidden, r->active, r->hidden);
    product_gradients(t, p, c->out, c->width, dy, r->active, &s->down_weight, &s->down_bias);
    return r->hidden;
}

/* From the gradient of up's results to that of x. */
static void back_through_up(Tape *t, const Half *c, Panel p, const Rooms *r, Rows dhidden, Slots *s)
{
    Rows dx = s->x.wanted ? rows_from(rows_of(&s->x.gradient), p.first) : (Rows){0};
    Weight up = op_weight(c->up.weight);
    product_gradients(t, p, c->width, c->in, dhidden, normalised(t, c, p, r->normal), &s->up_weight, &s->up_bias);
    if (!c->norm.weight) {
        if (s->x.wanted)
            KERNEL(t, matmul, linear_input_gradient, p.rows, c->width, c->in, dhidden, &up, s->x.add, dx);
        return;
    }
    KERNEL(t, matmul, linear_input_gradient, p.rows, c->width, c->in, dhidden, &up, false, r->dnormal);
    KERNEL_SCRATCH(t, norm, layer_norm_gradient_scratch, p.rows, c->in);
    KERNEL(t, norm, layer_norm_gradient, p.rows, c->in, r->dnormal, rows_from(rows_of(c->x), p.first),
           op_floats(c->norm.weight), (float *)c->mean->data + p.first, (float *)c->rstd->data + p.first, s->x.add, dx,
           s->add_norm, s->gamma.gradient.data, s->beta.gradient.data);
    s->add_norm = true;
}

static Slots slots_of(Tape *t, Tensor *const *in, const Tensor *out)
{
    Slots s = {
        gradient_slot_over(t, in[0], out), gradient_slot(t, in[1]), gradient_slot(t, in[2]), gradient_slot(t, in[3]),
        gradient_slot(t, in[4]),           gradient_slot(t, in[5]), gradient_slot(t, in[6]), false};
    s.add_norm = slots_agree(t, 2, (Slot *[]){&s.gamma, &s.beta});
    return s;
}

static void chain_backward(Tape *t, Node *n)
{
    const Half *c = n->args;
    int64_t most = panel_rows(t, c);
    Rows dy = rows_of(n->out->gradient);
    Slots s = slots_of(t, n->in, n->out);
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
        Rows d = rows_from(dy, p.first);
        if (r.dy.data) {
            KERNEL(t, elementwise, scale, p.rows, c->out, 1.0f, d, false, r.dy);
            d = r.dy;
        }
        back_through_up(t, c, p, &r, c->down.weight ? back_through_down(t, c, p, &r, d, &s) : d, &s);
        p.first += p.rows;
    } while (p.first < c->rows);
}

/* ---- */

static Tensor *chain(Tape *t, const char *op, Half c)
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
    contract(c.in > 0 && c.width > 0 && c.out > 0 && tensor_dim(c.up.weight, 1) == c.in &&
                 (!c.down.weight || tensor_dim(c.down.weight, 1) == c.width),
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
    return chain(t, "norm_affine", (Half){.x = x, .norm = norm ? *norm : (LayerNorm){0}, .up = *l});
}

Tensor *feed_forward(Tape *t, Tensor *x, const LayerNorm *norm, const Linear *up, Unary f, const Linear *down)
{
    return chain(t, "feed_forward",
                 (Half){.x = x, .norm = norm ? *norm : (LayerNorm){0}, .up = *up, .down = *down, .f = f});
}
