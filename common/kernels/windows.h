/* Local windows: the queries of a block meet the keys of the blocks from `back` before it to `forward` behind it.
 *
 * Letters: B batch, n blocks of b tokens, W = (back + 1 + forward) b keys of a window, C values of a token. */
#pragma once
#include "common/kernels/attention.h"

typedef struct WindowShape {
    int64_t batch, blocks, block, back, forward;
} WindowShape;

typedef struct WindowKernels {
    /* y[B n, W, C] = x[B, n b, C], a block's window after the other, and `outside` beyond the ends of the sequence. C is the
     * token_step of y. x and y of one type, fp32 or bf16. */
    void (*gather)(const Exec *, const WindowShape *, float outside, HeadRows x, HeadRows y);

    /* dx[B, n b, C] (+)= the sum of dy over the windows that a token is in. */
    void (*gather_gradient)(const Exec *, const WindowShape *, HeadRows dy, bool add, HeadRows dx);

    /* Who is seen, uint8, as ScoreTable `keep` is read: [n, 1, 1, W] where `real` is NULL: keys inside the sequence. Else
     * real [B, n b] says what is a token (1) and not padding (0), which neither sees nor is seen: [B n, 1, b, W]. */
    void (*sight)(const Exec *, const WindowShape *, const uint8_t *real, uint8_t *seen);
} WindowKernels;
