/* Permutation of axes: axes that stay together are merged first; then either runs of memory are copied whole, or the axis
 * that is contiguous in x changes places with the one that is contiguous in y, tile by tile. */
#include "common/kernels/cpu/vector/elementwise.h"

#include "common/kernels/axes.h"
#include "common/kernels/cpu/parallel.h"

enum { TILE = 32 };

typedef struct Permute {
    PermutedAxes axes;
    int64_t bands; /* of TILE steps of `across` */
    size_t bytes;
    const char *x;
    char *y;
} Permute;

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
        for (int64_t first = 0; first < p->axes.inner.length; first += TILE) {                                         \
            int64_t n = p->axes.inner.length - first < TILE ? p->axes.inner.length - first : TILE;                     \
            for (int64_t i = 0; i < n; i++)                                                                            \
                for (int64_t j = 0; j < width; j++)                                                                    \
                    tile[j][i] = ((const type *)x)[(first + i) * p->axes.inner.x_step + j];                            \
            for (int64_t j = 0; j < width; j++)                                                                        \
                copy_run((type *)y + j * p->axes.across.y_step + first, tile[j], n * sizeof(type), sizeof tile[j]);    \
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
        int64_t x_at = band * p->axes.across.x_step, y_at = band * p->axes.across.y_step;
        for (int a = p->axes.outer_rank - 1; a >= 0; a--) {
            int64_t i = rest % p->axes.outer[a].length;
            rest /= p->axes.outer[a].length;
            x_at += i * p->axes.outer[a].x_step;
            y_at += i * p->axes.outer[a].y_step;
        }
        const char *x = p->x + x_at * (int64_t)p->bytes;
        char *y = p->y + y_at * (int64_t)p->bytes;
        int64_t width = p->axes.across.length - band < TILE ? p->axes.across.length - band : TILE;
        if (p->axes.inner.x_step == 1)
            memcpy(y, x, (size_t)p->axes.inner.length * p->bytes);
        else
            transpose_band(p, width, x, y);
    }
}

void LEVEL(permute)(const Exec *exec, int rank, const int64_t *shape, const int *order, size_t bytes, const void *x,
                    void *y)
{
    Permute p = {.axes = permuted_axes(rank, shape, order, bytes), .bytes = bytes, .x = x, .y = y};
    const PermutedAxes *a = &p.axes;
    if (a->items == 0)
        return;
    p.bands = (a->across.length + TILE - 1) / TILE;
    int64_t count = a->items * a->across.length * a->inner.length, items = a->items * p.bands;
    int64_t values = count / items > 0 ? count / items : 1, piece = values < PIECE ? PIECE / values : 1;
    parallel_pieces(exec, items, piece, count * (int64_t)bytes * 2, permute_piece, &p);
}
