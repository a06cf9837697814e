/* What threads of a warp or a block do together, and every instruction that C++ has no word for. Each has a twin under
 * emulation, in tests/cuda_emulation/include/cuda_runtime.h where CUDA itself names the function, else here. */
#pragma once
#include "common/kernels/cuda/number.cuh"

enum : unsigned { ALL_LANES = 0xffffffffu };

DEVICE int lane_index(void) /* blocks are one-dimensional, or their x is a multiple of WARP */
{
    return (int)(threadIdx.x % WARP);
}

/* Ends the process, by what the next call to CUDA returns, where a caller gave a kernel what it may not: an index outside of its
 * table. */
DEVICE void device_contract(bool holds)
{
#ifdef ZOO_CUDA_EMULATED
    if (!holds)
        emulated_fail("a broken contract");
#else
    if (!holds)
        __trap();
#endif
}

/* Sums over the warp in a fixed order, the same bits in every lane. All lanes must be there. */
DEVICE float warp_sum(float x)
{
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

DEVICE double warp_sum(double x)
{
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

DEVICE float warp_max(float x) /* NaN is ignored, as by fmaxf */
{
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

/* The same over a block of `warps` whole warps (at most 32, blockDim.x threads, one-dimensional). All threads must be
 * there and all get the result. */
template <typename T> DEVICE T block_sum(T x)
{
    __shared__ T of_warp[WARP];
    int warps = (int)(blockDim.x / WARP), warp = (int)(threadIdx.x / WARP);
    x = warp_sum(x);
    if (lane_index() == 0)
        of_warp[warp] = x;
    __syncthreads();
    T sum = of_warp[0];
    for (int w = 1; w < warps; w++)
        sum += of_warp[w];
    __syncthreads(); /* of_warp may be written again */
    return sum;
}

DEVICE float block_max(float x)
{
    __shared__ float of_warp[WARP];
    int warps = (int)(blockDim.x / WARP), warp = (int)(threadIdx.x / WARP);
    x = warp_max(x);
    if (lane_index() == 0)
        of_warp[warp] = x;
    __syncthreads();
    float most = of_warp[0];
    for (int w = 1; w < warps; w++)
        most = fmaxf(most, of_warp[w]);
    __syncthreads();
    return most;
}

/* ---- Products of small matrices, spread over the lanes of a warp (PTX ISA, "Matrix fragments for mma.m16n8k16" and
 * "ldmatrix"). With g = lane / 4 and t = lane % 4 a lane holds, pairs along the row of a and down the column of b:
 *   of a [16,16]: a[0] = (g, 2t..), a[1] = (g + 8, 2t..), a[2] = (g, 2t + 8..), a[3] = (g + 8, 2t + 8..);
 *   of b [16,8]:  b0 = (2t.., g), b1 = (2t + 8.., g);
 *   of c [16,8]:  c[0], c[1] = (g, 2t..), c[2], c[3] = (g + 8, 2t..). */

/* Two floats as a pair of bf16, the first in the lower half. */
DEVICE uint32_t bf16_pair(float first, float second)
{
#ifdef ZOO_CUDA_EMULATED
    return (uint32_t)to_bf16(first).bits | (uint32_t)to_bf16(second).bits << 16;
#else
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
#endif
}

/* 2^x to 2 units in the last place; 2^-infinity = 0, and so are results below the normal numbers. */
DEVICE float fast_exp2(float x)
{
#ifdef ZOO_CUDA_EMULATED
    float y = exp2f(x);
    return y < 0x1p-126f ? 0 : y;
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

#ifdef ZOO_CUDA_EMULATED
#define NOT_WATCHED __attribute__((no_sanitize("thread"))) /* sees what all lanes brought, which is no race */

struct MatrixRows { /* what a lane brings to ldmatrix: the address of a row of 16 bytes */
    const bf16 *row;
};
struct MatrixPair {
    uint32_t a[4], b[2];
    float c[4];
};
struct MatrixWords {
    uint32_t word[4];
};

NOT_WATCHED static inline float half_of(uint32_t pair, int which)
{
    return float_of_bits(which ? pair & 0xffff0000u : pair << 16);
}

/* Lanes 8m .. 8m + 7 name the rows of matrix m, [8,8]; a lane gets (g, 2t..) of each, or of the transposed matrices. */
template <bool TRANSPOSED> NOT_WATCHED static void ldmatrix_combine(const EmulatedWarp *warp, const void *)
{
    for (int lane = 0; lane < WARP; lane++) {
        uint32_t *words = ((MatrixWords *)warp->out[lane])->word;
        for (int m = 0; m < 4; m++) {
            uint32_t half[2];
            for (int i = 0; i < 2; i++) {
                int row = TRANSPOSED ? lane % 4 * 2 + i : lane / 4, column = TRANSPOSED ? lane / 4 : lane % 4 * 2 + i;
                half[i] = ((const MatrixRows *)warp->in[8 * m + row])->row[column].bits;
            }
            words[m] = half[0] | half[1] << 16;
        }
    }
}

NOT_WATCHED static inline void mma_combine(const EmulatedWarp *warp, const void *)
{
    float a[16][16], b[16][8];
    for (int lane = 0; lane < WARP; lane++) {
        const MatrixPair *x = (const MatrixPair *)warp->in[lane];
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 8; i++)
            a[g + i / 2 % 2 * 8][2 * t + i / 4 * 8 + i % 2] = half_of(x->a[i / 2], i % 2);
        for (int i = 0; i < 4; i++)
            b[2 * t + i / 2 * 8 + i % 2][g] = half_of(x->b[i / 2], i % 2);
    }
    for (int lane = 0; lane < WARP; lane++) {
        const MatrixPair *x = (const MatrixPair *)warp->in[lane];
        for (int i = 0; i < 4; i++) {
            int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            float sum = x->c[i];
            for (int k = 0; k < 16; k++)
                sum += a[row][k] * b[k][column];
            ((float *)warp->out[lane])[i] = sum;
        }
    }
}
#endif

/* Four matrices [8,8] of bf16 from shared memory: lanes 8m .. 8m + 7 name the rows of matrix m, 16 bytes each,
 * aligned. */
template <bool TRANSPOSED> DEVICE void ldmatrix(uint32_t words[4], const bf16 *row)
{
#ifdef ZOO_CUDA_EMULATED
    static const EmulatedCollective what = {"ldmatrix", ldmatrix_combine<TRANSPOSED>, false};
    if ((uintptr_t)row % 16)
        emulated_fail("ldmatrix: the address of a row is not a multiple of 16");
    for (int i = 0; i < 8; i++)
        (void)*(const volatile uint16_t *)&row[i].bits; /* so that reads of this lane are seen */
    MatrixRows in = {row};
    MatrixWords out;
    emulated_collective(&what, ALL_LANES, &in, &out, NULL);
    memcpy(words, out.word, sizeof out.word);
#else
    unsigned address = (unsigned)__cvta_generic_to_shared(row);
    if (TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                     : "r"(address)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                     : "r"(address)
                     : "memory");
#endif
}

/* c += a b, sums in fp32. */
DEVICE void mma_bf16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
#ifdef ZOO_CUDA_EMULATED
    static const EmulatedCollective what = {"mma", mma_combine, false};
    MatrixPair in = {{a[0], a[1], a[2], a[3]}, {b0, b1}, {c[0], c[1], c[2], c[3]}};
    emulated_collective(&what, ALL_LANES, &in, c, NULL);
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

/* ---- Copies from global to shared memory that run beside the computation. A thread's copies are there, for itself,
 * after async_copies_wait; for others after a barrier that follows. */

/* 16 bytes, both addresses multiples of 16; zeros where not `real`. Under emulation nothing arrives before it is
 * waited for. */
DEVICE void async_copy_16(void *to, const void *from, bool real)
{
#ifdef ZOO_CUDA_EMULATED
    if ((uintptr_t)to % 16 || (uintptr_t)from % 16)
        emulated_fail("async_copy_16: an address is not a multiple of 16");
    emulated_async_begin(to, real ? from : NULL);
    for (int i = 0; i < 4; i++)
        ((volatile uint32_t *)to)[i] = 0xffffffffu; /* whoever still reads here is in a race */
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((unsigned)__cvta_generic_to_shared(to)),
                 "l"(from), "r"(real ? 16 : 0)
                 : "memory");
#endif
}

DEVICE void async_copies_wait(void)
{
#ifdef ZOO_CUDA_EMULATED
    EmulatedAsyncCopy copy;
    while (emulated_async_end(&copy))
        for (int i = 0; i < 4; i++)
            ((volatile uint32_t *)copy.to)[i] = copy.from ? ((const uint32_t *)copy.from)[i] : 0;
#else
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}
