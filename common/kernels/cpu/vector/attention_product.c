/* The one matrix product of attention, small enough for the first-level cache: a block of 4 rows by 4 vectors (or 8 by 1)
 * of results stays in registers while the depth runs. Its terms are products of floats, or of pairs of bf16. */
#include "common/kernels/cpu/vector/attention_tile.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

enum {
    COLUMNS = LANES == 16 ? 4 : 2, /* vectors; AVX2 and SSE have 16 registers, AVX-512 has 32 */
    NARROW_ROWS = 8
};

/* How many rows a block has: with one vector, 4 sums would wait for each other. */
#define ROWS(columns) (LANES == 16 && (columns) == 1 ? 8 : 4)

typedef float VecNarrow __attribute__((vector_size(NARROW * 4)));

/* The operands of one call, steps in words (a word: a float or a pair of bf16). */
typedef struct Product {
    int64_t rows, depth;
    const float *a;
    int64_t a_row, a_depth;
    int64_t b_row, c_row;
    bool add;
} Product;

/* vec_add_term of narrow vectors, with the word a in every lane. */
INLINE VecNarrow add_term_narrow(const bool pairs, VecNarrow sum, float a, VecNarrow x)
{
#if HALF_PRODUCTS
    if (pairs)
        return (VecNarrow)_mm256_dpbf16_ps((__m256)sum, (__m256bh)_mm256_set1_ps(a), (__m256bh)x);
#endif
    (void)pairs;
#if defined(__FMA__)
    return (VecNarrow)_mm256_fmadd_ps(_mm256_set1_ps(a), (__m256)x, (__m256)sum);
#else
    return sum + a * x;
#endif
}

/* rows x columns vectors of the result. These and `pairs` are constants where this is called, so that `sums` becomes
 * registers. */
INLINE void block(const bool pairs, const int rows, const int columns, const Product *p, const float *a, const float *b,
                  float *c)
{
    Vec sums[ROWS(1)][COLUMNS];
    const int64_t depth = p->depth, a_row = p->a_row, a_depth = p->a_depth, b_row = p->b_row, c_row = p->c_row;
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int n = 0; n < columns; n++)
            sums[r][n] = p->add ? vec_load(c + r * c_row + n * LANES) : vec_set(0);
    }
    for (int64_t k = 0; k < depth; k++, a += a_depth, b += b_row) {
        UNROLL
        for (int n = 0; n < columns; n++) {
            Vec x = vec_load(b + n * LANES);
            UNROLL
            for (int r = 0; r < rows; r++)
                sums[r][n] = vec_add_term(pairs, sums[r][n], vec_set(a[r * a_row]), x);
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int n = 0; n < columns; n++)
            vec_store(c + r * c_row + n * LANES, sums[r][n]);
    }
}

/* The same for one narrow vector. */
INLINE void block_narrow(const bool pairs, const int rows, const Product *p, const float *a, const float *b, float *c)
{
    VecNarrow sums[NARROW_ROWS], x;
    const int64_t depth = p->depth, a_row = p->a_row, a_depth = p->a_depth, b_row = p->b_row, c_row = p->c_row;
    UNROLL
    for (int r = 0; r < rows; r++) {
        sums[r] = (VecNarrow){0};
        if (p->add)
            memcpy(&sums[r], c + r * c_row, sizeof x);
    }
    for (int64_t k = 0; k < depth; k++, a += a_depth, b += b_row) {
        memcpy(&x, b, sizeof x);
        UNROLL
        for (int r = 0; r < rows; r++)
            sums[r] = add_term_narrow(pairs, sums[r], a[r * a_row], x);
    }
    UNROLL
    for (int r = 0; r < rows; r++)
        memcpy(c + r * c_row, &sums[r], sizeof x);
}

/* All rows of a stripe of the result that is `columns` vectors wide. */
INLINE void stripe(const bool pairs, const int columns, const Product *p, const float *b, float *c)
{
    const int rows = ROWS(columns);
    int64_t left = p->rows;
    const float *a = p->a;
    for (; left >= rows; left -= rows, a += rows * p->a_row, c += rows * p->c_row)
        block(pairs, rows, columns, p, a, b, c);
    if (rows > 4 && left >= 4) {
        block(pairs, 4, columns, p, a, b, c);
        left -= 4;
        a += 4 * p->a_row;
        c += 4 * p->c_row;
    }
    if (left == 3)
        block(pairs, 3, columns, p, a, b, c);
    else if (left == 2)
        block(pairs, 2, columns, p, a, b, c);
    else if (left == 1)
        block(pairs, 1, columns, p, a, b, c);
}

INLINE void stripe_narrow(const bool pairs, const Product *p, const float *b, float *c)
{
    int64_t r = 0;
    const float *a = p->a;
    for (; r + NARROW_ROWS <= p->rows; r += NARROW_ROWS, a += NARROW_ROWS * p->a_row, c += NARROW_ROWS * p->c_row)
        block_narrow(pairs, NARROW_ROWS, p, a, b, c);
    for (; r + 2 <= p->rows; r += 2, a += 2 * p->a_row, c += 2 * p->c_row)
        block_narrow(pairs, 2, p, a, b, c);
    if (r < p->rows)
        block_narrow(pairs, 1, p, a, b, c);
}

typedef void Stripe(const Product *, const float *b, float *c);

/* A function each: in one, the compiler would spill the registers of a stripe into the next. */
#define STRIPE(name, ...)                                                                                              \
    static void name(const Product *p, const float *b, float *c)                                                       \
    {                                                                                                                  \
        __VA_ARGS__;                                                                                                   \
    }

STRIPE(floats_narrow, stripe_narrow(false, p, b, c))
STRIPE(floats_1, stripe(false, 1, p, b, c))
STRIPE(floats_2, stripe(false, 2, p, b, c))
#if defined(__AVX512F__)
STRIPE(floats_3, stripe(false, 3, p, b, c))
STRIPE(floats_4, stripe(false, 4, p, b, c))
#endif
#if HALF_PRODUCTS
STRIPE(pairs_narrow, stripe_narrow(true, p, b, c))
STRIPE(pairs_1, stripe(true, 1, p, b, c))
STRIPE(pairs_2, stripe(true, 2, p, b, c))
STRIPE(pairs_3, stripe(true, 3, p, b, c))
STRIPE(pairs_4, stripe(true, 4, p, b, c))
#endif

/* By whether words are pairs, and by whole vectors; 0 is the narrow one. */
static Stripe *const stripes[][COLUMNS + 1] = {
#if defined(__AVX512F__)
    {floats_narrow, floats_1, floats_2, floats_3, floats_4},
#else
    {floats_narrow, floats_1, floats_2},
#endif
#if HALF_PRODUCTS
    {pairs_narrow, pairs_1, pairs_2, pairs_3, pairs_4},
#endif
};

void LEVEL(tile_product)(bool pairs, int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row,
                         int64_t a_depth, const float *b, int64_t b_row, float *c, int64_t c_row, bool add)
{
    const Product p = {rows, depth, a, a_row, a_depth, b_row, c_row, add};
    for (int64_t n = 0, vectors; n < columns; n += vectors * LANES) {
        vectors = smaller(COLUMNS, (columns - n) / LANES);
        stripes[pairs][vectors](&p, b + n, c + n);
        if (vectors == 0)
            return; /* the narrow one is the last */
    }
}
