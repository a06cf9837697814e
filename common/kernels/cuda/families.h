/* What each file of this folder exports: a family's kernels on the GPU. An entry may be NULL: not written yet. */
#pragma once
#include "common/kernels/backend.h"

extern const MemoryKernels cuda_memory;
extern const NormKernels cuda_norm;
extern const BatchNormKernels cuda_batch_norm;
extern const ElementwiseKernels cuda_elementwise;
extern const LossKernels cuda_loss;
extern const GatherKernels cuda_gather;
extern const SelectKernels cuda_select;
extern const ResizeKernels cuda_resize;
extern const AugmentKernels cuda_augment;
extern const NoiseKernels cuda_noise;
extern const OptimizerKernels cuda_optimizer;
extern const AdafactorKernels cuda_adafactor;
extern const AttentionKernels cuda_attention;
extern const RelativeKernels cuda_relative;
extern const RotaryKernels cuda_rotary;
extern const SightKernels cuda_sight;
extern const KmeansKernels cuda_kmeans;
extern const WindowKernels cuda_windows;
extern const MatmulKernels cuda_matmul;
extern const ConvolutionKernels cuda_convolution;
extern const ChainKernels cuda_chain;

void *cuda_stream(void); /* the stream that everything of this backend runs in; made by the first call */
