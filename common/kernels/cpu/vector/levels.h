/* What each file of this folder exports, once a level. cpu/backend.c alone reads it. */
#pragma once
#include "common/kernels/elementwise.h"

#define DECLARE_LEVEL(level) extern const ElementwiseKernels elementwise_kernels_##level;

DECLARE_LEVEL(plain)
DECLARE_LEVEL(avx2)
DECLARE_LEVEL(avx512)
DECLARE_LEVEL(avx512_bf16)
