/* Variant B as its AutoregressiveWrapper uses it: padding to whole windows, the loss, and text token by token. */
#include "common/base/memory.h"
#include "common/nn/sampling.h"
#include "models/routing/lucidrains.h"

#include <math.h>
#include <string.h>

/* ---- Padding */

/* Marks of so many tokens, all of them real. */
static Tensor *all_real(Tape *t, int64_t rows, int64_t n)
{
    uint8_t *ones = mem_new((size_t)(rows * n));
    memset(ones, 1, (size_t)(rows * n));
    Tensor *mask = tensor_from(t, U8, SHAPE(rows, n), ones);
    mem_free(ones);
    return mask;
}

Tensor *lucidrains_padded(Tape *t, const Lucidrains *m, const LucidrainsInput *in, Tensor **aux)
{
    int64_t rows = in->tokens->shape.dim[0], n = in->tokens->shape.dim[1], multiple = lucidrains_multiple(m);
    int64_t length = (n + multiple - 1) / multiple * multiple;
    if (length == n)
        return lucidrains_forward(t, m, in, aux);
    Scope s = scope_open(t);
    LucidrainsInput wide = *in;
    wide.tokens = pad(t, in->tokens, 1, 0, length - n);
    wide.mask = pad(t, in->mask ? in->mask : all_real(t, rows, n), 1, 0, length - n);
    Tensor *y = lucidrains_forward(t, m, &wide, aux);
    Tensor *both[] = {contiguous(t, narrow(t, y, 1, 0, n)), *aux};
    scope_close_n(t, s, both, 2);
    *aux = both[1];
    return both[0];
}

/* ---- Loss */

static int64_t count_labels(Tape *t, const Tensor *labels, int64_t ignore)
{
    int64_t n = tensor_count(labels), count = 0, *values = mem_new((size_t)n * sizeof *values);
    tensor_read(t, labels, values);
    for (int64_t i = 0; i < n; i++)
        count += values[i] != ignore;
    mem_free(values);
    return count;
}

LucidrainsLoss lucidrains_loss(Tape *t, const Lucidrains *m, const LucidrainsInput *in, int64_t ignore)
{
    Scope s = scope_open(t);
    int64_t rows = in->tokens->shape.dim[0], n = in->tokens->shape.dim[1] - 1;
    LucidrainsInput shorter = *in;
    shorter.tokens = contiguous(t, narrow(t, in->tokens, 1, 0, n));
    shorter.mask = in->mask ? contiguous(t, narrow(t, in->mask, 1, 0, n)) : NULL;
    Tensor *labels = reshape(t, contiguous(t, narrow(t, in->tokens, 1, 1, n)), SHAPE(rows * n)), *aux;
    Tensor *logits = lucidrains_padded(t, m, &shorter, &aux); /* [B,N-1,V] */
    Tensor *flat = reshape(t, logits, SHAPE(rows * n, tensor_dim(logits, 2)));
    Tensor *nats = sum_all(t, cross_entropy(t, flat, labels, ignore));
    Tensor *mean = scale(t, nats, 1.0f / (float)count_labels(t, labels, ignore));
    Tensor *all[] = {add(t, mean, aux), aux, logits};
    scope_close_n(t, s, all, 3);
    return (LucidrainsLoss){.total = all[0], .aux = all[1], .logits = all[2]};
}

/* ---- Generation */

int64_t lucidrains_top_k(double threshold, int64_t vocabulary)
{
    return (int64_t)((1.0 - threshold) * (double)vocabulary);
}

void lucidrains_filter(const LucidrainsGeneration *how, float *logits, int64_t n)
{
    if (how->filter == FILTER_TOP_P)
        sampling_top_p(logits, n, 1.0 - how->threshold);
    else
        sampling_top_k(logits, n, lucidrains_top_k(how->threshold, n));
}

/* A prompt [rows,prompt] and what was said after it, and which tokens of the prompt are real (NULL: all). */
typedef struct Text {
    int64_t rows, prompt, length, room;
    int64_t *tokens; /* [rows,room] */
    uint8_t *real;   /* [rows,prompt] */
} Text;

static Text text_new(Tape *t, const LucidrainsInput *in, int steps)
{
    int64_t rows = in->tokens->shape.dim[0], n = in->tokens->shape.dim[1];
    Text x = {.rows = rows, .prompt = n, .length = n, .room = n + steps};
    x.tokens = mem_new((size_t)(rows * x.room) * sizeof *x.tokens);
    tensor_read(t, pad(t, in->tokens, 1, 0, steps), x.tokens);
    if (in->mask) {
        x.real = mem_new((size_t)(rows * n));
        tensor_read(t, in->mask, x.real);
    }
    return x;
}

static Tensor *last_tokens(Tape *t, const Text *x, int64_t n)
{
    int64_t *tokens = mem_new((size_t)(x->rows * n) * sizeof *tokens);
    for (int64_t b = 0; b < x->rows; b++)
        memcpy(tokens + b * n, x->tokens + b * x->room + x->length - n, (size_t)n * sizeof *tokens);
    Tensor *y = tensor_from(t, I64, SHAPE(x->rows, n), tokens);
    mem_free(tokens);
    return y;
}

/* The authors lengthen the mask on its left side: it keeps its distance from the end of the text, not its tokens. */
static Tensor *last_marks(Tape *t, const Text *x, int64_t n)
{
    if (!x->real)
        return NULL;
    uint8_t *marks = mem_new((size_t)(x->rows * n));
    memset(marks, 1, (size_t)(x->rows * n));
    int64_t kept = MIN(n, x->prompt);
    for (int64_t b = 0; b < x->rows; b++)
        memcpy(marks + (b + 1) * n - kept, x->real + (b + 1) * x->prompt - kept, (size_t)kept);
    Tensor *y = tensor_from(t, U8, SHAPE(x->rows, n), marks);
    mem_free(marks);
    return y;
}

/* The logits [rows,V] of the token that follows. */
static void next_logits(Tape *t, const Lucidrains *m, const LucidrainsInput *in, const Text *x, float *logits)
{
    Scope s = scope_open(t);
    LucidrainsInput window = *in;
    int64_t n = MIN(x->length, lucidrains_longest(m));
    Tensor *aux;
    window.tokens = last_tokens(t, x, n);
    window.mask = last_marks(t, x, n);
    Tensor *y = lucidrains_padded(t, m, &window, &aux);
    tensor_read(t, contiguous(t, narrow(t, y, 1, n - 1, 1)), logits);
    scope_close_n(t, s, NULL, 0);
}

int lucidrains_generate(Tape *t, const Lucidrains *m, const LucidrainsInput *in, const LucidrainsGeneration *how,
                        int64_t *tokens, float *logits)
{
    Region before = region_open(t, EVAL, NO_GRAD);
    Text x = text_new(t, in, how->steps);
    int64_t vocabulary = lucidrains_vocabulary(m), rows = x.rows;
    float *row_logits = mem_new((size_t)(rows * vocabulary) * sizeof *row_logits);
    int step = 0;
    for (bool ended = false; step < how->steps && !ended; step++) {
        next_logits(t, m, in, &x, row_logits);
        if (logits)
            memcpy(logits + step * rows * vocabulary, row_logits, (size_t)(rows * vocabulary) * sizeof *logits);
        ended = how->has_eos;
        for (int64_t b = 0; b < rows; b++) {
            float *row = row_logits + b * vocabulary;
            lucidrains_filter(how, row, vocabulary);
            double temperature = how->uniform ? how->temperature : 0;
            int64_t token =
                sampling_draw(row, vocabulary, temperature, how->uniform ? how->uniform[step * rows + b] : 0);
            tokens[b * how->steps + step] = x.tokens[b * x.room + x.length] = token;
            ended = ended && token == how->eos;
        }
        x.length++;
    }
    mem_free(row_logits);
    mem_free(x.tokens);
    mem_free(x.real);
    region_close(t, before);
    return step;
}
