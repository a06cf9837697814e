/* Random numbers: 2 LANES blocks of Philox (common/kernels/philox.h) at a time. The numbers are the same at every level;
 * the scalar philox_block is their definition. */
#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/rows.h"

typedef uint32_t VecWord __attribute__((vector_size(LANES * 4)));
typedef uint64_t VecLong __attribute__((vector_size(LANES * 4)));

enum { GROUP = 8 * LANES }; /* words made at a time */

/* The 64-bit products of `factor` and each lane, as upper and lower words: even and odd lanes are multiplied apart. */
static inline void multiply_wide(VecWord a, uint32_t factor, VecWord *high, VecWord *low)
{
    const VecLong lower = (VecLong){0} + 0xffffffffu, f = (VecLong){0} + factor;
    VecLong even = (VecLong)VEC_OP(mul_epu32)((VecBits)a, (VecBits)f);
    VecLong odd = (VecLong)VEC_OP(mul_epu32)((VecBits)((VecLong)a >> 32), (VecBits)f);
    *low = (VecWord)((even & lower) | (odd << 32));
    *high = (VecWord)((even >> 32) | (odd & ~lower));
}

/* The counters of a group of LANES blocks, one word of each block a vector. */
typedef struct Counters {
    VecWord c[4];
} Counters;

/* Lane 4k + j holds block j LANES/4 + k, so that transposing 4 x 4 words inside each quarter puts them in order. */
static inline Counters counters_from(PhiloxDraw d, uint64_t block)
{
    VecWord ahead;
    for (int lane = 0; lane < LANES; lane++)
        ahead[lane] = (uint32_t)(lane % 4 * (LANES / 4) + lane / 4);
    Counters c;
    c.c[0] = ahead + (uint32_t)block;
    c.c[1] = (uint32_t)(block >> 32) - (VecWord)(c.c[0] < ahead); /* a comparison that holds is -1: the carry */
    c.c[2] = (VecWord){0} + d.site;
    c.c[3] = (VecWord){0} + d.step;
    return c;
}

static inline void philox_round(Counters *c, uint32_t key0, uint32_t key1)
{
    VecWord high0, low0, high2, low2;
    multiply_wide(c->c[0], 0xD2511F53u, &high0, &low0);
    multiply_wide(c->c[2], 0xCD9E8D57u, &high2, &low2);
    *c = (Counters){{high2 ^ c->c[1] ^ key0, low2, high0 ^ c->c[3] ^ key1, low0}};
}

static inline void store_words(const Counters *c, uint32_t *words)
{
    VecBits a = VEC_OP(unpacklo_epi32)((VecBits)c->c[0], (VecBits)c->c[1]);
    VecBits b = VEC_OP(unpacklo_epi32)((VecBits)c->c[2], (VecBits)c->c[3]);
    VecBits e = VEC_OP(unpackhi_epi32)((VecBits)c->c[0], (VecBits)c->c[1]);
    VecBits f = VEC_OP(unpackhi_epi32)((VecBits)c->c[2], (VecBits)c->c[3]);
    VecBits rows[4] = {VEC_OP(unpacklo_epi64)(a, b), VEC_OP(unpackhi_epi64)(a, b), VEC_OP(unpacklo_epi64)(e, f),
                       VEC_OP(unpackhi_epi64)(e, f)};
    memcpy(words, rows, sizeof rows);
}

/* The GROUP words of the blocks from `block` on: two halves side by side, because each waits for its products. */
static inline void philox_group(PhiloxDraw d, uint64_t block, uint32_t *words)
{
    Counters a = counters_from(d, block), b = counters_from(d, block + LANES);
    uint32_t key0 = d.seed, key1 = d.stream;
    for (int round = 0; round < 10; round++) {
        philox_round(&a, key0, key1);
        philox_round(&b, key0, key1);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    store_words(&a, words);
    store_words(&b, words + 4 * LANES);
}

/* Room for the words number .. number + n - 1, n <= BLOCK, of a draw and those that fill the last vector. They may begin
 * inside a block of four. */
typedef struct Words {
    uint32_t word[BLOCK + 2 * GROUP];
} Words;

static const uint32_t *words_from(Words *w, PhiloxDraw d, uint64_t number, int64_t n)
{
    int64_t offset = (int64_t)(number % 4), end = offset + (n + LANES - 1) / LANES * LANES;
    for (int64_t i = 0; i < end; i += GROUP)
        philox_group(d, (number + (uint64_t)i) / 4, w->word + i);
    return w->word + offset;
}

/* 24 bits of each word as a float in [0, 1). */
static inline Vec uniforms(const uint32_t *words)
{
    VecWord w;
    memcpy(&w, words, sizeof w);
    return __builtin_convertvector((VecInt)(w >> 8), Vec) * 0x1p-24f;
}

typedef struct Draw {
    PhiloxDraw draw;
    int64_t first;
    float rate;
    bool add;
    Rows x, y;
} Draw;

static void dropout_piece(const void *job, int64_t first, int64_t last)
{
    const Draw *d = job;
    float x_values[BLOCK], y_values[BLOCK], factor = 1.0f / (1.0f - d->rate);
    Words buffer;
    for (int64_t at = first; at < last; at += BLOCK) {
        int64_t n = least(BLOCK, last - at);
        const uint32_t *words = words_from(&buffer, d->draw, (uint64_t)(d->first + at), n);
        const float *x = rows_read(d->x, 0, at, n, x_values);
        float *y = rows_open(d->y, 0, at, n, d->add, y_values);
        for (int64_t i = 0; i < n; i += LANES) {
            Vec v = vec_load_upto(x + i, n - i, 0) * factor;
            v = vec_select(uniforms(words + i) >= d->rate, v, vec_set(0));
            if (d->add)
                v += vec_load_upto(y + i, n - i, 0);
            vec_store_upto(y + i, v, n - i);
        }
        rows_close(d->y, 0, at, n, y);
    }
}

static void uniform_piece(const void *job, int64_t first, int64_t last)
{
    const Draw *d = job;
    Words buffer;
    for (int64_t at = first; at < last; at += BLOCK) {
        int64_t n = least(BLOCK, last - at);
        const uint32_t *words = words_from(&buffer, d->draw, (uint64_t)(d->first + at), n);
        float *y = (float *)d->y.data + at;
        for (int64_t i = 0; i < n; i += LANES)
            vec_store_upto(y + i, uniforms(words + i), n - i);
    }
}

static void normal_piece(const void *job, int64_t first, int64_t last)
{
    const Draw *d = job;
    Words buffer;
    for (int64_t at = first; at < last; at += BLOCK / 2) {
        int64_t n = least(BLOCK / 2, last - at);
        const uint32_t *words = words_from(&buffer, d->draw, 2 * (uint64_t)(d->first + at), 2 * n);
        float *y = (float *)d->y.data + at;
        for (int64_t i = 0; i < n; i++)
            y[i] = philox_normal(words[2 * i], words[2 * i + 1]);
    }
}

static void dropout(const Exec *exec, PhiloxDraw draw, int64_t first, int64_t count, float rate, Rows x, bool add,
                    Rows y)
{
    rows_check(x, "dropout");
    rows_check(y, "dropout");
    Draw d = {.draw = draw, .first = first, .rate = rate, .add = add, .x = x, .y = y};
    parallel_pieces(exec, count, PIECE, count * 16, dropout_piece, &d);
}

static void uniform(const Exec *exec, PhiloxDraw draw, int64_t first, int64_t count, float *y)
{
    Draw d = {.draw = draw, .first = first, .y = {.data = y}};
    parallel_pieces(exec, count, PIECE, count * 8, uniform_piece, &d);
}

static void normal(const Exec *exec, PhiloxDraw draw, int64_t first, int64_t count, float *y)
{
    Draw d = {.draw = draw, .first = first, .y = {.data = y}};
    parallel_pieces(exec, count, BLOCK, count * 200, normal_piece, &d); /* two calls of libm cost more than memory */
}

const NoiseKernels LEVEL(noise_kernels) = {.dropout = dropout, .uniform = uniform, .normal = normal};
