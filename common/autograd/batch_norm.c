/* Normalisation of each channel over the batch, which may lie on several ranks. */
#include "common/autograd/ops.h"
#include "common/autograd/tape_parts.h"

typedef struct BatchNormArgs {
    ChannelShape shape;
    bool relu, of_batch, joined; /* statistics of the batch; of all ranks' */
} BatchNormArgs;

/* x as channel_rows can say it: maps as they lie, rows of channels with any stride. */
static Tensor *as_channels(Tape *t, Tensor *x, int axis, ChannelShape *s)
{
    char text[128];
    int rank = x->shape.rank;
    contract(rank >= 2 && (axis == 1 || axis == rank - 1), "standardize_channels: axis %d of %s", axis,
             shape_text(x->shape, text));
    int64_t channels = x->shape.dim[axis], count = tensor_count(x);
    contract(channels > 0, "standardize_channels: no channels");
    bool rows = axis == rank - 1 || x->channels_last;
    *s = (ChannelShape){x->shape.dim[0], channels, shape_product(x->shape, 2, rank)};
    if (rows)
        *s = (ChannelShape){count / channels, channels, 1};
    return x->channels_last && axis == 1 ? x : rows ? op_rows(t, x) : contiguous(t, x);
}

static Rows channel_rows(const Tensor *x, const ChannelShape *s)
{
    int64_t rows, cols;
    if (tensor_is_window(x))
        return op_as_rows(x, &rows, &cols);
    return (Rows){x->data, s->inner == 1 ? s->channels : s->inner, x->type};
}

/* ---- Statistics [2 C + 1] */

static Tensor *statistics_of_batch(Tape *t, const Tensor *x, const BatchNormArgs *a, const BatchNorm *norm)
{
    int64_t channels = a->shape.channels;
    Tensor *moments = tensor_make(t, F32, SHAPE(1, 2 * channels + 1));
    KERNEL_SCRATCH(t, batch_norm, moments_scratch, &a->shape);
    KERNEL(t, batch_norm, moments, &a->shape, channel_rows(x, &a->shape), moments->data);
    if (a->joined)
        moments = op_gather_ranks(t, moments);
    bool remembers = tape_training(t) && norm->running_mean;
    RunningStatistics running = {0};
    if (remembers) {
        op_writes_state(t, "standardize_channels", norm->running_mean);
        op_writes_state(t, "standardize_channels", norm->running_var);
        running = (RunningStatistics){norm->running_mean->data, norm->running_var->data, NULL, norm->momentum};
    }
    if (remembers && norm->num_batches_tracked) {
        op_writes_state(t, "standardize_channels", norm->num_batches_tracked);
        running.batches = norm->num_batches_tracked->data;
    }
    Tensor *statistics = tensor_make(t, F32, SHAPE(2 * channels + 1));
    KERNEL(t, batch_norm, statistics, channels, moments->shape.dim[0], moments->data, norm->eps, &running,
           statistics->data);
    return statistics;
}

/* A copy: what was remembered may go on changing before the way back. */
static Tensor *statistics_remembered(Tape *t, const BatchNorm *norm)
{
    int64_t channels = tensor_count(norm->running_mean);
    Tensor *statistics = tensor_make(t, F32, SHAPE(2 * channels + 1));
    KERNEL(t, batch_norm, running_statistics, channels, norm->running_mean->data, norm->running_var->data, norm->eps,
           statistics->data);
    return statistics;
}

/* ---- The op. saved: x, gamma, beta (where relu asks for it), statistics; in: x, gamma, beta */

static void give_sum(Tape *t, const Slot *to, float *sum, int64_t channels)
{
    if (to->wanted)
        KERNEL(t, elementwise, scale, 1, channels, 1.0f, ((Rows){sum, channels, F32}), to->add,
               ((Rows){to->gradient.data, channels, F32}));
}

static void standardize_channels_backward(Tape *t, Node *n)
{
    const BatchNormArgs *a = n->args;
    const ChannelShape *s = &a->shape;
    const Tensor *x = n->saved[0];
    const float *statistics = n->saved[3]->data;
    ChannelAffine affine = {op_floats(n->saved[1]), op_floats(n->saved[2]), a->relu};
    Rows dy = channel_rows(n->out->gradient, s), from = channel_rows(x, s);
    Slot dgamma = gradient_slot(t, n->in[1]), dbeta = gradient_slot(t, n->in[2]);
    Tensor *sums = tensor_make(t, F32, SHAPE(2, s->channels));
    if (a->of_batch || dgamma.wanted || dbeta.wanted) {
        KERNEL_SCRATCH(t, batch_norm, gradient_sums_scratch, s);
        KERNEL(t, batch_norm, gradient_sums, s, dy, from, statistics, &affine, sums->data);
        give_sum(t, &dbeta, sums->data, s->channels);
        give_sum(t, &dgamma, (float *)sums->data + s->channels, s->channels);
    }
    if (a->joined) /* each rank has counted its own parameters' gradients above */
        comm_sum_floats(t->comm, t->backend, sums->data, 2 * s->channels);
    Slot dx = gradient_slot(t, n->in[0]);
    if (dx.wanted)
        KERNEL(t, batch_norm, gradient, s, dy, from, statistics, &affine, a->of_batch ? sums->data : NULL, dx.add,
               channel_rows(&dx.gradient, s));
}

static bool fits(const Tensor *of_channel, int64_t channels)
{
    return !of_channel || (tensor_count(of_channel) == channels && of_channel->type == F32);
}

static void check(const Tape *t, const BatchNormArgs *a, const BatchNorm *norm)
{
    int64_t channels = a->shape.channels;
    const Tensor *batches = norm->num_batches_tracked;
    contract(fits(norm->weight, channels) && fits(norm->bias, channels) && fits(norm->running_mean, channels) &&
                 fits(norm->running_var, channels) && !norm->running_mean == !norm->running_var,
             "standardize_channels: %lld channels, and parameters or buffers of others", (long long)channels);
    contract(!batches || (batches->type == I64 && tensor_count(batches) == 1), "standardize_channels: a count of %s",
             dtype_name(batches->type));
    if (tape_training(t) && !a->joined && a->shape.batch * a->shape.inner == 1)
        user_fatal("batch norm in training needs more than one value of a channel; raise train.batch_size");
}

Tensor *standardize_channels(Tape *t, Tensor *x, int axis, const BatchNorm *norm)
{
    BatchNormArgs a = {.relu = norm->relu, .of_batch = tape_training(t) || !norm->running_mean};
    x = as_channels(t, x, axis, &a.shape);
    Tensor *gamma = norm->weight, *beta = norm->bias;
    OP_BEGIN(t, "standardize_channels", x, gamma, beta, norm->running_mean, norm->running_var,
             norm->num_batches_tracked);
    a.joined = t->sync_batch_norm && tape_training(t) && comm_ranks(t->comm) > 1;
    check(t, &a, norm);
    Scope s = scope_open(t);
    Tensor *statistics = a.of_batch ? statistics_of_batch(t, x, &a, norm) : statistics_remembered(t, norm);
    Tensor *y = tensor_make(t, x->type, x->shape);
    y->channels_last = x->channels_last;
    ChannelAffine affine = {op_floats(gamma), op_floats(beta), norm->relu};
    KERNEL(t, batch_norm, normalise, &a.shape, channel_rows(x, &a.shape), statistics->data, &affine,
           channel_rows(y, &a.shape));
    if (OP_RECORDS(t, x, gamma, beta)) {
        Node *n = op_record(t, "standardize_channels", standardize_channels_backward, y, &a, sizeof a);
        OP_INPUTS(t, n, x, gamma, beta);
        OP_SAVES(t, n, x, gamma, norm->relu ? beta : NULL, statistics);
    }
    return scope_close(t, s, y);
}
