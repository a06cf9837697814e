/* Permutation of axes: axes that stay together are merged first; then either runs of memory are copied whole, or the axis
 * that is contiguous in x changes places with the one that is contiguous in y, tile by tile. */
#include "common/kernels/cpu/vector/elementwise.h"

#include "common/base/error.h"
#include "common/kernels/cpu/parallel.h"

enum { MAX_RANK = 8, TILE = 32 };

/* An axis of y: its length and what one step along it means in x and in y, in elements. */
typedef struct Axis {
    int64_t length, x_step, y_step;
} Axis;

typedef struct Permute {
    int outer_rank;
    Axis outer[MAX_RANK];
    Axis inner, across; /* y's last axis; the axis of x step 1 if that is another one, else length 1 */
    int64_t bands;      /* of TILE steps of `across` */
    size_t bytes;
    const char *x;
    char *y;
} Permute;

/* y's axes without those of length 1, neighbours merged where x has them side by side too. Returns how many. */
static int merged_axes(int rank, const int64_t *shape, const int *order, Axis *axes)
{
    int64_t x_steps[MAX_RANK], step = 1;
    for (int a = rank - 1; a >= 0; a--) {
        x_steps[a] = step;
        step *= shape[a];
    }
    int count = 0;
    for (int a = 0; a < rank; a++) {
        Axis next = {.length = shape[order[a]], .x_step = x_steps[order[a]]};
        if (next.length == 1)
            continue;
        Axis *before = count > 0 ? &axes[count - 1] : NULL;
        if (before && before->x_step == next.x_step * next.length) {
            before->length *= next.length;
            before->x_step = next.x_step;
        } else {
            axes[count++] = next;
        }
    }
    step = 1;
    for (int a = count - 1; a >= 0; a--) {
        axes[a].y_step = step;
        step *= axes[a].length;
    }
    return count;
}

/* `bytes` bytes; a whole row of a tile is copied without a call. */
static inline void copy_run(void *to, const void *from, size_t bytes, size_t whole)
{
    if (bytes == whole)
        memcpy(to, from, whole);
    else
        memcpy(to, from, bytes);
}

/* Through a tile in the cache, so that y is written by whole lines: single elements, each to a line that is still on its
 * way, would fill the store buffer. */
#define TRANSPOSE(type)                                                                                                \
    do {                                                                                                               \
        type tile[TILE][TILE];                                                                                         \
        for (int64_t first = 0; first < p->inner.length; first += TILE) {                                              \
            int64_t n = p->inner.length - first < TILE ? p->inner.length - first : TILE;                               \
            for (int64_t i = 0; i < n; i++)                                                                            \
                for (int64_t j = 0; j < width; j++)                                                                    \
                    tile[j][i] = ((const type *)x)[(first + i) * p->inner.x_step + j];                                 \
            for (int64_t j = 0; j < width; j++)                                                                        \
                copy_run((type *)y + j * p->across.y_step + first, tile[j], n * sizeof(type), sizeof tile[j]);         \
        }                                                                                                              \
    } while (0)

/* One band: `width` steps of `across`, all of `inner`. */
static void transpose_band(const Permute *p, int64_t width, const char *x, char *y)
{
    switch (p->bytes) {
    case 1:
        TRANSPOSE(uint8_t);
        break;
    case 2:
        TRANSPOSE(uint16_t);
        break;
    case 4:
        TRANSPOSE(uint32_t);
        break;
    default:
        TRANSPOSE(uint64_t);
        break;
    }
}

/* Items are the bands of all outer positions, bands fastest. */
static void permute_piece(const void *job, int64_t first, int64_t last)
{
    const Permute *p = job;
    for (int64_t item = first; item < last; item++) {
        int64_t rest = item / p->bands, band = item % p->bands * TILE;
        int64_t x_at = band * p->across.x_step, y_at = band * p->across.y_step;
        for (int a = p->outer_rank - 1; a >= 0; a--) {
            int64_t i = rest % p->outer[a].length;
            rest /= p->outer[a].length;
            x_at += i * p->outer[a].x_step;
            y_at += i * p->outer[a].y_step;
        }
        const char *x = p->x + x_at * (int64_t)p->bytes;
        char *y = p->y + y_at * (int64_t)p->bytes;
        int64_t width = p->across.length - band < TILE ? p->across.length - band : TILE;
        if (p->inner.x_step == 1)
            memcpy(y, x, (size_t)p->inner.length * p->bytes);
        else
            transpose_band(p, width, x, y);
    }
}

void LEVEL(permute)(const Exec *exec, int rank, const int64_t *shape, const int *order, size_t bytes, const void *x,
                    void *y)
{
    contract(rank <= MAX_RANK, "permute: rank %d, not at most %d", rank, MAX_RANK);
    contract(bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8, "permute: elements of %zu bytes", bytes);
    int64_t count = 1;
    for (int a = 0; a < rank; a++)
        count *= shape[a];
    if (count == 0)
        return;
    Axis axes[MAX_RANK];
    int n = merged_axes(rank, shape, order, axes);
    Permute p = {.inner = {1, 1, 1}, .across = {1, 0, 0}, .bytes = bytes, .x = x, .y = y};
    if (n > 0)
        p.inner = axes[--n];
    int64_t items = 1;
    for (int a = 0; a < n; a++) {
        if (axes[a].x_step == 1) {
            p.across = axes[a];
            continue;
        }
        p.outer[p.outer_rank++] = axes[a];
        items *= axes[a].length;
    }
    p.bands = (p.across.length + TILE - 1) / TILE;
    items *= p.bands;
    int64_t values = count / items > 0 ? count / items : 1, piece = values < PIECE ? PIECE / values : 1;
    parallel_pieces(exec, items, piece, count * (int64_t)bytes * 2, permute_piece, &p);
}
