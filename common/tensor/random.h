/* Every random number of the project comes from here. A draw has no hidden state: it is a function of the seed, the
 * stream, the site (which draw), the step (when) and its place in the draw, so the same run gives the same numbers on any
 * number of threads or ranks, resumed or not, on the CPU or a GPU. Scalar arithmetic on draws is double. */
#pragma once
#include "common/kernels/philox.h"
#include <stdbool.h>
#include <stdint.h>

typedef enum Stream { STREAM_INIT, STREAM_DATA, STREAM_MODEL, STREAM_SAMPLE } Stream;

/* Numbers given from outside, answered in call order instead of drawn (golden files, parity with other frameworks).
 * Whoever replays checks `used == count && !overrun` at the end: a value left over or missing is an error. */
typedef struct RandomReplay {
    const float *values;
    int64_t count, used;
    bool overrun;
} RandomReplay;

/* A source of scalars: the elements 0, 1, 2, ... of one draw. */
typedef struct Random {
    PhiloxDraw draw;
    uint64_t next; /* the element that comes next */
    RandomReplay *replay;
} Random;

/* Site: a hash of a name (init: the parameter's; model: the layer's prefix and the draw's name), for data the position in
 * the epoch's order. Step: the training step, for data the epoch. */
Random random_at(uint32_t seed, Stream stream, uint32_t site, uint32_t step);
uint32_t random_site(const char *name);

double random_uniform(Random *r);                              /* [0, 1), 32 bits */
double random_between(Random *r, double low, double high);     /* low + (high - low) * uniform */
double random_normal(Random *r);                               /* Box-Muller */
bool random_keep(Random *r, double probability);               /* uniform < probability */
int64_t random_integer(Random *r, int64_t n);                  /* 0 .. n-1: floor(uniform * n) */
double random_beta(Random *r, double a, double b);             /* from two gamma draws (Marsaglia and Tsang, 2000) */
int64_t random_categorical(Random *r, const double *p, int n); /* first index whose cumulated p exceeds uniform */
void random_permutation(Random *r, int64_t n, int64_t *order); /* Fisher-Yates from the end */
