/* Products through cuBLASLt, as matmul.cu and chain.cu call them. */
#pragma once
#include "common/kernels/cuda/library.cuh"

/* What cuBLASLt does to a linear layer's results before it stores them. */
typedef enum Epilogue { EPILOGUE_NONE, EPILOGUE_RELU, EPILOGUE_GELU_TANH } Epilogue;

/* y[M,N] = f(x[M,K] w[N,K]^T + bias[N]) as MatmulKernels.linear. before (data NULL: not wanted): what f got, in y's type, with
 * EPILOGUE_GELU_TANH alone. False, and nothing was done, where cuBLASLt has no such f for these sizes. */
bool product_linear(const Exec *exec, int64_t m, int64_t n, int64_t k, Rows x, const Weight *w, const float *bias,
                    Epilogue f, Rows before, Rows y);
