/* What a permutation of axes comes down to, for every backend: axes that stay together are merged, and the two set apart along
 * which memory is contiguous. */
#pragma once
#include "common/base/error.h"
#include <stddef.h>
#include <stdint.h>

enum { MOST_AXES = 8 };

/* An axis of y: its length and what one step along it means in x and in y, in elements. */
typedef struct Axis {
    int64_t length, x_step, y_step;
} Axis;

typedef struct PermutedAxes {
    int outer_rank;
    Axis outer[MOST_AXES];
    Axis inner, across; /* y's last axis; the axis of x step 1 if that is another one, else length 1 */
    int64_t items;      /* positions of the outer axes; 0: there is no element at all */
} PermutedAxes;

/* y's axes without those of length 1, neighbours merged where x has them side by side too. Returns how many. */
static inline int merged_axes(int rank, const int64_t *shape, const int *order, Axis *axes)
{
    int64_t x_steps[MOST_AXES], step = 1;
    for (int a = rank - 1; a >= 0; a--) {
        x_steps[a] = step;
        step *= shape[a];
    }
    int count = 0;
    for (int a = 0; a < rank; a++) {
        Axis next = {shape[order[a]], x_steps[order[a]], 0};
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

/* Of x [shape], where y's axis a is x's axis order[a]; elements of `bytes` bytes. */
static inline PermutedAxes permuted_axes(int rank, const int64_t *shape, const int *order, size_t bytes)
{
    contract(rank <= MOST_AXES, "permute: rank %d, not at most %d", rank, MOST_AXES);
    contract(bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8, "permute: elements of %zu bytes", bytes);
    PermutedAxes p = {0, {{0, 0, 0}}, {1, 1, 1}, {1, 0, 0}, 1};
    Axis axes[MOST_AXES];
    int n = merged_axes(rank, shape, order, axes);
    if (n > 0)
        p.inner = axes[--n];
    for (int a = 0; a < n; a++) {
        if (axes[a].x_step == 1) {
            p.across = axes[a];
            continue;
        }
        p.outer[p.outer_rank++] = axes[a];
        p.items *= axes[a].length;
    }
    for (int a = 0; a < rank; a++)
        p.items = shape[a] ? p.items : 0;
    return p;
}
