#include "common/tensor/random.h"

#include "common/base/str.h"

Random random_at(uint32_t seed, Stream stream, uint32_t site, uint32_t step)
{
    return (Random){.draw = {.seed = seed, .stream = (uint32_t)stream, .site = site, .step = step}};
}

uint32_t random_site(const char *name)
{
    uint64_t h = str_hash(name);
    return (uint32_t)(h ^ (h >> 32));
}

static double replayed(RandomReplay *replay)
{
    if (replay->used == replay->count) {
        replay->overrun = true;
        return 0;
    }
    return replay->values[replay->used++];
}

double random_uniform(Random *r)
{
    if (r->replay)
        return replayed(r->replay);
    uint32_t words[4];
    uint64_t element = r->next++;
    philox_block(r->draw, element / 4, words);
    return words[element % 4] * 0x1p-32;
}

double random_between(Random *r, double low, double high)
{
    return low + (high - low) * random_uniform(r);
}

double random_normal(Random *r)
{
    if (r->replay)
        return replayed(r->replay);
    double u = 1.0 - random_uniform(r), v = random_uniform(r);
    return box_muller(u, v);
}

bool random_keep(Random *r, double probability)
{
    return random_uniform(r) < probability;
}

int64_t random_integer(Random *r, int64_t n)
{
    return (int64_t)(random_uniform(r) * (double)n);
}

static double gamma_draw(Random *r, double shape)
{
    if (shape < 1.0)
        return gamma_draw(r, shape + 1.0) * pow(1.0 - random_uniform(r), 1.0 / shape);
    double d = shape - 1.0 / 3.0, c = 1.0 / sqrt(9.0 * d);
    for (;;) {
        double x = random_normal(r), v = 1.0 + c * x;
        if (v <= 0)
            continue;
        v = v * v * v;
        if (log(1.0 - random_uniform(r)) < 0.5 * x * x + d - d * v + d * log(v))
            return d * v;
    }
}

double random_beta(Random *r, double a, double b)
{
    double x = gamma_draw(r, a), y = gamma_draw(r, b);
    return x / (x + y);
}

int64_t random_categorical(Random *r, const double *p, int n)
{
    double u = random_uniform(r), sum = 0;
    for (int i = 0; i < n; i++) {
        sum += p[i];
        if (sum > u)
            return i;
    }
    return n - 1;
}

void random_permutation(Random *r, int64_t n, int64_t *order)
{
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = random_integer(r, i + 1), swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
}
