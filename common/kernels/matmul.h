/* Matrix products. Letters: M rows (tokens), N outputs, K inputs. */
#pragma once
#include "common/kernels/exec.h"

typedef struct MatmulKernels {
    /* y[M,N] = x[M,K] w[N,K]^T + bias[N] (bias NULL: none). x and y fp32 or bf16, sums in fp32. */
    void (*linear)(const Exec *, int64_t m, int64_t n, int64_t k, Rows x, const Weight *w, const float *bias, Rows y);

    /* dx[M,K] (+)= dy[M,N] w[N,K]; adds when `add`, else overwrites. */
    void (*linear_input_gradient)(const Exec *, int64_t m, int64_t n, int64_t k, Rows dy, const Weight *w, bool add,
                                  Rows dx);

    /* dw[N,K] (+)= dy[M,N]^T x[M,K], contiguous fp32. Exec's scratch holds at least linear_weight_gradient_scratch
     * bytes. */
    size_t (*linear_weight_gradient_scratch)(int64_t m, int64_t n, int64_t k);
    void (*linear_weight_gradient)(const Exec *, int64_t m, int64_t n, int64_t k, Rows dy, Rows x, bool add,
                                   float *dw);

    /* `batch` products c[M,N] (+)= op(a) op(b); op transposes when its flag is set: a is [M,K] or, transposed, [K,M];
     * b is [K,N] or [N,K]. Matrices follow each other at `*_step` elements (0: the same one for all). */
    void (*matmul)(const Exec *, int64_t batch, int64_t m, int64_t n, int64_t k, Rows a, int64_t a_step,
                   bool a_transposed, Rows b, int64_t b_step, bool b_transposed, bool add, Rows c, int64_t c_step);

    void (*packed_free)(struct Packed **packed); /* when a parameter goes */
} MatmulKernels;
