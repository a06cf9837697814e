/* Matrix products, convolution and pooling through oneDNN, 2.x (Debian 12) and 3.x (Debian 13).
 *
 * Primitives, memory objects and scratch memory are kept by shape and used again: in the steady state none is made.
 * They are shared, so one thread at a time may call these kernels: the tape's. */
#pragma once
#include "common/kernels/convolution.h"
#include "common/kernels/matmul.h"

extern const MatmulKernels dnnl_matmul_kernels; /* but linear_weight_gradient: cpu/vector's is faster */
extern const ConvolutionKernels dnnl_convolution_kernels;

/* Keeps oneDNN to the instructions of a level (plain, avx2, avx512, avx512_bf16). Only before the first product, and
 * only where a level was asked for: without it oneDNN takes the best that it knows for this machine (AMX, ...). */
void dnnl_limit_isa(const char *level);

/* How many primitives are kept now, and at most: for the test that the cache is bounded. */
int dnnl_plan_count(void);
int dnnl_plan_limit(void);
