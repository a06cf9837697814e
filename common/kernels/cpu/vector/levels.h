/* What the files of this folder export, once a level. cpu/backend.c alone picks among them. */
#pragma once
#include "common/kernels/adafactor.h"
#include "common/kernels/attention.h"
#include "common/kernels/augment.h"
#include "common/kernels/batch_norm.h"
#include "common/kernels/chain.h"
#include "common/kernels/elementwise.h"
#include "common/kernels/gather.h"
#include "common/kernels/kmeans.h"
#include "common/kernels/loss.h"
#include "common/kernels/matmul.h"
#include "common/kernels/noise.h"
#include "common/kernels/norm.h"
#include "common/kernels/optimizer.h"
#include "common/kernels/relative.h"
#include "common/kernels/resize.h"
#include "common/kernels/select.h"
#include "common/kernels/rotary.h"
#include "common/kernels/sight.h"
#include "common/kernels/windows.h"

/* linear_weight_gradient and its scratch: the entries of MatmulKernels; the others are oneDNN's. */
#define DECLARE_LEVEL(level)                                                                                           \
    extern const AdafactorKernels adafactor_kernels_##level;                                                           \
    extern const AttentionKernels attention_kernels_##level;                                                           \
    extern const AugmentKernels augment_kernels_##level;                                                               \
    extern const BatchNormKernels batch_norm_kernels_##level;                                                          \
    extern const ChainKernels chain_kernels_##level;                                                                   \
    extern const ElementwiseKernels elementwise_kernels_##level;                                                       \
    extern const GatherKernels gather_kernels_##level;                                                                 \
    extern const KmeansKernels kmeans_kernels_##level;                                                                 \
    extern const LossKernels loss_kernels_##level;                                                                     \
    extern const NoiseKernels noise_kernels_##level;                                                                   \
    extern const NormKernels norm_kernels_##level;                                                                     \
    extern const OptimizerKernels optimizer_kernels_##level;                                                           \
    extern const RelativeKernels relative_kernels_##level;                                                             \
    extern const ResizeKernels resize_kernels_##level;                                                                 \
    extern const SelectKernels select_kernels_##level;                                                                 \
    extern const RotaryKernels rotary_kernels_##level;                                                                 \
    extern const SightKernels sight_kernels_##level;                                                                   \
    extern const WindowKernels window_kernels_##level;                                                                 \
    size_t linear_weight_gradient_scratch_##level(int64_t m, int64_t n, int64_t k);                                    \
    void linear_weight_gradient_##level(const Exec *, int64_t m, int64_t n, int64_t k, Rows dy, Rows x, bool add,      \
                                        float *dw);

DECLARE_LEVEL(plain)
DECLARE_LEVEL(avx2)
DECLARE_LEVEL(avx512)
DECLARE_LEVEL(avx512_bf16)
