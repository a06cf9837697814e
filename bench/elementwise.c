/* What a step does beside products and attention, one kernel at a time at the shapes of CrossViT-Ti: LayerNorm, BatchNorm (at a
 * ResNet's), GELU, softmax with cross-entropy, AdamW, the bicubic resize, the convolutions of a stem. All but the last are bound by memory, so a case
 * says how many bytes it has to read and write, and the driver sets that beside the memory's bandwidth. */
#include "bench/side/side.h"

#include "common/base/memory.h"

#include <string.h>

/* The arrays of a case by their role, and sets of them. */
typedef enum Role {
    X,
    Y,
    DY,
    DX,
    WEIGHT, /* of a norm and of a convolution */
    BIAS,
    DWEIGHT,
    DBIAS,
    MEAN, /* of a row, and 1 / its deviation */
    RSTD,
    MOMENTS, /* of channels, their statistics, and sums of gradients */
    STATISTICS,
    SUMS,
    TARGETS,
    PROBABILITIES,
    PARAMETER, /* AdamW's */
    GRADIENT,
    M,
    V,
    ROLES
} Role;

static const char *const role_names[ROLES] = {"x",         "y",           "dy",        "grad/x",  "weight",
                                              "bias",      "grad/weight", "grad/bias", "mean",    "rstd",
                                              "moments",   "statistics",  "sums",      "targets", "probabilities",
                                              "parameter", "gradient",    "m",         "v"};

#define SET(role) (1u << (role))
static const uint32_t INPUTS =
    SET(X) | SET(DY) | SET(WEIGHT) | SET(BIAS) | SET(TARGETS) | SET(PARAMETER) | SET(GRADIENT);
static const uint32_t RESULTS = SET(Y) | SET(DX) | SET(DWEIGHT) | SET(DBIAS) | SET(PARAMETER);

typedef struct Array {
    Shape shape; /* rank 0: this case has none */
    float *data;
} Array;

typedef struct Bench Bench;

/* One way of an op: what it does, and what it has to read and to write. */
typedef struct Way {
    void (*run)(Bench *b);
    uint32_t reads, writes;
} Way;

typedef struct Op {
    const char *name;
    void (*declare)(Bench *b); /* its arrays; and the flop of a forward where that bounds it */
    Way forward, backward;     /* backward.run NULL: it has none */
} Op;

struct Bench {
    const Op *op;
    const Backend *backend;
    Exec exec;
    bool backward;
    int64_t rows, cols;                             /* rows of values, or so many images */
    int64_t side, out_side, channels, out_channels; /* of images */
    int64_t kernel, stride, pad;
    double flop; /* 0: memory bounds it */
    struct Packed *packed;
    Array array[ROLES];
};

static float *at(const Bench *b, Role role)
{
    return b->array[role].data;
}

static Rows rows_of(const Bench *b, Role role)
{
    return (Rows){at(b, role), b->cols, F32};
}

static void declare(Bench *b, Role role, Shape shape)
{
    b->array[role].shape = shape;
}

/* x, y and their gradients as rows. */
static void declare_rows(Bench *b)
{
    for (Role role = X; role <= DX; role++)
        declare(b, role, SHAPE(b->rows, b->cols));
}

/* ---- LayerNorm */

static void declare_layer_norm(Bench *b)
{
    declare_rows(b);
    for (Role role = WEIGHT; role <= DBIAS; role++)
        declare(b, role, SHAPE(b->cols));
    declare(b, MEAN, SHAPE(b->rows));
    declare(b, RSTD, SHAPE(b->rows));
}

static void layer_norm_forward(Bench *b)
{
    b->backend->norm.layer_norm(&b->exec, b->rows, b->cols, rows_of(b, X), (Rows){0}, (Rows){0}, at(b, WEIGHT),
                                at(b, BIAS), 1e-6f, rows_of(b, Y), at(b, MEAN), at(b, RSTD));
}

static void layer_norm_backward(Bench *b)
{
    b->backend->norm.layer_norm_gradient(&b->exec, b->rows, b->cols, rows_of(b, DY), rows_of(b, X), at(b, WEIGHT),
                                         at(b, MEAN), at(b, RSTD), false, rows_of(b, DX), false, at(b, DWEIGHT),
                                         at(b, DBIAS));
}

/* ---- BatchNorm of maps [rows, channels, side, side], or of rows of channels, as a convolution leaves them */

static ChannelShape channel_shape(const Bench *b)
{
    return b->channels > 1 ? (ChannelShape){b->rows, b->channels, b->side * b->side}
                           : (ChannelShape){b->rows, b->cols, 1};
}

static Rows channel_rows(const Bench *b, Role role)
{
    return (Rows){at(b, role), b->channels > 1 ? b->side * b->side : b->cols, F32};
}

static void declare_batch_norm(Bench *b)
{
    int64_t channels = channel_shape(b).channels;
    for (Role role = X; role <= DX; role++)
        declare(b, role, b->channels > 1 ? SHAPE(b->rows, channels, b->side, b->side) : SHAPE(b->rows, channels));
    for (Role role = WEIGHT; role <= DBIAS; role++)
        declare(b, role, SHAPE(channels));
    declare(b, MOMENTS, SHAPE(2 * channels + 1));
    declare(b, STATISTICS, SHAPE(2 * channels + 1));
    declare(b, SUMS, SHAPE(2, channels));
}

static void batch_norm_forward(Bench *b)
{
    const BatchNormKernels *kernels = &b->backend->batch_norm;
    const ChannelShape s = channel_shape(b);
    const ChannelAffine affine = {at(b, WEIGHT), at(b, BIAS), false};
    kernels->moments(&b->exec, &s, channel_rows(b, X), at(b, MOMENTS));
    kernels->statistics(&b->exec, s.channels, 1, at(b, MOMENTS), 1e-5f, &(RunningStatistics){0}, at(b, STATISTICS));
    kernels->normalise(&b->exec, &s, channel_rows(b, X), at(b, STATISTICS), &affine, channel_rows(b, Y));
}

static void batch_norm_backward(Bench *b)
{
    const BatchNormKernels *kernels = &b->backend->batch_norm;
    const ChannelShape s = channel_shape(b);
    const ChannelAffine affine = {at(b, WEIGHT), at(b, BIAS), false};
    kernels->gradient_sums(&b->exec, &s, channel_rows(b, DY), channel_rows(b, X), at(b, STATISTICS), &affine,
                           at(b, SUMS));
    memcpy(at(b, DBIAS), at(b, SUMS), (size_t)s.channels * sizeof(float));
    memcpy(at(b, DWEIGHT), at(b, SUMS) + s.channels, (size_t)s.channels * sizeof(float));
    kernels->gradient(&b->exec, &s, channel_rows(b, DY), channel_rows(b, X), at(b, STATISTICS), &affine, at(b, SUMS),
                      false, channel_rows(b, DX));
}

/* ---- GELU */

static void gelu_forward(Bench *b)
{
    b->backend->elementwise.unary(&b->exec, UNARY_GELU, b->rows, b->cols, rows_of(b, X), rows_of(b, Y));
}

static void gelu_backward(Bench *b)
{
    b->backend->elementwise.unary_gradient(&b->exec, UNARY_GELU, b->rows, b->cols, rows_of(b, DY), rows_of(b, X), false,
                                           rows_of(b, DX));
}

/* ---- Softmax with cross-entropy: x are the logits, y the losses, which all count one */

static void declare_cross_entropy(Bench *b)
{
    declare(b, X, SHAPE(b->rows, b->cols));
    declare(b, DX, SHAPE(b->rows, b->cols));
    declare(b, TARGETS, SHAPE(b->rows, b->cols));
    declare(b, PROBABILITIES, SHAPE(b->rows, b->cols));
    declare(b, Y, SHAPE(b->rows));
    declare(b, DY, SHAPE(b->rows));
}

static void cross_entropy_forward(Bench *b)
{
    b->backend->loss.soft_cross_entropy(&b->exec, b->rows, b->cols, rows_of(b, X), at(b, TARGETS), at(b, PROBABILITIES),
                                        at(b, Y));
}

static void cross_entropy_backward(Bench *b)
{
    b->backend->loss.soft_cross_entropy_gradient(&b->exec, b->rows, b->cols, at(b, DY), at(b, PROBABILITIES),
                                                 at(b, TARGETS), false, rows_of(b, DX));
}

/* ---- AdamW: one step of rows * cols parameters, the first */

static void declare_adamw(Bench *b)
{
    for (Role role = PARAMETER; role <= V; role++)
        declare(b, role, SHAPE(b->rows * b->cols));
}

static void adamw(Bench *b)
{
    const float beta1 = 0.9f, beta2 = 0.999f;
    const StepScalars scalars = {.lr = 1e-3f, .bias_correction1 = 1 - beta1, .bias_correction2 = 1 - beta2};
    b->backend->optimizer.adamw(&b->exec, b->rows * b->cols, &scalars, &(float){1}, beta1, beta2, 1e-8f, 0.05f, false,
                                at(b, PARAMETER), at(b, GRADIENT), at(b, M), at(b, V));
}

/* ---- Bicubic resize of `rows` images of `channels` */

static void declare_bicubic(Bench *b)
{
    Shape in = SHAPE(b->rows, b->channels, b->side, b->side),
          out = SHAPE(b->rows, b->channels, b->out_side, b->out_side);
    declare(b, X, in);
    declare(b, DX, in);
    declare(b, Y, out);
    declare(b, DY, out);
}

static void bicubic_forward(Bench *b)
{
    b->backend->resize.bicubic(&b->exec, b->rows * b->channels, b->side, b->side, b->out_side, b->out_side, at(b, X),
                               at(b, Y));
}

static void bicubic_backward(Bench *b)
{
    b->backend->resize.bicubic_gradient(&b->exec, b->rows * b->channels, b->side, b->side, b->out_side, b->out_side,
                                        at(b, DY), false, at(b, DX));
}

/* ---- A stem's convolution. An image wants no gradient, the maps behind it do. */

static ConvolutionShape convolution_shape(const Bench *b)
{
    return (ConvolutionShape){.batch = b->rows,
                              .in_channels = b->channels,
                              .in_height = b->side,
                              .in_width = b->side,
                              .out_channels = b->out_channels,
                              .out_height = b->out_side,
                              .out_width = b->out_side,
                              .kernel_height = b->kernel,
                              .kernel_width = b->kernel,
                              .stride_height = b->stride,
                              .stride_width = b->stride,
                              .pad_top = b->pad,
                              .pad_left = b->pad,
                              .pad_bottom = b->pad,
                              .pad_right = b->pad,
                              .dilation_height = 1,
                              .dilation_width = 1,
                              .groups = 1,
                              .out_channels_last = true}; /* tokens are read from it */
}

static void declare_convolution(Bench *b)
{
    b->out_side = (b->side + 2 * b->pad - b->kernel) / b->stride + 1;
    Shape out = SHAPE(b->rows, b->out_side, b->out_side, b->out_channels),
          weight = SHAPE(b->out_channels, b->channels, b->kernel, b->kernel);
    Shape in = SHAPE(b->rows, b->channels, b->side, b->side);
    declare(b, X, in);
    if (b->channels > 3)
        declare(b, DX, in);
    declare(b, Y, out);
    declare(b, DY, out);
    declare(b, WEIGHT, weight);
    declare(b, DWEIGHT, weight);
    declare(b, BIAS, SHAPE(b->out_channels));
    declare(b, DBIAS, SHAPE(b->out_channels));
    b->flop = 2.0 * (double)shape_count(out) * (double)(b->channels * b->kernel * b->kernel);
}

static Weight convolution_weight(Bench *b)
{
    return (Weight){
        .data = at(b, WEIGHT), .stride = b->channels * b->kernel * b->kernel, .version = 1, .packed = &b->packed};
}

static void convolution_forward(Bench *b)
{
    const ConvolutionShape shape = convolution_shape(b);
    const Weight weight = convolution_weight(b);
    b->backend->convolution.convolution(&b->exec, &shape, at(b, X), &weight, at(b, BIAS), false, at(b, Y));
}

static void convolution_backward(Bench *b)
{
    const ConvolutionKernels *kernels = &b->backend->convolution;
    const ConvolutionShape shape = convolution_shape(b);
    const Weight weight = convolution_weight(b);
    kernels->convolution_weight_gradient(&b->exec, &shape, at(b, DY), at(b, X), false, at(b, DWEIGHT), at(b, DBIAS));
    if (at(b, DX))
        kernels->convolution_input_gradient(&b->exec, &shape, at(b, DY), &weight, false, at(b, DX));
}

static const Op ops[] = {
    {"layer_norm",
     declare_layer_norm,
     {layer_norm_forward, SET(X) | SET(WEIGHT) | SET(BIAS), SET(Y) | SET(MEAN) | SET(RSTD)},
     {layer_norm_backward, SET(DY) | SET(X) | SET(WEIGHT) | SET(MEAN) | SET(RSTD),
      SET(DX) | SET(DWEIGHT) | SET(DBIAS)}},
    {"batch_norm",
     declare_batch_norm,
     {batch_norm_forward, SET(X) | SET(WEIGHT) | SET(BIAS), SET(Y) | SET(STATISTICS)},
     {batch_norm_backward, SET(DY) | SET(X) | SET(WEIGHT) | SET(STATISTICS), SET(DX) | SET(DWEIGHT) | SET(DBIAS)}},
    {"gelu", declare_rows, {gelu_forward, SET(X), SET(Y)}, {gelu_backward, SET(DY) | SET(X), SET(DX)}},
    {"cross_entropy",
     declare_cross_entropy,
     {cross_entropy_forward, SET(X) | SET(TARGETS), SET(Y) | SET(PROBABILITIES)},
     {cross_entropy_backward, SET(DY) | SET(TARGETS) | SET(PROBABILITIES), SET(DX)}},
    {"adamw",
     declare_adamw,
     {adamw, SET(PARAMETER) | SET(GRADIENT) | SET(M) | SET(V), SET(PARAMETER) | SET(M) | SET(V)},
     {0}},
    {"bicubic", declare_bicubic, {bicubic_forward, SET(X), SET(Y)}, {bicubic_backward, SET(DY), SET(DX)}},
    {"convolution",
     declare_convolution,
     {convolution_forward, SET(X) | SET(WEIGHT) | SET(BIAS), SET(Y)},
     {convolution_backward, SET(DY) | SET(X) | SET(WEIGHT), SET(DX) | SET(DWEIGHT) | SET(DBIAS)}},
};

static const Op *op_named(const char *name)
{
    for (int i = 0; i < COUNT_OF(ops); i++)
        if (strcmp(name, ops[i].name) == 0)
            return &ops[i];
    return NULL;
}

/* ---- One case */

static void operation(void *own)
{
    Bench *b = own;
    b->op->forward.run(b);
    if (b->backward)
        b->op->backward.run(b);
}

static double bytes_of(const Bench *b, uint32_t set)
{
    double bytes = 0;
    for (int role = 0; role < ROLES; role++)
        if (b->array[role].data && set & SET(role))
            bytes += (double)shape_count(b->array[role].shape) * sizeof(float);
    return bytes;
}

static double traffic(const Bench *b, const Way *way)
{
    return bytes_of(b, way->reads) + bytes_of(b, way->writes);
}

static bool write_set(const Bench *b, uint32_t set, const char *path, Error *e)
{
    TensorToWrite list[ROLES];
    int count = 0;
    for (int role = 0; role < ROLES; role++) {
        const Array *a = &b->array[role];
        if (!a->data || !(set & SET(role)))
            continue;
        list[count] = (TensorToWrite){.name = role_names[role], .type = F32, .rank = a->shape.rank, .data = a->data};
        memcpy(list[count++].shape, a->shape.dim, sizeof a->shape.dim);
    }
    return safetensors_write(path, list, count, NULL, 0, e);
}

static bool check(void *own, const char *path, Error *e)
{
    Bench *b = own;
    operation(b);
    uint32_t computed = b->op->forward.writes | (b->backward ? b->op->backward.writes : 0);
    return write_set(b, computed & RESULTS, path, e);
}

static void close_bench(void *own)
{
    Bench *b = own;
    for (int role = 0; role < ROLES; role++)
        mem_free(b->array[role].data);
    b->backend->matmul.packed_free(&b->packed);
    mem_free(b->exec.scratch);
    mem_free(b);
}

/* Inputs get numbers; all else, AdamW's moments too, begins as zeros. */
static void make_arrays(Bench *b)
{
    b->op->declare(b);
    for (int role = 0; role < ROLES; role++) {
        Array *a = &b->array[role];
        if (a->shape.rank == 0)
            continue;
        a->data = mem_new((size_t)shape_count(a->shape) * sizeof(float));
        if (INPUTS & SET(role))
            side_fill(role_names[role], shape_count(a->shape), 1, F32, a->data);
    }
}

static bool prepare(Case *c, Words *words, const char *inputs, Error *e)
{
    enum { SCRATCH = 64 << 20 };
    const Backend *backend = cpu_backend(e);
    if (!backend)
        return false;
    const Op *op = op_named(words_text(words, "op", ""));
    Bench b = {.op = op,
               .backend = backend,
               .backward = words_flag(words, "backward"),
               .rows = words_int(words, "rows", 1),
               .cols = words_int(words, "cols", 1),
               .side = words_int(words, "side", 1),
               .out_side = words_int(words, "out_side", 1),
               .channels = words_int(words, "channels", 1),
               .out_channels = words_int(words, "out_channels", 1),
               .kernel = words_int(words, "kernel", 1),
               .stride = words_int(words, "stride", 1),
               .pad = words_int(words, "pad", 0)};
    int threads = (int)words_int(words, "threads", 2);
    const int64_t sizes[] = {b.rows,         b.cols,   b.side,   b.out_side, b.channels,
                             b.out_channels, b.kernel, b.stride, threads};
    for (int i = 0; i < COUNT_OF(sizes); i++)
        if (sizes[i] < 1)
            op = NULL;
    if (!op || b.pad < 0 || b.kernel > b.side + 2 * b.pad || (b.backward && !op->backward.run))
        return error_set(e, "expected a known op that goes that way, and sizes above 0");
    Bench *own = mem_copy(&b, sizeof b);
    own->exec = (Exec){.threads = threads, .scratch = mem_new(SCRATCH), .scratch_bytes = SCRATCH};
    make_arrays(own);
    *c = (Case){.own = own,
                .flop = own->flop * (b.backward ? own->array[DX].data ? 3 : 2 : 1),
                .bytes = traffic(own, &op->forward) + (b.backward ? traffic(own, &op->backward) : 0),
                .items = b.rows,
                .threads = threads,
                .operation = operation,
                .check = check,
                .close = close_bench};
    bool good = write_set(own, INPUTS, inputs, e);
    if (!good)
        close_bench(own);
    return good;
}

int main(void)
{
    return side_main(prepare);
}
