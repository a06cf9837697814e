/* Rows through norm, product, activation and product, a tile of rows at a time: the forward pass of half a block. */
#pragma once
#include "common/kernels/elementwise.h"

/* y = down f(up norm(x)) [R,out], or without `down`: y = up norm(x) [R,width]. x [R,in], hidden [R,width]; none of the
 * four is 0. Weights [width,in] and [out,width] and their biases as MatmulKernels.linear takes them. */
typedef struct Chain {
    int64_t rows, in, width, out;
    const float *gamma, *beta; /* of the norm, [in]; NULL: there is none */
    float eps;
    const Weight *up, *down; /* down NULL: none */
    const float *up_bias, *down_bias;
    Unary f;
    DType inner; /* of the normalised rows and of f's results: bf16 products where it is BF16 */
} Chain;

typedef struct ChainKernels {
    /* hidden: up's results, in the type `inner`, kept for backward; mean, rstd [R]: the norm's. Data NULL or NULL: not
     * wanted. Exec's scratch holds at least forward_scratch bytes: some tiles a thread. */
    size_t (*forward_scratch)(const Exec *, const Chain *);
    void (*forward)(const Exec *, const Chain *, Rows x, Rows hidden, float *mean, float *rstd, Rows y);
} ChainKernels;
