/* A backend is one table of kernels per family. A NULL entry is legal: the op that needs it says so and stops. */
#pragma once
#include "common/base/error.h"
#include "common/kernels/adafactor.h"
#include "common/kernels/attention.h"
#include "common/kernels/augment.h"
#include "common/kernels/batch_norm.h"
#include "common/kernels/chain.h"
#include "common/kernels/convolution.h"
#include "common/kernels/elementwise.h"
#include "common/kernels/gather.h"
#include "common/kernels/kmeans.h"
#include "common/kernels/loss.h"
#include "common/kernels/matmul.h"
#include "common/kernels/memory.h"
#include "common/kernels/noise.h"
#include "common/kernels/norm.h"
#include "common/kernels/optimizer.h"
#include "common/kernels/relative.h"
#include "common/kernels/resize.h"
#include "common/kernels/select.h"
#include "common/kernels/rotary.h"
#include "common/kernels/sight.h"
#include "common/kernels/windows.h"

typedef struct Backend {
    const char *name;
    void *stream; /* of an Exec: cudaStream_t on a GPU, else NULL */
    bool bf16;    /* has instructions for products of bf16: `precision: bf16` asks for them */
    MemoryKernels memory;
    MatmulKernels matmul;
    ChainKernels chain;
    ConvolutionKernels convolution;
    NormKernels norm;
    BatchNormKernels batch_norm;
    ElementwiseKernels elementwise;
    LossKernels loss;
    GatherKernels gather;
    SelectKernels select;
    ResizeKernels resize;
    AugmentKernels augment;
    NoiseKernels noise;
    OptimizerKernels optimizer;
    AdafactorKernels adafactor;
    AttentionKernels attention;
    RelativeKernels relative;
    RotaryKernels rotary;
    SightKernels sight;
    KmeansKernels kmeans;
    WindowKernels windows;
} Backend;

/* The CPU's kernels at the best level this machine has (plain, avx2, avx512, avx512_bf16), or at the one that the
 * environment variable ZOO_CPU names; NULL with a line if that level is unknown or this machine lacks it. Made once. */
const Backend *cpu_backend(Error *e);
const char *cpu_backend_level(void); /* "avx512", ... of the backend in use */

/* The kernels of one level, for tests that compare levels; NULL if this machine cannot run it. */
const Backend *cpu_backend_at(const char *level);
