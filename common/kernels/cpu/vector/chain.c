/* Rows through norm, product, activation and product: threads share the rows once, and what one step leaves in a
 * thread's second-level cache is what its next step reads. */
#include "common/kernels/chain.h"

#include "common/kernels/cpu/row_product.h"
#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/rows.h"

enum {
    TILE_BYTES = 256 << 10, /* of the widest rows of a tile: two of them and the packed weights are in a megabyte */
    TILE_ROWS = 32,         /* fewer, and the products slow down */
    TILES = 8               /* a multiple of it, so that two, four or eight threads get the same share */
};

static RowCut cut_rows(const Chain *c)
{
    int64_t widest = c->in > c->width ? c->in : c->width;
    int64_t most = TILE_BYTES / (int64_t)sizeof(float) / (c->out > widest ? c->out : widest);
    most = most < TILE_ROWS ? TILE_ROWS : most;
    int64_t tiles = ((c->rows + most - 1) / most + TILES - 1) / TILES * TILES;
    int64_t rows = tiles ? (c->rows + tiles - 1) / tiles : 0;
    return row_cut(c->rows, rows < TILE_ROWS ? TILE_ROWS : rows, true);
}

/* Of a thread: the normalised rows, up's results where they are not kept, f's results. */
typedef struct Rooms {
    Rows normal, hidden, active;
    size_t bytes;
} Rooms;

static Rows cut(Rooms *r, char *memory, int64_t rows, int64_t cols, DType type)
{
    Rows room = {memory ? memory + r->bytes : NULL, cols, type};
    r->bytes += ((size_t)(rows * cols) * dtype_bytes(type) + 63) / 64 * 64;
    return room;
}

static Rooms rooms_of(const Chain *c, int64_t tile, char *memory)
{
    Rooms r = {.bytes = 0};
    r.normal = cut(&r, memory, tile, c->in, c->inner);
    if (c->down) {
        r.hidden = cut(&r, memory, tile, c->width, c->inner);
        r.active = cut(&r, memory, tile, c->width, c->inner);
    }
    return r;
}

static size_t forward_scratch(const Exec *exec, const Chain *c)
{
    return (size_t)exec->threads * rooms_of(c, cut_rows(c).tile, NULL).bytes;
}

typedef struct Job {
    const Chain *c;
    RowProduct up, down;
    RowCut cut;
    char *scratch;
    size_t each; /* bytes of a thread's rooms */
    Rows x, hidden, y;
    float *mean, *rstd;
} Job;

/* What `up` reads: normalised rows, or x in the type of the products. */
static Rows prepared(const Exec *one, const Job *j, int64_t first, int64_t rows, Rows room)
{
    const Chain *c = j->c;
    Rows x = rows_from(j->x, first), none = {0};
    if (c->gamma) {
        LEVEL(norm_kernels)
            .layer_norm(one, rows, c->in, x, none, none, c->gamma, c->beta, c->eps, room,
                        j->mean ? j->mean + first : NULL, j->rstd ? j->rstd + first : NULL);
        return room;
    }
    if (x.type == c->inner)
        return x;
    LEVEL(elementwise_kernels).scale(one, rows, c->in, 1.0f, x, false, room);
    return room;
}

static void forward_rows(const Job *j, int64_t first, int64_t rows, int thread)
{
    const Chain *c = j->c;
    const Exec one = {.threads = 1};
    Rooms r = rooms_of(c, j->cut.tile, j->scratch + (size_t)thread * j->each);
    Rows from = prepared(&one, j, first, rows, r.normal), y = rows_from(j->y, first);
    if (!c->down) {
        row_product_run(&j->up, rows, from, y, thread);
        return;
    }
    Rows hidden = j->hidden.data ? rows_from(j->hidden, first) : r.hidden;
    row_product_run(&j->up, rows, from, hidden, thread);
    LEVEL(elementwise_kernels).unary(&one, c->f, rows, c->width, hidden, r.active);
    row_product_run(&j->down, rows, r.active, y, thread);
}

static void forward_task(void *context, int64_t index, int thread)
{
    const Job *j = context;
    RowPiece pieces[2];
    int count = row_pieces(&j->cut, index, pieces);
    for (int i = 0; i < count; i++)
        forward_rows(j, pieces[i].first, pieces[i].rows, thread);
}

/* A weight that is no parameter is packed for this call alone. */
static Weight packable(const Weight *w, struct Packed **own)
{
    Weight weight = *w;
    if (!weight.packed)
        weight.packed = own;
    return weight;
}

static void forward(const Exec *exec, const Chain *c, Rows x, Rows hidden, float *mean, float *rstd, Rows y)
{
    if (c->rows == 0)
        return;
    struct Packed *own[2] = {NULL, NULL};
    Job j = {.c = c,
             .cut = cut_rows(c),
             .scratch = exec->scratch,
             .x = x,
             .hidden = hidden,
             .y = y,
             .mean = mean,
             .rstd = rstd};
    Rooms r = rooms_of(c, j.cut.tile, exec->scratch);
    j.each = r.bytes;
    Weight up = packable(c->up, &own[0]);
    Rows from = c->gamma || x.type != c->inner ? r.normal : x;
    j.up = row_product_new(exec, &j.cut, c->width, c->in, from, &up, c->up_bias,
                           c->down ? hidden.data ? hidden : r.hidden : y);
    if (c->down) {
        Weight down = packable(c->down, &own[1]);
        j.down = row_product_new(exec, &j.cut, c->out, c->width, r.active, &down, c->down_bias, y);
    }
    double flops = 2.0 * (double)c->rows * (double)c->width * (double)(c->in + (c->down ? c->out : 0));
    tasks_run(exec, j.cut.tasks, flops, forward_task, &j);
    packed_free(&own[0]);
    packed_free(&own[1]);
}

const ChainKernels LEVEL(chain_kernels) = {.forward_scratch = forward_scratch, .forward = forward};
