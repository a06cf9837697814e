/* The largest of a row, and the largest rows of each column. No value is moved or sorted: a column's w-th largest value is
 * found by bisection, counting at each step what is not below it, and one last pass writes the rows in their order. */
#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/rows.h"

#include <math.h>
#include <omp.h>

/* ---- The largest of a row */

typedef struct Largest {
    int64_t cols;
    Rows x;
    int32_t *index;
} Largest;

static int32_t first_largest(Rows x, int64_t r, int64_t cols)
{
    float values[BLOCK], largest = -INFINITY;
    int64_t found = 0;
    for (int64_t c = 0; c < cols; c += BLOCK) {
        int64_t n = least(BLOCK, cols - c), i = 0;
        const float *v = rows_read(x, r, c, n, values);
        Vec lanes = vec_set(largest);
        for (int64_t j = 0; j < n; j += LANES)
            lanes = vec_max(vec_load_upto(v + j, n - j, -INFINITY), lanes); /* in this order a NaN loses */
        if (vec_largest(lanes) <= largest)
            continue;
        largest = vec_largest(lanes);
        while (v[i] != largest)
            i++;
        found = c + i;
    }
    return (int32_t)found;
}

static void largest_piece(const void *job, int64_t first, int64_t last)
{
    const Largest *l = job;
    for (int64_t r = first; r < last; r++)
        l->index[r] = first_largest(l->x, r, l->cols);
}

static void largest(const Exec *exec, int64_t rows, int64_t cols, Rows x, int32_t *index)
{
    rows_check(x, "largest");
    contract(rows == 0 || (cols > 0 && cols <= INT32_MAX), "largest: rows of %lld columns", (long long)cols);
    parallel_pieces(exec, rows, rows_a_piece(cols), rows * cols * 4, largest_piece,
                    &(Largest){.cols = cols, .x = x, .index = index});
}

/* ---- The largest rows of a column */

/* Columns that a thread takes from the scores at a time: half a cache line of each row. */
enum { GROUP = 8 };

/* Rows of a column of keys, a multiple of all levels' vectors. */
static int64_t padded_rows(const TopRows *s)
{
    return (s->rows + LANES - 1) / LANES * LANES;
}

static size_t top_rows_scratch(const Exec *exec, const TopRows *s)
{
    return (size_t)(exec->threads * GROUP * padded_rows(s)) * sizeof(int32_t);
}

/* An integer with the float's place in the order; both zeros have one. */
static int32_t key_of(float x)
{
    float value = x == x ? x + 0.0f : -INFINITY; /* -0 becomes 0 */
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits ^ (bits >> 31 & INT32_MAX);
}

/* keys [count, padded rows] of the columns k .. k+count-1 of one [N,K]. */
static void read_keys(const TopRows *s, const float *scores, int64_t k, int64_t count, int32_t *keys)
{
    int64_t padded = padded_rows(s);
    for (int64_t n = 0; n < s->rows; n++)
        for (int64_t i = 0; i < count; i++)
            keys[i * padded + n] = key_of(scores[n * s->cols + k + i]);
    for (int64_t i = 0; i < count; i++)
        for (int64_t n = s->rows; n < padded; n++)
            keys[i * padded + n] = INT32_MIN;
}

static VecInt load_keys(const int32_t *keys)
{
    VecInt v;
    memcpy(&v, keys, sizeof v);
    return v;
}

/* How many keys lie above `bound`. */
static int64_t count_above(int64_t padded, const int32_t *keys, int32_t bound)
{
    VecInt count = {0};
    for (int64_t n = 0; n < padded; n += LANES)
        count -= load_keys(keys + n) > bound;
    int64_t sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += count[i];
    return sum;
}

/* The largest bound at which at least w of the N keys are not below it: the w-th largest key, or another number that parts
 * exactly those w from the others. */
static int32_t part_of(const TopRows *s, const int32_t *keys)
{
    int64_t padded = padded_rows(s), low = INT32_MIN, high = INT32_MAX;
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2, count = count_above(padded, keys, (int32_t)(middle - 1));
        if (count < s->count) {
            high = middle - 1;
        } else {
            low = middle;
            if (count == s->count)
                break;
        }
    }
    return (int32_t)low;
}

static void top_of_column(const TopRows *s, const int32_t *keys, int32_t *index)
{
    int32_t bound = part_of(s, keys);
    int64_t ties = s->count - count_above(padded_rows(s), keys, bound); /* of those that are equal, the first ones */
    for (int64_t n = 0; n < s->rows; n++) {
        if (keys[n] < bound || (keys[n] == bound && ties-- <= 0))
            continue;
        *index = (int32_t)n;
        index += s->heads;
    }
}

typedef struct Top {
    const TopRows *shape;
    const float *scores;
    int32_t *keys, *index;
} Top;

/* Items are (sample, head, group of columns). */
static void top_piece(const void *job, int64_t first, int64_t last)
{
    const Top *t = job;
    const TopRows *s = t->shape;
    int64_t groups = (s->cols + GROUP - 1) / GROUP, padded = padded_rows(s);
    int32_t *keys = t->keys + omp_get_thread_num() * GROUP * padded;
    for (int64_t item = first; item < last; item++) {
        int64_t table = item / groups, k = item % groups * GROUP, count = least(GROUP, s->cols - k);
        int64_t b = table / s->heads, h = table % s->heads;
        read_keys(s, t->scores + table * s->rows * s->cols, k, count, keys);
        for (int64_t i = 0; i < count; i++)
            top_of_column(s, keys + i * padded, t->index + (b * s->cols + k + i) * s->count * s->heads + h);
    }
}

static void top_rows(const Exec *exec, const TopRows *s, const float *scores, int32_t *index)
{
    enum { PASSES = 4 }; /* what a column costs beside reading it once */
    contract(s->count >= 0 && s->count <= s->rows && s->rows <= INT32_MAX, "top_rows: %lld of %lld rows",
             (long long)s->count, (long long)s->rows);
    contract(exec->scratch_bytes >= top_rows_scratch(exec, s), "top_rows: scratch is too small");
    int64_t tables = s->batch * s->heads, groups = (s->cols + GROUP - 1) / GROUP;
    parallel_pieces(exec, tables * groups, 1, tables * s->rows * s->cols * 4 * PASSES, top_piece,
                    &(Top){s, scores, exec->scratch, index});
}

const SelectKernels LEVEL(select_kernels) = {
    .largest = largest,
    .top_rows_scratch = top_rows_scratch,
    .top_rows = top_rows,
};
