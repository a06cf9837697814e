#include "common/data/loader.h"

#include "common/base/memory.h"
#include "common/data/order.h"
#include "common/data/prefetch.h"

#include <stdlib.h>
#include <string.h>

typedef struct Slot {
    Batch batch;
    Error *errors; /* [batch_size], of the rows that failed */
    bool *failed;  /* [batch_size] */
} Slot;

/* What one thread needs to make a row. */
typedef struct Worker {
    Sample sample;
    TransformScratch scratch;
} Worker;

struct Loader {
    LoaderOptions options;
    OrderOptions order_options;
    int64_t steps, *permutation, *order, order_epoch; /* the order of the epoch that batches are begun of */
    Slot *slots;
    int slot_count;
    Worker *workers; /* [max(threads, 1)] */
    Prefetch *prefetch;
};

static size_t row_bytes(const Loader *l)
{
    size_t side = (size_t)l->options.transform.size;
    return (size_t)l->options.dataset->channels * side * side;
}

Tensor *batch_images(Tape *t, const Batch *b)
{
    return transform_images(t, b->transform, b->rows, b->channels, b->pixels, b->erasures);
}

/* The place in its epoch of row r of this rank's share of a batch of `rows` in all. */
static int64_t position_of(const Loader *l, int64_t step, int64_t rows, int64_t r)
{
    const LoaderOptions *o = &l->options;
    return step * o->batch_size + order_batch_row(rows, o->rank, o->ranks, r);
}

/* Reads the sample, or one that stands in for it. */
static bool read_sample(const Loader *l, Worker *w, int64_t *index, Error *e)
{
    const Dataset *d = l->options.dataset;
    if (dataset_read(d, *index, &w->sample, e))
        return true;
    if (l->options.on_corrupt != CORRUPT_REPLACE)
        return false;
    for (int64_t tries = 1; tries < d->count; tries++) {
        int64_t other = (*index + tries) % d->count;
        if (dataset_read(d, other, &w->sample, NULL)) {
            *index = other;
            return true;
        }
    }
    return false;
}

/* Row r of a batch; its draws belong to its position in the epoch. */
static void make_row(void *own, int worker, int number, int r)
{
    const Loader *l = own;
    Worker *w = &l->workers[worker];
    Slot *slot = &l->slots[number];
    Batch *batch = &slot->batch;
    int64_t wanted = batch->indices[r];
    int64_t position = position_of(l, batch->step, (int64_t)batch->rows * l->options.ranks, r);
    Random random = random_at(l->options.seed, STREAM_DATA, (uint32_t)position, (uint32_t)batch->epoch);
    uint8_t *out = batch->pixels + (size_t)r * row_bytes(l);
    Erasure *erasure = batch->erasures ? &batch->erasures[r] : NULL;
    Error *e = &slot->errors[r];
    bool good = read_sample(l, w, &batch->indices[r], e);
    if (good && !transform_apply(&l->options.transform, &w->sample.image, &random, &w->scratch, out, erasure, e))
        good = error_prefix(e, "sample %lld of the data set", (long long)batch->indices[r]);
    slot->failed[r] = !good || batch->indices[r] != wanted;
    batch->labels[r] = good ? w->sample.label : -1;
}

static int begin_batch(void *own, int number, int64_t epoch, int64_t step)
{
    Loader *l = own;
    if (l->order_epoch != epoch) {
        order_epoch(&l->order_options, (uint32_t)epoch, l->permutation, l->order);
        l->order_epoch = epoch;
    }
    Batch *batch = &l->slots[number].batch;
    int64_t left = order_length(&l->order_options) - step * l->options.batch_size;
    int64_t rows = MIN((int64_t)l->options.batch_size, left);
    batch->epoch = epoch;
    batch->step = step;
    batch->rows = (int)(rows / l->options.ranks);
    batch->random = random_at(l->options.seed, STREAM_DATA, random_site("batch"), (uint32_t)(epoch * l->steps + step));
    for (int r = 0; r < batch->rows; r++)
        batch->indices[r] = l->order[position_of(l, step, rows, r)];
    for (int r = 0; batch->place && r < batch->rows; r++)
        batch->place[r] = order_batch_row(rows, l->options.rank, l->options.ranks, r);
    return batch->rows;
}

static bool shares_are_pairs(const LoaderOptions *o, Error *e)
{
    const OrderOptions order = {o->dataset->count, o->shuffle, o->repeats, o->seed};
    int64_t last = order_length(&order) % o->batch_size, pairs = 2 * (int64_t)o->ranks;
    if (o->batch_size % pairs)
        return error_set(e,
                         "train.batch_size is %d, expected a multiple of %lld for %d ranks: each takes pairs of rows",
                         o->batch_size, (long long)pairs, o->ranks);
    return o->drop_last || last % pairs == 0 ||
           error_set(e,
                     "the last batch of an epoch has %lld samples, expected a multiple of %lld for %d ranks: use "
                     "train.drop_last=yes",
                     (long long)last, (long long)pairs, o->ranks);
}

static bool options_make_batches(const LoaderOptions *o, Error *e)
{
    const Dataset *d = o->dataset;
    if (o->batch_size < 1)
        return error_set(e, "batch size %d, expected at least 1", o->batch_size);
    if (o->ranks > 1 && !shares_are_pairs(o, e))
        return false;
    if (o->repeats > 1 && d->count < 256)
        return error_set(e, "repeated augmentation makes epochs of multiples of 256 samples, the data set has %lld",
                         (long long)d->count);
    if (d->count < (o->drop_last ? o->batch_size : 1))
        return error_set(e, "the data set has %lld samples, fewer than a batch of %d", (long long)d->count,
                         o->drop_last ? o->batch_size : 1);
    return transform_fits(&o->transform, d->width, d->height, e);
}

static void slots_new(Loader *l)
{
    size_t rows = (size_t)(l->options.batch_size / l->options.ranks);
    size_t bytes = rows * row_bytes(l);
    l->slots = mem_new((size_t)l->slot_count * sizeof *l->slots);
    for (int s = 0; s < l->slot_count; s++) {
        Slot *slot = &l->slots[s];
        slot->batch.channels = l->options.dataset->channels;
        slot->batch.size = l->options.transform.size;
        slot->batch.transform = &l->options.transform;
        slot->batch.pixels = aligned_alloc(64, (bytes + 63) / 64 * 64);
        if (!slot->batch.pixels)
            user_fatal("out of memory: a batch of %zu images needs %zu bytes (lower train.batch_size)", rows, bytes);
        if (transform_erases(&l->options.transform))
            slot->batch.erasures = mem_new(rows * sizeof *slot->batch.erasures);
        slot->batch.labels = mem_new(rows * sizeof *slot->batch.labels);
        slot->batch.indices = mem_new(rows * sizeof *slot->batch.indices);
        slot->batch.place = l->options.ranks > 1 ? mem_new(rows * sizeof *slot->batch.place) : NULL;
        slot->errors = mem_new(rows * sizeof *slot->errors);
        slot->failed = mem_new(rows * sizeof *slot->failed);
    }
}

Loader *loader_open(const LoaderOptions *options, Error *e)
{
    contract(options->ranks <= 1 || options->rank < options->ranks, "loader_open: rank %d of %d", options->rank,
             options->ranks);
    if (!options_make_batches(options, e))
        return NULL;
    Loader *l = mem_new(sizeof *l);
    l->options = *options;
    l->options.ranks = MAX(options->ranks, 1);
    dataset_share(l->options.dataset);
    l->order_options = (OrderOptions){options->dataset->count, options->shuffle, options->repeats, options->seed};
    int64_t length = order_length(&l->order_options), batch = options->batch_size;
    l->steps = options->drop_last ? length / batch : (length + batch - 1) / batch;
    l->permutation = mem_new((size_t)options->dataset->count * sizeof *l->permutation);
    l->order = mem_new((size_t)length * sizeof *l->order);
    l->order_epoch = -1;
    l->slot_count = prefetch_slots(options->ahead);
    slots_new(l);
    l->workers = mem_new((size_t)MAX(options->threads, 1) * sizeof *l->workers);
    l->prefetch = prefetch_new(&(PrefetchOptions){options->batch_size, options->threads, options->ahead, l->steps,
                                                  options->epochs, l, begin_batch, make_row},
                               e);
    if (l->prefetch)
        return l;
    loader_close(l);
    return NULL;
}

void loader_close(Loader *l)
{
    if (!l)
        return;
    prefetch_free(l->prefetch);
    for (int i = 0; i < MAX(l->options.threads, 1); i++) {
        sample_free(&l->workers[i].sample);
        transform_scratch_free(&l->workers[i].scratch);
    }
    for (int s = 0; s < l->slot_count; s++) {
        Slot *slot = &l->slots[s];
        free(slot->batch.pixels);
        mem_free(slot->batch.erasures);
        mem_free(slot->batch.labels);
        mem_free(slot->batch.indices);
        mem_free(slot->batch.place);
        mem_free(slot->errors);
        mem_free(slot->failed);
    }
    dataset_close(l->options.dataset);
    mem_free(l->slots);
    mem_free(l->workers);
    mem_free(l->permutation);
    mem_free(l->order);
    mem_free(l);
}

int64_t loader_steps(const Loader *l)
{
    return l->steps;
}

void loader_start(Loader *l, int64_t epoch, int64_t step)
{
    contract(epoch >= 0 && step >= 0 && step < l->steps, "loader_start: step %lld of %lld", (long long)step,
             (long long)l->steps);
    prefetch_start(l->prefetch, epoch, step);
}

/* Takes row `from` to row `to`, in front of it. */
static void move_row(const Loader *l, Batch *batch, int from, int to)
{
    size_t bytes = row_bytes(l);
    memcpy(batch->pixels + (size_t)to * bytes, batch->pixels + (size_t)from * bytes, bytes);
    if (batch->erasures)
        batch->erasures[to] = batch->erasures[from];
    batch->labels[to] = batch->labels[from];
    batch->indices[to] = batch->indices[from];
}

/* Looks at the rows that failed, in order. */
static bool settle(const Loader *l, Slot *slot, Error *e)
{
    Batch *batch = &slot->batch;
    int kept = 0;
    batch->corrupt = 0;
    for (int r = 0; r < batch->rows; r++) {
        bool usable = batch->labels[r] >= 0;
        if (slot->failed[r]) {
            if (!usable && l->options.on_corrupt != CORRUPT_LEAVE_OUT)
                return error_set(e, "%s", slot->errors[r].text);
            if (batch->corrupt++ == 0)
                batch->corrupt_line = slot->errors[r];
        }
        if (usable && kept++ < r)
            move_row(l, batch, r, kept - 1);
    }
    batch->rows = kept;
    return true;
}

const Batch *loader_next(Loader *l, Error *e)
{
    Slot *slot = &l->slots[prefetch_next(l->prefetch)];
    return settle(l, slot, e) ? &slot->batch : NULL;
}

double loader_waited(const Loader *l)
{
    return prefetch_waited(l->prefetch);
}
