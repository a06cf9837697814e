#include "common/data/loader.h"

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/data/order.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

/* A batch in the making. Its rows are made in pieces, by whichever thread comes first; row r writes only its own place,
 * so the order in which pieces are made does not show. */
typedef struct Slot {
    Batch batch;
    int pieces_left;
    Error *errors; /* [batch_size], of the rows that failed */
    bool *failed;  /* [batch_size] */
} Slot;

/* What one thread needs to make a row. */
typedef struct Worker {
    Loader *loader;
    pthread_t thread;
    Sample sample;
    TransformScratch scratch;
} Worker;

struct Loader {
    LoaderOptions options;
    OrderOptions order_options;
    int64_t steps, *permutation, *order, order_epoch; /* the order of the epoch that batches are claimed from */

    Slot *slots;
    int slot_count, piece_rows;
    Worker *workers; /* [max(threads, 1)] */
    double waited;

    /* All below is guarded by the lock. Batches are numbered 0, 1, 2, ... from the last loader_start on; batch b lives in
     * slot b % slot_count. */
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    int64_t claimed;   /* the batch whose pieces are being given out */
    int claimed_piece; /* its next piece */
    int64_t claim_epoch, claim_step;
    int64_t taken;   /* batches given to the consumer */
    int busy;        /* pieces being made */
    bool stop, held; /* held: no new piece is given out */
};

static int64_t row_floats(const Loader *l)
{
    int64_t side = l->options.transform.size;
    return l->options.dataset->channels * side * side;
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
static void make_row(const Loader *l, Worker *w, Slot *slot, int r)
{
    Batch *batch = &slot->batch;
    int64_t wanted = batch->indices[r];
    int64_t position = position_of(l, batch->step, (int64_t)batch->rows * l->options.ranks, r);
    Random random = random_at(l->options.seed, STREAM_DATA, (uint32_t)position, (uint32_t)batch->epoch);
    float *out = batch->images + r * row_floats(l);
    Error *e = &slot->errors[r];
    bool good = read_sample(l, w, &batch->indices[r], e);
    if (good && !transform_apply(&l->options.transform, &w->sample.image, &random, &w->scratch, out, e))
        good = error_prefix(e, "sample %lld of the data set", (long long)batch->indices[r]);
    slot->failed[r] = !good || batch->indices[r] != wanted;
    batch->labels[r] = good ? w->sample.label : -1;
}

/* Lock held: the first piece of a batch is about to be given out. */
static void begin_batch(Loader *l, Slot *slot)
{
    if (l->order_epoch != l->claim_epoch) {
        order_epoch(&l->order_options, (uint32_t)l->claim_epoch, l->permutation, l->order);
        l->order_epoch = l->claim_epoch;
    }
    Batch *batch = &slot->batch;
    int64_t left = order_length(&l->order_options) - l->claim_step * l->options.batch_size;
    int64_t rows = MIN((int64_t)l->options.batch_size, left);
    batch->epoch = l->claim_epoch;
    batch->step = l->claim_step;
    batch->rows = (int)(rows / l->options.ranks);
    batch->random = random_at(l->options.seed, STREAM_DATA, random_site("batch"),
                              (uint32_t)(l->claim_epoch * l->steps + l->claim_step));
    for (int r = 0; r < batch->rows; r++)
        batch->indices[r] = l->order[position_of(l, batch->step, rows, r)];
    slot->pieces_left = (batch->rows + l->piece_rows - 1) / l->piece_rows;
    if (++l->claim_step == l->steps) {
        l->claim_step = 0;
        l->claim_epoch++;
    }
}

/* The consumer may still look at batch taken - 1. */
static bool claimable(const Loader *l)
{
    if (l->held || l->claimed >= l->taken + l->slot_count - (l->taken > 0))
        return false;
    return l->claimed_piece > 0 || l->options.epochs == 0 || l->claim_epoch < l->options.epochs;
}

/* Lock held and claimable: makes one piece, without the lock. */
static void make_piece(Loader *l, Worker *w)
{
    Slot *slot = &l->slots[l->claimed % l->slot_count];
    if (l->claimed_piece == 0)
        begin_batch(l, slot);
    int first = l->claimed_piece++ * l->piece_rows, end = MIN(first + l->piece_rows, slot->batch.rows);
    if (end == slot->batch.rows) {
        l->claimed++;
        l->claimed_piece = 0;
    }
    l->busy++;
    pthread_mutex_unlock(&l->lock);
    for (int r = first; r < end; r++)
        make_row(l, w, slot, r);
    pthread_mutex_lock(&l->lock);
    l->busy--;
    if (--slot->pieces_left == 0 || l->busy == 0)
        pthread_cond_broadcast(&l->done);
}

static void *work(void *argument)
{
    Worker *w = argument;
    Loader *l = w->loader;
    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        if (claimable(l))
            make_piece(l, w);
        else
            pthread_cond_wait(&l->work, &l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static bool options_make_batches(const LoaderOptions *o, Error *e)
{
    const Dataset *d = o->dataset;
    if (o->batch_size < 1)
        return error_set(e, "batch size %d, expected at least 1", o->batch_size);
    if (o->ranks > 1 && o->batch_size % (2 * o->ranks))
        return error_set(e, "train.batch_size is %d, expected a multiple of %d for %d ranks: each takes pairs of rows",
                         o->batch_size, 2 * o->ranks, o->ranks);
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
    size_t bytes = rows * (size_t)row_floats(l) * sizeof(float);
    l->slots = mem_new((size_t)l->slot_count * sizeof *l->slots);
    for (int s = 0; s < l->slot_count; s++) {
        Slot *slot = &l->slots[s];
        slot->batch.channels = l->options.dataset->channels;
        slot->batch.size = l->options.transform.size;
        slot->batch.images = aligned_alloc(64, (bytes + 63) / 64 * 64);
        if (!slot->batch.images)
            user_fatal("out of memory: a batch of %zu images needs %zu bytes (lower train.batch_size)", rows, bytes);
        slot->batch.labels = mem_new(rows * sizeof *slot->batch.labels);
        slot->batch.indices = mem_new(rows * sizeof *slot->batch.indices);
        slot->errors = mem_new(rows * sizeof *slot->errors);
        slot->failed = mem_new(rows * sizeof *slot->failed);
    }
}

/* Signals are for the main thread, which knows how to end a run. */
static bool threads_start(Loader *l, Error *e)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int started = 0;
    while (started < l->options.threads &&
           !pthread_create(&l->workers[started].thread, NULL, work, &l->workers[started]))
        started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    bool good = started == l->options.threads;
    l->options.threads = started;
    return good || error_set(e, "thread %d for loading data cannot be started", started + 1);
}

Loader *loader_open(const LoaderOptions *options, Error *e)
{
    contract(options->ranks <= 1 || (options->drop_last && options->rank < options->ranks),
             "loader_open: rank %d of %d", options->rank, options->ranks);
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
    l->slot_count = (options->ahead > 0 ? options->ahead : 2) + 1;
    l->piece_rows = MIN(16, (options->batch_size + 3) / 4);
    slots_new(l);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->done, NULL);
    int workers = MAX(options->threads, 1);
    l->workers = mem_new((size_t)workers * sizeof *l->workers);
    for (int i = 0; i < workers; i++)
        l->workers[i].loader = l;
    if (!threads_start(l, e)) {
        loader_close(l);
        return NULL;
    }
    return l;
}

void loader_close(Loader *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->options.threads; i++)
        pthread_join(l->workers[i].thread, NULL);
    for (int i = 0; i < MAX(l->options.threads, 1); i++) {
        sample_free(&l->workers[i].sample);
        transform_scratch_free(&l->workers[i].scratch);
    }
    for (int s = 0; s < l->slot_count; s++) {
        Slot *slot = &l->slots[s];
        free(slot->batch.images);
        mem_free(slot->batch.labels);
        mem_free(slot->batch.indices);
        mem_free(slot->errors);
        mem_free(slot->failed);
    }
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->done);
    pthread_mutex_destroy(&l->lock);
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
    pthread_mutex_lock(&l->lock);
    l->held = true;
    while (l->busy)
        pthread_cond_wait(&l->done, &l->lock);
    l->claimed = l->taken = 0;
    l->claimed_piece = 0;
    l->claim_epoch = epoch;
    l->claim_step = step;
    l->held = false;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
}

/* Takes row `from` to row `to`, in front of it. */
static void move_row(const Loader *l, Batch *batch, int from, int to)
{
    int64_t floats = row_floats(l);
    for (int64_t i = 0; i < floats; i++)
        batch->images[to * floats + i] = batch->images[from * floats + i];
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
    double start = clock_seconds();
    pthread_mutex_lock(&l->lock);
    int64_t mine = l->taken++;
    Slot *slot = &l->slots[mine % l->slot_count];
    pthread_cond_broadcast(&l->work);
    while (l->claimed <= mine || slot->pieces_left) {
        contract(l->claimed > mine || claimable(l), "loader_next: asked beyond the last of %lld epochs",
                 (long long)l->options.epochs);
        if (l->options.threads == 0)
            make_piece(l, &l->workers[0]);
        else
            pthread_cond_wait(&l->done, &l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    l->waited += clock_seconds() - start;
    return settle(l, slot, e) ? &slot->batch : NULL;
}

double loader_waited(const Loader *l)
{
    return l->waited;
}
