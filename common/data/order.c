#include "common/data/order.h"

#include "common/base/memory.h"
#include "common/tensor/random.h"

#include <string.h>

int64_t repeated_augmentation(const int64_t *permutation, int64_t n, int repeats, int ranks, int rank, int64_t *out)
{
    int64_t repeated = n * repeats, share = (repeated + ranks - 1) / ranks;
    int64_t count = MIN(n / 256 * 256 / ranks, share);
    for (int64_t i = 0; i < count; i++)
        out[i] = permutation[(rank + i * ranks) % repeated / repeats];
    return count;
}

int64_t order_length(const OrderOptions *o)
{
    return o->repeats > 1 ? o->count / 256 * 256 : o->count;
}

void order_epoch(const OrderOptions *o, uint32_t epoch, int64_t *permutation, int64_t *order)
{
    if (o->shuffle) {
        Random random = random_at(o->seed, STREAM_DATA, random_site("order"), epoch);
        random_permutation(&random, o->count, permutation);
    } else {
        for (int64_t i = 0; i < o->count; i++)
            permutation[i] = i;
    }
    if (o->repeats > 1)
        repeated_augmentation(permutation, o->count, o->repeats, 1, 0, order);
    else
        memcpy(order, permutation, (size_t)o->count * sizeof *order);
}

int64_t order_batch_row(int64_t rows, int rank, int ranks, int64_t r)
{
    int64_t share = rows / ranks, before = rank * (share / 2);
    if (share % 2)
        return rank * share + r;
    return r < share / 2 ? before + r : rows - before - share + r;
}
