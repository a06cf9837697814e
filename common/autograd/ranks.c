#include "common/autograd/ranks.h"

#include "common/autograd/op.h"
#include "common/autograd/ops.h"
#include "common/base/memory.h"

#include <string.h>

static Tensor *copy_of(Tape *t, Tensor *x)
{
    Tensor *y = tensor_make(t, F32, x->shape);
    op_copy(t, x, y, false);
    return y;
}

static void sum_in_place(Tape *t, Tensor *x)
{
    comm_sum_floats(t->comm, t->backend, x->data, tensor_count(x));
}

/* What x gives to every rank's result, every rank's loss depends on. */
static void comm_sum_backward(Tape *t, Node *n)
{
    Tensor *gradient = copy_of(t, n->out->gradient);
    sum_in_place(t, gradient);
    gradient_give(t, n->in[0], gradient);
}

Tensor *comm_sum(Tape *t, Tensor *x)
{
    x = contiguous(t, x);
    OP_BEGIN(t, "comm_sum", x);
    contract(x->type == F32, "comm_sum: a tensor of %s", dtype_name(x->type));
    if (comm_ranks(t->comm) == 1)
        return x;
    Tensor *y = copy_of(t, x);
    sum_in_place(t, y);
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, "comm_sum", comm_sum_backward, y, NULL, 0);
        OP_INPUTS(t, n, x);
    }
    return y;
}

/* ---- Rows of all ranks */

/* Elements that keep together, where the tensor is one of samples: as many as belong to one row of the map. */
static int64_t elements_a_row(const Tape *t, const Tensor *x)
{
    int64_t each = row_map_each(&t->rows, x->shape);
    contract(!t->rows.rows || each || !tensor_count(x), "comm_gather_rows: %lld rows are not those of the samples",
             (long long)x->shape.dim[0]);
    return each ? each : tensor_count(x);
}

/* On the host: the rows of one rank at their places, or from there back. */
static void move_rows(const int64_t *place, int64_t rows, int64_t each, float *of_rank, float *whole, bool back)
{
    for (int64_t r = 0; r < rows; r++) {
        float *mine = of_rank + r * each, *there = whole + place[r] * each;
        memcpy(back ? mine : there, back ? there : mine, (size_t)each * sizeof *mine);
    }
}

static float *read_floats(Tape *t, const Tensor *x)
{
    float *values = mem_new((size_t)tensor_count(x) * sizeof *values);
    tensor_read(t, x, values);
    return values;
}

Tensor *op_gather_ranks(Tape *t, const Tensor *x)
{
    Shape shape = x->shape;
    shape.dim[0] *= comm_ranks(t->comm);
    Tensor *all = tensor_make(t, F32, shape);
    float *mine = read_floats(t, x);
    comm_gather(t->comm, mine, (size_t)tensor_count(x) * sizeof *mine, op_host(t, all));
    op_from_host(t, all);
    mem_free(mine);
    return all;
}

typedef struct GatherArgs {
    const int64_t *place; /* [rows], or NULL: rank after rank */
    int64_t rows, each, rank;
} GatherArgs;

/* Where this rank's rows lie in the whole. */
static const int64_t *places(const GatherArgs *a)
{
    return a->place ? a->place : &a->rank;
}

static void gather_backward(Tape *t, Node *n)
{
    const GatherArgs *a = n->args;
    Tensor *sum = copy_of(t, n->out->gradient);
    sum_in_place(t, sum);
    float *whole = read_floats(t, sum), *mine = mem_new((size_t)tensor_count(n->in[0]) * sizeof *mine);
    move_rows(places(a), a->rows, a->each, mine, whole, true);
    gradient_give(t, n->in[0], tensor_from(t, F32, n->in[0]->shape, mine));
    mem_free(whole);
    mem_free(mine);
}

static Tensor *gather(Tape *t, const Tensor *x, Shape shape, const GatherArgs *a)
{
    int ranks = comm_ranks(t->comm);
    int64_t count = tensor_count(x), *all_places = mem_new((size_t)(ranks * a->rows) * sizeof *all_places);
    float *mine = read_floats(t, x), *all = mem_new((size_t)(ranks * count) * sizeof *all),
          *whole = mem_new((size_t)(ranks * count) * sizeof *all);
    comm_gather(t->comm, places(a), (size_t)a->rows * sizeof *all_places, all_places);
    comm_gather(t->comm, mine, (size_t)count * sizeof *all, all);
    for (int r = 0; r < ranks; r++)
        move_rows(all_places + r * a->rows, a->rows, a->each, all + r * count, whole, false);
    Tensor *y = tensor_from(t, F32, shape, whole);
    mem_free(all_places);
    mem_free(mine);
    mem_free(all);
    mem_free(whole);
    return y;
}

Tensor *comm_gather_rows(Tape *t, Tensor *x)
{
    x = contiguous(t, x);
    OP_BEGIN(t, "comm_gather_rows", x);
    contract(x->type == F32 && x->shape.rank > 0, "comm_gather_rows: a tensor of %s, rank %d", dtype_name(x->type),
             x->shape.rank);
    int ranks = comm_ranks(t->comm);
    if (ranks == 1)
        return x;
    Shape shape = x->shape;
    shape.dim[0] *= ranks;
    GatherArgs args = {t->rows.rows ? t->rows.place : NULL, MAX(t->rows.rows, (int64_t)1), elements_a_row(t, x),
                       comm_rank(t->comm)};
    Tensor *y = gather(t, x, shape, &args);
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, "comm_gather_rows", gather_backward, y, &args, sizeof args);
        OP_INPUTS(t, n, x);
    }
    return y;
}

Tensor *comm_mean(Tape *t, Tensor *x)
{
    OP_BEGIN(t, "comm_mean", x);
    double count = (double)tensor_count(x), all = count;
    comm_sum_doubles(t->comm, &all, 1);
    Tensor *mean = mean_all(t, x);
    return all == count ? mean : scale(t, mean, (float)(count / all));
}
