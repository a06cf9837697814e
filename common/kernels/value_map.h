/* A function of values, mapped over a matrix, as every backend prepares it. */
#pragma once
#include "common/kernels/exec.h"

/* y (+)= f(a, b, factor), value by value. */
typedef struct Map {
    int64_t rows, cols;
    Rows a, b;        /* b.data NULL: absent */
    int64_t b_period; /* row r reads row r % b_period of b; 0: row r */
    float factor;     /* or, of row r, factors[r / repeat] */
    const float *factors;
    int64_t repeat;
    bool add;
    Rows y;
} Map;

/* Whether nothing lies between the rows; or there is no such matrix. */
static inline bool gapless(Rows x, int64_t cols)
{
    return !x.data || x.stride == cols;
}

/* The same map with one row where there were several: those that share a factor, a round of b's rows, or else all. Long rows leave
 * few threads and vectors half full. */
static inline Map map_joined(Map m)
{
    int64_t group = m.b_period ? m.b_period : m.factors ? m.repeat : m.rows;
    if (group < 2 || m.rows % group || !gapless(m.a, m.cols) || !gapless(m.b, m.cols) || !gapless(m.y, m.cols))
        return m;
    m.rows /= group;
    m.cols *= group;
    m.a.stride = m.b.stride = m.y.stride = m.cols;
    m.b_period = m.b_period ? 1 : 0;
    m.repeat = 1;
    return m;
}
