#include "common/kernels/sight.h"

#include "common/kernels/cpu/vector/attention_tile.h"
#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/rows.h"

typedef struct Nonzero {
    int64_t tokens, heads, width;
    HeadRows x;
    uint8_t *seen;
} Nonzero;

/* No early end: a row is short, and most have a value other than 0. */
static bool any_value(int64_t n, const float *x)
{
    VecInt any = {0};
    for (int64_t i = 0; i < n; i += LANES)
        any |= vec_load_upto(x + i, n - i, 0) != 0;
    return vec_any(any);
}

static void nonzero_piece(const void *job, int64_t first, int64_t last)
{
    const Nonzero *z = job;
    float values[BLOCK];
    for (int64_t row = first; row < last; row++) {
        int64_t b = row / z->tokens, n = row % z->tokens;
        for (int64_t h = 0; h < z->heads; h++) {
            Rows x = rows_from((Rows){z->x.data, 1, z->x.type}, row_start(z->x, b, h, n, z->width));
            bool any = false;
            for (int64_t c = 0; c < z->width; c += BLOCK) {
                int64_t live = least(BLOCK, z->width - c);
                any |= any_value(live, rows_read(x, 0, c, live, values));
            }
            z->seen[(b * z->heads + h) * z->tokens + n] = any;
        }
    }
}

static void nonzero(const Exec *exec, int64_t batch, int64_t tokens, int64_t heads, int64_t width, HeadRows x,
                    uint8_t *seen)
{
    rows_check((Rows){x.data, 0, x.type}, "nonzero");
    Nonzero z = {tokens, heads, width, x, seen};
    int64_t values = larger(1, heads * width);
    parallel_pieces(exec, batch * tokens, larger(1, PIECE / values), batch * tokens * values * 4, nonzero_piece, &z);
}

typedef struct Routed {
    const RoutedSight *sight;
    uint8_t *seen;
    float value, *bias;
} Routed;

/* The index of member `rank` of a cluster of `size`. */
static inline int64_t member(const RoutedSight *s, const int32_t *index, int64_t size, int64_t batch, int64_t head,
                             int64_t cluster, int64_t rank)
{
    if (!index)
        return rank;
    return index[((batch * s->clusters + cluster) * size + rank) * s->heads + head];
}

static bool sees(const RoutedSight *s, int64_t batch, int64_t query, int64_t key)
{
    if (s->self && query == key)
        return true;
    if (s->causal && key > query)
        return false;
    return (!s->query_real || s->query_real[batch * s->query_tokens + query]) &&
           (!s->key_real || s->key_real[batch * s->key_tokens + key]);
}

/* A task is a query of a head and a cluster. */
static void routed_piece(const void *job, int64_t first, int64_t last)
{
    const Routed *r = job;
    const RoutedSight *s = r->sight;
    int64_t columns = s->memory + s->keys;
    for (int64_t task = first; task < last; task++) {
        int64_t rank = task % s->queries, head = task / s->queries % s->heads, group = task / s->queries / s->heads;
        int64_t batch = group / s->clusters, cluster = group % s->clusters;
        int64_t query = member(s, s->query_index, s->queries, batch, head, cluster, rank);
        for (int64_t j = 0; j < s->memory; j++) {
            if (r->seen)
                r->seen[task * columns + j] = 1;
            else
                r->bias[task * columns + j] = 0;
        }
        for (int64_t j = 0; j < s->keys; j++) {
            int64_t key = member(s, s->key_index, s->keys, batch, head, cluster, j),
                    at = task * columns + s->memory + j;
            if (r->seen)
                r->seen[at] = sees(s, batch, query, key);
            else
                r->bias[at] = query == key ? r->value : 0;
        }
    }
}

static void run_routed(const Exec *exec, const Routed *r)
{
    const RoutedSight *s = r->sight;
    int64_t columns = s->memory + s->keys, tasks = s->batch * s->clusters * s->heads * s->queries;
    parallel_pieces(exec, tasks, larger(1, PIECE / larger(1, columns)), tasks * columns * 8, routed_piece, r);
}

static void routed(const Exec *exec, const RoutedSight *s, uint8_t *seen)
{
    run_routed(exec, &(Routed){.sight = s, .seen = seen});
}

static void routed_self(const Exec *exec, const RoutedSight *s, float value, float *bias)
{
    run_routed(exec, &(Routed){.sight = s, .value = value, .bias = bias});
}

const SightKernels LEVEL(sight_kernels) = {.nonzero = nonzero, .routed = routed, .routed_self = routed_self};
