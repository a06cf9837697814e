/* Rows chosen by an index: embedding tables, and attention over the tokens that a router picked. Letters: B batch, N rows to
 * choose from, M choices, H heads, C width. An embedding has B = H = 1, N words and M tokens. */
#pragma once
#include "common/kernels/exec.h"

typedef struct Choices {
    int64_t batch, rows, count, heads, width; /* B, N, M, H, C */
    const void *index;                        /* [B,M,H]: 0 <= index < N, or a bug of the caller's */
    DType type;                               /* I32 or I64 */
} Choices;

typedef struct GatherKernels {
    /* y[b,m,h] (+)= factors[b,i,h] x[b,i,h] with i = index[b,m,h]. x [B,N,H,C], y [B,M,H,C], factors [B,N,H] or NULL: 1. */
    void (*gather)(const Exec *, const Choices *, HeadRows x, const float *factors, bool add, HeadRows y);

    /* y[b,i,h] (+)= f (sum of x[b,m,h] over the m with index[b,m,h] = i, in ascending order). x [B,M,H,C], y [B,N,H,C].
     * factors NULL: f is 1. Else f = 1 / (how many they are + eps), and goes to factors [B,N,H].
     * Exec's scratch holds at least scatter_scratch bytes. */
    size_t (*scatter_scratch)(const Choices *);
    void (*scatter)(const Exec *, const Choices *, HeadRows x, float *factors, float eps, bool add, HeadRows y);
} GatherKernels;
