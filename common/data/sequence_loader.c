#include "common/data/sequence_loader.h"

#include "common/data/order.h"
#include "common/data/prefetch.h"

struct SequenceLoader {
    SequenceLoaderOptions options;
    OrderOptions order_options;
    int64_t steps, *permutation, *order,
        order_epoch; /* the order of the epoch that batches are begun of; NULL: as they lie */
    SequenceBatch *batches;
    int slot_count;
    Prefetch *prefetch;
};

Random sequence_random(uint32_t seed, int64_t epoch, int64_t place)
{
    return random_at(seed, STREAM_DATA, (uint32_t)place, (uint32_t)epoch);
}

/* The place of row r of this rank's share in its part of a batch of `rows` in all, and of that part in the batch. */
static int64_t place_of(const SequenceLoader *l, int64_t rows, int64_t r, int64_t *part)
{
    const SequenceLoaderOptions *o = &l->options;
    int64_t of_part = rows / o->parts, share = of_part / o->ranks;
    *part = r / share * of_part;
    return order_batch_row(of_part, o->rank, o->ranks, r % share);
}

/* The place of that row in its epoch. */
static int64_t position_of(const SequenceLoader *l, const SequenceBatch *batch, int64_t r)
{
    int64_t part, place = place_of(l, (int64_t)batch->rows * l->options.ranks, r, &part);
    return batch->step * l->options.batch_size + part + place;
}

static int begin_batch(void *own, int slot, int64_t epoch, int64_t step)
{
    SequenceLoader *l = own;
    if (l->order && l->order_epoch != epoch) {
        order_epoch(&l->order_options, (uint32_t)epoch, l->permutation, l->order);
        l->order_epoch = epoch;
    }
    SequenceBatch *batch = &l->batches[slot];
    batch->epoch = epoch;
    batch->step = step;
    int64_t rows = l->options.batch_size, part;
    if (!l->options.sequences->fresh)
        rows = MIN(rows, l->options.sequences->count - step * rows);
    batch->rows = (int)(rows / l->options.ranks);
    for (int r = 0; r < batch->rows; r++) {
        int64_t at = position_of(l, batch, r);
        batch->indices[r] = l->order ? l->order[at] : at;
        if (batch->place)
            batch->place[r] = place_of(l, rows, r, &part);
    }
    return batch->rows;
}

static void make_row(void *own, int worker, int slot, int r)
{
    const SequenceLoader *l = own;
    const Sequences *s = l->options.sequences;
    const SequenceBatch *batch = &l->batches[slot];
    (void)worker;
    Random random = sequence_random(l->options.seed, batch->epoch, position_of(l, batch, r));
    s->read(s, batch->indices[r], &random, batch->ids + r * s->length, batch->marks + r * s->length);
}

static void batches_new(SequenceLoader *l)
{
    size_t rows = (size_t)(l->options.batch_size / l->options.ranks), ids = rows * (size_t)l->options.sequences->length;
    l->batches = mem_new((size_t)l->slot_count * sizeof *l->batches);
    for (int i = 0; i < l->slot_count; i++) {
        l->batches[i].ids = mem_new(ids * sizeof *l->batches->ids);
        l->batches[i].marks = mem_new(ids * sizeof *l->batches->marks);
        l->batches[i].indices = mem_new(rows * sizeof *l->batches->indices);
        l->batches[i].place = l->options.ranks > 1 ? mem_new(rows * sizeof *l->batches->place) : NULL;
    }
}

SequenceLoader *sequence_loader_open(const SequenceLoaderOptions *options, Error *e)
{
    int64_t count = options->sequences->count, batch = options->batch_size;
    bool fresh = options->sequences->fresh;
    int64_t least = options->drop_last ? batch : 1, parts = MAX(options->parts, 1), ranks = MAX(options->ranks, 1);
    contract(ranks == 1 || (options->drop_last && options->rank < ranks), "sequence_loader_open: rank %d of %lld",
             options->rank, (long long)ranks);
    if (batch % (parts * ranks))
        return error_null(e, "train.batch_size is %lld, expected a multiple of %lld for %lld ranks%s", (long long)batch,
                          (long long)(parts * ranks), (long long)ranks, parts > 1 ? " and train.accumulate" : "");
    if (!fresh && count < least)
        return error_null(e, "the data makes %lld sequence%s, fewer than a batch of %lld", (long long)count,
                          count == 1 ? "" : "s", (long long)least);
    SequenceLoader *l = mem_new(sizeof *l);
    l->options = *options;
    l->options.parts = (int)parts;
    l->options.ranks = (int)ranks;
    l->order_options = (OrderOptions){.count = count, .shuffle = true, .seed = options->seed};
    l->order_epoch = -1;
    if (options->shuffle && !options->sequences->fresh) {
        l->permutation = mem_new((size_t)count * sizeof *l->permutation);
        l->order = mem_new((size_t)count * sizeof *l->order);
    }
    l->steps = fresh || options->drop_last ? MAX(count / batch, (int64_t)1) : (count + batch - 1) / batch;
    l->slot_count = prefetch_slots(options->ahead);
    batches_new(l);
    l->prefetch = prefetch_new(&(PrefetchOptions){options->batch_size, options->threads, options->ahead, l->steps,
                                                  options->epochs, l, begin_batch, make_row},
                               e);
    if (l->prefetch)
        return l;
    sequence_loader_close(l);
    return NULL;
}

void sequence_loader_close(SequenceLoader *l)
{
    if (!l)
        return;
    prefetch_free(l->prefetch);
    for (int i = 0; i < l->slot_count; i++) {
        mem_free(l->batches[i].ids);
        mem_free(l->batches[i].marks);
        mem_free(l->batches[i].indices);
        mem_free(l->batches[i].place);
    }
    mem_free(l->batches);
    mem_free(l->permutation);
    mem_free(l->order);
    mem_free(l);
}

int64_t sequence_loader_steps(const SequenceLoader *l)
{
    return l->steps;
}

void sequence_loader_start(SequenceLoader *l, int64_t epoch, int64_t step)
{
    contract(epoch >= 0 && step >= 0 && step < l->steps, "sequence_loader_start: step %lld of %lld", (long long)step,
             (long long)l->steps);
    prefetch_start(l->prefetch, epoch, step);
}

const SequenceBatch *sequence_loader_next(SequenceLoader *l)
{
    return &l->batches[prefetch_next(l->prefetch)];
}

double sequence_loader_waited(const SequenceLoader *l)
{
    return prefetch_waited(l->prefetch);
}
