/* Online k-means: a block has a cluster of a head, finds its tokens in order, a part of all tokens at a time, and sums them. */
#include "common/kernels/cuda/heads.cuh"
#include "common/kernels/cuda/map.cuh"
#include "common/kernels/cuda/ptx.cuh"

enum { THREADS = 256, WARPS = THREADS / WARP };

typedef struct Kmeans {
    KmeansShape shape;
    HeadRows x;
    const int32_t *nearest;
    float *sums, *counts;
    bool mixed; /* head j has every H-th of all tokens of all heads, and nothing is summed */
} Kmeans;

/* Token t of those that a head has, t < B N: its place in nearest [B,H,N]. */
DEVICE int64_t place_of(const Kmeans &k, int64_t head, int64_t t)
{
    const KmeansShape &s = k.shape;
    return k.mixed ? head + t * s.heads : (t / s.tokens * s.heads + head) * s.tokens + t % s.tokens;
}

DEVICE Rows row_at(const Kmeans &k, int64_t place)
{
    const KmeansShape &s = k.shape;
    return head_row(k.x, s.width, place / s.tokens / s.heads, place % s.tokens, place / s.tokens % s.heads);
}

/* list = the places among first .. first + THREADS - 1 that belong to the cluster, ascending; returns how many. */
DEVICE int list_tokens(const Kmeans &k, int64_t head, int64_t cluster, int64_t first, int64_t *list, int *of_warp)
{
    const KmeansShape &s = k.shape;
    int64_t t = first + threadIdx.x, place = 0;
    bool mine = false;
    if (t < s.batch * s.tokens) {
        place = place_of(k, head, t);
        int64_t c = k.nearest[place];
        device_contract(c >= 0 && c < s.clusters);
        mine = c == cluster;
    }
    unsigned lanes = __ballot_sync(ALL_LANES, mine);
    int warp = (int)threadIdx.x / WARP, before = 0, all = 0;
    if (lane_index() == 0)
        of_warp[warp] = __popc(lanes);
    __syncthreads();
    for (int w = 0; w < WARPS; w++) {
        before += w < warp ? of_warp[w] : 0;
        all += of_warp[w];
    }
    if (mine)
        list[before + __popc(lanes & ((1u << lane_index()) - 1))] = place;
    __syncthreads();
    return all;
}

/* By the lanes of a warp. */
DEVICE bool any_value(Rows x, int64_t width)
{
    bool any = false;
    for (int64_t c = lane_index(); c < width; c += WARP)
        any |= rows_get(x, 0, c) != 0;
    return __any_sync(ALL_LANES, any);
}

/* blockIdx.x: head and cluster; blockIdx.y: a strip of WARP columns, of which the first counts. A warp takes every WARPS-th token of
 * a list, and the warps' sums are added in order. */
__global__ void sum_clusters(Kmeans k)
{
    __shared__ int64_t list[THREADS];
    __shared__ int of_warp[WARPS];
    __shared__ float sums[WARPS][WARP], counts[WARPS];
    const KmeansShape &s = k.shape;
    int lane = lane_index(), warp = (int)threadIdx.x / WARP;
    int64_t row = blockIdx.x, c = (int64_t)blockIdx.y * WARP + lane;
    float sum = 0, count = 0;
    for (int64_t first = 0; first < s.batch * s.tokens; first += THREADS) {
        int n = list_tokens(k, row / s.clusters, row % s.clusters, first, list, of_warp);
        for (int i = warp; i < n; i += WARPS) {
            Rows x = row_at(k, list[i]);
            sum += k.sums && c < s.width ? rows_get(x, 0, c) : 0;
            if (blockIdx.y == 0)
                count += any_value(x, s.width);
        }
        __syncthreads(); /* the list is written again */
    }
    sums[warp][lane] = sum;
    if (lane == 0)
        counts[warp] = count;
    __syncthreads();
    if (warp > 0)
        return;
    for (int w = 1; w < WARPS; w++)
        sum += sums[w][lane];
    if (k.sums && c < s.width)
        k.sums[row * s.width + c] = sum;
    if (blockIdx.y > 0 || lane > 0)
        return;
    for (int w = 1; w < WARPS; w++)
        count += counts[w];
    k.counts[row] = count;
}

static void run_clusters(const Exec *exec, const Kmeans &k)
{
    const KmeansShape &s = k.shape;
    contract(k.x.type == F32, "k-means: rows of %s, not of float32", dtype_name(k.x.type));
    int64_t strips = k.sums && s.width > 0 ? blocks_for(s.width, WARP) : 1;
    LAUNCH(sum_clusters, dim3((unsigned)(s.heads * s.clusters), (unsigned)strips), THREADS, 0, exec, k);
}

static void sums(const Exec *exec, const KmeansShape *s, HeadRows x, const int32_t *nearest, float *to, float *counts)
{
    Kmeans k = {*s, x, nearest, to, counts, false};
    run_clusters(exec, k);
}

static void mixed_counts(const Exec *exec, const KmeansShape *s, HeadRows x, const int32_t *nearest, float *counts)
{
    Kmeans k = {*s, x, nearest, NULL, counts, true};
    run_clusters(exec, k);
}

/* ---- Centres */

typedef struct Smooth {
    KmeansShape shape;
    float decay, eps;
    const float *sums, *counts;
    float *sum, *count, *means;
} Smooth;

/* A block has a head. */
__global__ void smooth_heads(Smooth k)
{
    const KmeansShape &s = k.shape;
    int64_t head = blockIdx.x;
    float keep = k.decay, take = 1 - k.decay, n = 0;
    for (int64_t c = threadIdx.x; c < s.clusters; c += THREADS) {
        int64_t at = head * s.clusters + c;
        k.count[at] = keep * k.count[at] + take * k.counts[at];
        n += k.count[at];
    }
    n = block_sum(n); /* also: the counts are seen by all */
    for (int64_t i = threadIdx.x; i < s.clusters * s.width; i += THREADS) {
        int64_t at = head * s.clusters * s.width + i;
        float count = k.count[head * s.clusters + i / s.width];
        float smoothed = (count + k.eps) / (n + (float)s.clusters * k.eps) * n;
        k.sum[at] = keep * k.sum[at] + take * k.sums[at];
        k.means[at] = k.sum[at] / smoothed;
    }
}

static void smooth(const Exec *exec, const KmeansShape *s, float decay, float eps, const float *sums_in,
                   const float *counts_in, float *sum, float *count, float *means)
{
    Smooth k = {*s, decay, eps, sums_in, counts_in, sum, count, means};
    LAUNCH(smooth_heads, (unsigned)s->heads, THREADS, 0, exec, k);
}

/* A warp has a cluster. */
__global__ void normalize_clusters(int64_t rows, int64_t width, const float *sums_in, const float *counts,
                                   const float *means, float *centres)
{
    for (int64_t r = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP; r < rows; r += (int64_t)gridDim.x * WARPS) {
        float squares = 0;
        for (int64_t c = lane_index(); c < width; c += WARP)
            squares += sums_in[r * width + c] * sums_in[r * width + c];
        float norm = sqrtf(warp_sum(squares)), smallest = 1e-12f;
        bool empty = counts[r] == 0;
        for (int64_t c = lane_index(); c < width; c += WARP)
            centres[r * width + c] =
                empty ? means[r * width + c] : sums_in[r * width + c] / (norm > smallest ? norm : smallest);
    }
}

static void normalize(const Exec *exec, const KmeansShape *s, const float *sums_in, const float *counts_in,
                      const float *means, float *centres)
{
    int64_t rows = s->heads * s->clusters;
    LAUNCH(normalize_clusters, grid_for(blocks_for(rows, WARPS)), THREADS, 0, exec, rows, s->width, sums_in, counts_in,
           means, centres);
}

__global__ void bucket_values(int64_t rows, int64_t bits, int64_t clusters, const float *along, float *hot)
{
    for (int64_t r = map_row(); r < rows; r += map_row_step()) {
        int64_t bucket = 0;
        for (int64_t bit = 0; bit < bits; bit++)
            bucket += (int64_t)(along[r * bits + bit] > 0) << bit;
        for (int64_t c = map_col<1>(); c < clusters; c += map_col_step<1>())
            hot[r * clusters + c] = c == bucket ? 1.0f : 0.0f;
    }
}

static void buckets(const Exec *exec, int64_t rows, int64_t bits, int64_t clusters, const float *along, float *hot)
{
    contract(bits < 31 && ((int64_t)1 << bits) <= clusters, "buckets: %lld bits for %lld clusters", (long long)bits,
             (long long)clusters);
    MapGrid g = map_grid(rows, clusters);
    LAUNCH(bucket_values, g.grid, g.block, 0, exec, rows, bits, clusters, along, hot);
}

const KmeansKernels cuda_kmeans = {
    .sums = sums, .mixed_counts = mixed_counts, .smooth = smooth, .normalize = normalize, .buckets = buckets};
