/* The one matrix product of attention, small enough for the first-level cache: a block of 4 rows by up to 4 vectors of
 * results stays in registers while the depth runs. */
#include "common/kernels/cpu/vector/attention_tile.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

enum {
    ROWS = 4,
    COLUMNS = LANES == 16 ? 4 : 2, /* vectors; AVX2 and SSE have 16 registers, AVX-512 has 32 */
    NARROW_ROWS = 8
};

typedef float VecNarrow __attribute__((vector_size(NARROW * 4)));

/* The operands of one call, steps in floats. */
typedef struct Product {
    int64_t rows, depth;
    const float *a;
    int64_t a_row, a_depth;
    int64_t b_row, c_row;
    bool add;
} Product;

/* rows x columns vectors of the result. Both are constants where this is called, so that `sums` becomes registers. */
INLINE void block(const int rows, const int columns, const Product *p, const float *a, const float *b, float *c)
{
    Vec sums[ROWS][COLUMNS];
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
                sums[r][n] += a[r * a_row] * x;
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
INLINE void block_narrow(const int rows, const Product *p, const float *a, const float *b, float *c)
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
            sums[r] += a[r * a_row] * x;
    }
    UNROLL
    for (int r = 0; r < rows; r++)
        memcpy(c + r * c_row, &sums[r], sizeof x);
}

/* All rows of a stripe of the result that is `columns` vectors wide. */
INLINE void stripe(const int columns, const Product *p, const float *b, float *c)
{
    int64_t r = 0;
    const float *a = p->a;
    for (; r + ROWS <= p->rows; r += ROWS, a += ROWS * p->a_row, c += ROWS * p->c_row)
        block(ROWS, columns, p, a, b, c);
    if (p->rows - r == 3)
        block(3, columns, p, a, b, c);
    else if (p->rows - r == 2)
        block(2, columns, p, a, b, c);
    else if (p->rows - r == 1)
        block(1, columns, p, a, b, c);
}

static void stripe_narrow(const Product *p, const float *b, float *c)
{
    int64_t r = 0;
    const float *a = p->a;
    for (; r + NARROW_ROWS <= p->rows; r += NARROW_ROWS, a += NARROW_ROWS * p->a_row, c += NARROW_ROWS * p->c_row)
        block_narrow(NARROW_ROWS, p, a, b, c);
    for (; r + 2 <= p->rows; r += 2, a += 2 * p->a_row, c += 2 * p->c_row)
        block_narrow(2, p, a, b, c);
    if (r < p->rows)
        block_narrow(1, p, a, b, c);
}

static void stripe_1(const Product *p, const float *b, float *c)
{
    stripe(1, p, b, c);
}

static void stripe_2(const Product *p, const float *b, float *c)
{
    stripe(2, p, b, c);
}

#if defined(__AVX512F__)
static void stripe_3(const Product *p, const float *b, float *c)
{
    stripe(3, p, b, c);
}

static void stripe_4(const Product *p, const float *b, float *c)
{
    stripe(4, p, b, c);
}
#endif

void LEVEL(tile_product)(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row, int64_t a_depth,
                         const float *b, int64_t b_row, float *c, int64_t c_row, bool add)
{
    const Product p = {rows, depth, a, a_row, a_depth, b_row, c_row, add};
    int64_t n = 0, vectors = columns / LANES;
#if defined(__AVX512F__)
    for (; n + 4 <= vectors; n += 4)
        stripe_4(&p, b + n * LANES, c + n * LANES);
    if (vectors - n == 3) {
        stripe_3(&p, b + n * LANES, c + n * LANES);
        n += 3;
    }
#endif
    for (; n + 2 <= vectors; n += 2)
        stripe_2(&p, b + n * LANES, c + n * LANES);
    if (n < vectors)
        stripe_1(&p, b + n * LANES, c + n * LANES);
    if (vectors * LANES < columns)
        stripe_narrow(&p, b + vectors * LANES, c + vectors * LANES);
}
