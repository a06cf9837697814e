/* Softmax of rows and the losses made of it. A row is read once from memory for its largest value and its sum, which are found
 * together, and then, from the cache, once more for the result. */
#include "common/kernels/cuda/map.cuh"
#include "common/kernels/cuda/team.cuh"

/* ln sum e^x = largest + ln sum */
typedef struct LogSum {
    float largest, sum;
} LogSum;

/* Of one thread's values; where they bring a larger one, the sum of those before is scaled down. */
template <typename Team, int N> DEVICE LogSum log_sum_of_part(Rows x, int64_t r, int64_t cols)
{
    LogSum s = {-INFINITY, 0};
    for (int64_t c = Team::index() * N; c < cols; c += Team::size() * N) {
        Floats<N> v = rows_load<N>(x, r, c);
        float largest = s.largest;
        for (int i = 0; i < N; i++)
            largest = fmaxf(largest, v.at[i]);
        if (largest > s.largest)
            s.sum *= expf(s.largest - largest);
        s.largest = largest;
        for (int i = 0; i < N; i++)
            s.sum += v.at[i] == -INFINITY ? 0 : expf(v.at[i] - largest);
    }
    return s;
}

/* Of row r; the same in every thread of the team. */
template <typename Team, int N> DEVICE LogSum log_sum(Rows x, int64_t r, int64_t cols)
{
    LogSum part = log_sum_of_part<Team, N>(x, r, cols);
    float largest = Team::max(part.largest);
    float share = part.largest == -INFINITY ? part.sum : part.sum * expf(part.largest - largest);
    LogSum all = {largest, Team::sum(share)};
    return all;
}

/* ---- Softmax */

typedef struct Softmax {
    int64_t rows, cols;
    Rows x, y;
    bool logarithm;
    const float *targets; /* the losses' only; NULL for a softmax alone */
    float *losses;
} Softmax;

template <typename Team, int N> __global__ void softmax_rows(Softmax s)
{
    for (int64_t r = Team::first_row(); r < s.rows; r += Team::row_step()) {
        LogSum all = log_sum<Team, N>(s.x, r, s.cols);
        float factor = 1.0f / all.sum, shift = logf(all.sum), loss = 0;
        for (int64_t c = Team::index() * N; c < s.cols; c += Team::size() * N) {
            Floats<N> v = rows_load<N>(s.x, r, c);
            Floats<N> target = s.targets ? floats_load<N>(s.targets + r * s.cols + c) : floats_of<N>(0);
            for (int i = 0; i < N; i++) {
                float below = v.at[i] - all.largest;
                if (s.targets)
                    loss += target.at[i] * (shift - below);
                v.at[i] = s.logarithm ? below - shift : expf(below) * factor;
            }
            rows_store<N>(s.y, r, c, v);
        }
        if (!s.targets)
            continue;
        loss = Team::sum(loss);
        if (Team::index() == 0)
            s.losses[r] = loss;
    }
}

static void softmax_run(const Exec *exec, Softmax s, const char *kernel)
{
    rows_check(s.x, kernel);
    rows_check(s.y, kernel);
    LAUNCH_TEAMS(softmax_rows, s.rows, s.cols, ROWS_WIDTH(s.cols, s.x, s.y, rows_of(s.targets)), exec, s);
}

static void softmax(const Exec *exec, int64_t rows, int64_t cols, Rows x, Rows y)
{
    softmax_run(exec, {rows, cols, x, y, false, NULL, NULL}, "softmax");
}

static void log_softmax(const Exec *exec, int64_t rows, int64_t cols, Rows x, Rows y)
{
    softmax_run(exec, {rows, cols, x, y, true, NULL, NULL}, "log_softmax");
}

static void soft_cross_entropy(const Exec *exec, int64_t rows, int64_t cols, Rows logits, const float *targets,
                               float *probabilities, float *losses)
{
    Rows y = {probabilities, cols, F32};
    softmax_run(exec, {rows, cols, logits, y, false, targets, losses}, "soft_cross_entropy");
}

typedef struct SoftmaxGradient {
    int64_t rows, cols;
    Rows dy, y, dx; /* of the loss: dy is the target, y the probabilities */
    const float *dlosses;
    bool add;
} SoftmaxGradient;

/* dx (+)= y (dy - sum y dy), or of the loss dlosses[r] (y sum dy - dy) */
template <typename Team, int N> __global__ void softmax_gradient_rows(SoftmaxGradient s)
{
    for (int64_t r = Team::first_row(); r < s.rows; r += Team::row_step()) {
        float sum = 0;
        for (int64_t c = Team::index() * N; c < s.cols; c += Team::size() * N) {
            Floats<N> dy = rows_load<N>(s.dy, r, c), y = s.dlosses ? floats_of<N>(1) : rows_load<N>(s.y, r, c);
            for (int i = 0; i < N; i++)
                sum += dy.at[i] * y.at[i];
        }
        sum = Team::sum(sum);
        for (int64_t c = Team::index() * N; c < s.cols; c += Team::size() * N) {
            Floats<N> dy = rows_load<N>(s.dy, r, c), y = rows_load<N>(s.y, r, c);
            Floats<N> dx = s.add ? rows_load<N>(s.dx, r, c) : floats_of<N>(0);
            for (int i = 0; i < N; i++)
                dx.at[i] += s.dlosses ? (y.at[i] * sum - dy.at[i]) * s.dlosses[r] : y.at[i] * (dy.at[i] - sum);
            rows_store<N>(s.dx, r, c, dx);
        }
    }
}

static void gradient_run(const Exec *exec, SoftmaxGradient s, const char *kernel)
{
    rows_check(s.dy, kernel);
    rows_check(s.y, kernel);
    rows_check(s.dx, kernel);
    LAUNCH_TEAMS(softmax_gradient_rows, s.rows, s.cols, ROWS_WIDTH(s.cols, s.dy, s.y, s.dx), exec, s);
}

static void softmax_gradient(const Exec *exec, int64_t rows, int64_t cols, Rows dy, Rows y, bool add, Rows dx)
{
    gradient_run(exec, {rows, cols, dy, y, dx, NULL, add}, "softmax_gradient");
}

static void soft_cross_entropy_gradient(const Exec *exec, int64_t rows, int64_t cols, const float *dlosses,
                                        const float *probabilities, const float *targets, bool add, Rows dlogits)
{
    Rows target = {(void *)targets, cols, F32}, y = {(void *)probabilities, cols, F32};
    gradient_run(exec, {rows, cols, target, y, dlogits, dlosses, add}, "soft_cross_entropy_gradient");
}

/* ---- Cross-entropy with one label a row */

typedef struct CrossEntropy {
    int64_t rows, cols, ignore;
    Rows logits, dlogits;
    const int64_t *labels;
    const float *dlosses;
    float *lse, *losses;
    bool add;
} CrossEntropy;

DEVICE bool row_counts(const CrossEntropy &e, int64_t r)
{
    int64_t label = e.labels[r];
    device_contract(label == e.ignore || (label >= 0 && label < e.cols));
    return label != e.ignore;
}

template <typename Team, int N> __global__ void cross_entropy_rows(CrossEntropy e)
{
    for (int64_t r = Team::first_row(); r < e.rows; r += Team::row_step()) {
        float lse = 0, loss = 0;
        if (row_counts(e, r)) {
            LogSum all = log_sum<Team, N>(e.logits, r, e.cols);
            lse = all.largest + logf(all.sum);
            loss = lse - rows_get(e.logits, r, e.labels[r]);
        }
        if (Team::index() == 0) {
            e.lse[r] = lse;
            e.losses[r] = loss;
        }
    }
}

static void cross_entropy(const Exec *exec, int64_t rows, int64_t cols, Rows logits, const int64_t *labels,
                          int64_t ignore, float *lse, float *losses)
{
    rows_check(logits, "cross_entropy");
    CrossEntropy e = {rows, cols, ignore, logits, {}, labels, NULL, lse, losses, false};
    LAUNCH_TEAMS(cross_entropy_rows, rows, cols, ROWS_WIDTH(cols, logits), exec, e);
}

/* dlogits may be the logits: a thread reads what it writes. */
template <int N> __global__ void cross_entropy_gradient_values(CrossEntropy e)
{
    for (int64_t r = map_row(); r < e.rows; r += map_row_step()) {
        bool counts = row_counts(e, r);
        if (!counts && e.add)
            continue;
        float lse = e.lse[r], dloss = e.dlosses[r];
        for (int64_t c = map_col<N>(); c < e.cols; c += map_col_step<N>()) {
            Floats<N> x = rows_load<N>(e.logits, r, c);
            Floats<N> dx = e.add ? rows_load<N>(e.dlogits, r, c) : floats_of<N>(0);
            for (int i = 0; i < N && counts; i++) {
                dx.at[i] += expf(x.at[i] - lse) * dloss;
                dx.at[i] -= c + i == e.labels[r] ? dloss : 0;
            }
            rows_store<N>(e.dlogits, r, c, dx);
        }
    }
}

static void cross_entropy_gradient(const Exec *exec, int64_t rows, int64_t cols, const float *dlosses, Rows logits,
                                   const int64_t *labels, int64_t ignore, const float *lse, bool add, Rows dlogits)
{
    rows_check(logits, "cross_entropy_gradient");
    rows_check(dlogits, "cross_entropy_gradient");
    CrossEntropy e = {rows, cols, ignore, logits, dlogits, labels, dlosses, (float *)lse, NULL, add};
    int width = ROWS_WIDTH(cols, logits, dlogits);
    MapGrid g = map_grid(rows, cols / width);
    if (width == 4)
        LAUNCH(cross_entropy_gradient_values<4>, g.grid, g.block, 0, exec, e);
    else
        LAUNCH(cross_entropy_gradient_values<1>, g.grid, g.block, 0, exec, e);
}

const LossKernels cuda_loss = {
    .softmax = softmax,
    .log_softmax = log_softmax,
    .softmax_gradient = softmax_gradient,
    .soft_cross_entropy = soft_cross_entropy,
    .soft_cross_entropy_gradient = soft_cross_entropy_gradient,
    .cross_entropy = cross_entropy,
    .cross_entropy_gradient = cross_entropy_gradient,
};
