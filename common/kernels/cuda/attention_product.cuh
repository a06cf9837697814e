/* The matrix products of attention, a warp each: of bf16 through the tensor cores, of fp32 in FMA. What lies above
 * (masks, softmax, gradients) is written once, for both keep their sums the same way: as the tensor cores do.
 *
 * A warp has 16 M rows; a lane has rows g and g + 8 of each 16, g = lane / 4, and there pairs of columns. Matrices
 * in shared memory are [rows][pitch(W)]: W is a multiple of 16, and the 16 bytes more than W let 8 rows lie in
 * different banks. */
#pragma once
#include "common/kernels/cuda/number.cuh"
#include "common/kernels/cuda/ptx.cuh"

/* [16 M, N] of fp32. Number r of at[m][n] stands in row fragment_row(m, r). */
template <int M, int N> struct Fragment {
    float at[M][N / 8][4];
};

template <int M, int N> DEVICE void fragment_clear(Fragment<M, N> &x)
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N / 8; n++)
#pragma unroll
            for (int r = 0; r < 4; r++)
                x.at[m][n][r] = 0;
}

DEVICE int fragment_row(int m, int r)
{
    return 16 * m + lane_index() / 4 + r / 2 * 8;
}

/* Of a product over the width: scores. */
DEVICE int fragment_column(int n, int r)
{
    return 8 * n + lane_index() % 4 * 2 + r % 2;
}

/* Of sums of weighted rows. A lane has 4 columns of fp32 side by side, which it reads at once. */
template <typename T> DEVICE int width_column(int n, int r)
{
    return sizeof(T) == 2 ? fragment_column(n, r) : n / 2 * 16 + lane_index() % 4 * 4 + n % 2 * 2 + r % 2;
}

template <typename T> BOTH_SIDES constexpr int pitch(int width)
{
    return width + 16 / (int)sizeof(T);
}

/* ---- scores += rows columns^T: rows [16 M][W], columns [N][W], both in shared memory */

template <int M, int N, int W> DEVICE void add_product(Fragment<M, N> &scores, const bf16 *rows, const bf16 *columns)
{
    const int lane = lane_index();
    rows += lane % 16 * pitch<bf16>(W) + lane / 16 * 8;
    columns += (lane % 8 + lane / 16 * 8) * pitch<bf16>(W) + lane / 8 % 2 * 8;
#pragma unroll
    for (int k = 0; k < W; k += 16) {
        uint32_t a[M][4];
#pragma unroll
        for (int m = 0; m < M; m++)
            ldmatrix<false>(a[m], rows + 16 * m * pitch<bf16>(W) + k);
#pragma unroll
        for (int n = 0; n < N; n += 16) {
            uint32_t b[4];
            ldmatrix<false>(b, columns + n * pitch<bf16>(W) + k);
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma_bf16(scores.at[m][n / 8], a[m], b[0], b[1]);
                mma_bf16(scores.at[m][n / 8 + 1], a[m], b[2], b[3]);
            }
        }
    }
}

DEVICE void add_terms(float &sum, const Floats<4> &a, const Floats<4> &b)
{
#pragma unroll
    for (int i = 0; i < 4; i++)
        sum = fmaf(a.at[i], b.at[i], sum);
}

template <int M, int N, int W> DEVICE void add_product(Fragment<M, N> &scores, const float *rows, const float *columns)
{
    rows += fragment_row(0, 0) * pitch<float>(W);
    columns += fragment_column(0, 0) * pitch<float>(W);
#pragma unroll 2
    for (int k = 0; k < W; k += 4) {
        Floats<4> a[M][2];
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                a[m][half] = floats_load<4>(rows + (16 * m + 8 * half) * pitch<float>(W) + k);
#pragma unroll
        for (int n = 0; n < N / 8; n++)
#pragma unroll
            for (int side = 0; side < 2; side++) {
                Floats<4> b = floats_load<4>(columns + (8 * n + side) * pitch<float>(W) + k);
#pragma unroll
                for (int m = 0; m < M; m++)
#pragma unroll
                    for (int half = 0; half < 2; half++)
                        add_terms(scores.at[m][n][2 * half + side], a[m][half], b);
            }
    }
}

/* ---- sums += weights rows: weights [16 M, N] as add_product left them, rows [N][W] in shared memory. bf16 weights are
 * rounded. */

template <int M, int N, int W>
DEVICE void add_weighted(Fragment<M, W> &sums, const Fragment<M, N> &weights, const bf16 *rows)
{
    const int lane = lane_index();
    rows += lane % 16 * pitch<bf16>(W) + lane / 16 * 8;
#pragma unroll
    for (int j = 0; j < N; j += 16) {
        uint32_t a[M][4];
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float *pair = &weights.at[m][j / 8 + i / 2][i % 2 * 2];
                a[m][i] = bf16_pair(pair[0], pair[1]);
            }
#pragma unroll
        for (int c = 0; c < W; c += 16) {
            uint32_t b[4];
            ldmatrix<true>(b, rows + j * pitch<bf16>(W) + c);
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma_bf16(sums.at[m][c / 8], a[m], b[0], b[1]);
                mma_bf16(sums.at[m][c / 8 + 1], a[m], b[2], b[3]);
            }
        }
    }
}

/* The lanes of a row hand each other their weights. */
template <int M, int N, int W>
DEVICE void add_weighted(Fragment<M, W> &sums, const Fragment<M, N> &weights, const float *rows)
{
    const int lane = lane_index();
    rows += lane % 4 * 4;
#pragma unroll
    for (int n = 0; n < N / 8; n++)
#pragma unroll 2
        for (int owner = 0; owner < 4; owner++)
#pragma unroll
            for (int side = 0; side < 2; side++) {
                const float *row = rows + (8 * n + 2 * owner + side) * pitch<float>(W);
                float weight[M][2];
#pragma unroll
                for (int m = 0; m < M; m++)
#pragma unroll
                    for (int half = 0; half < 2; half++)
                        weight[m][half] =
                            __shfl_sync(ALL_LANES, weights.at[m][n][2 * half + side], lane / 4 * 4 + owner);
#pragma unroll
                for (int c = 0; c < W; c += 16) {
                    Floats<4> x = floats_load<4>(row + c);
#pragma unroll
                    for (int m = 0; m < M; m++)
#pragma unroll
                        for (int i = 0; i < 8; i++) {
                            float &sum = sums.at[m][c / 8 + i / 4][i % 4];
                            sum = fmaf(weight[m][i / 2 % 2], x.at[i / 4 * 2 + i % 2], sum);
                        }
                }
            }
}
