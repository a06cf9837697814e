#include "common/data/prefetch.h"

#include "common/base/clock.h"
#include "common/base/memory.h"

#include <pthread.h>
#include <signal.h>

/* A batch in the making. */
typedef struct Slot {
    int rows, pieces_left;
} Slot;

typedef struct Worker {
    Prefetch *prefetch;
    pthread_t thread;
    int number;
} Worker;

struct Prefetch {
    PrefetchOptions options;
    Slot *slots;
    int slot_count, piece_rows;
    Worker *workers; /* [max(threads, 1)] */
    double waited;

    /* All below is guarded by the lock. Batches are numbered 0, 1, 2, ... from the last prefetch_start on; batch b lives in
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

int prefetch_slots(int ahead)
{
    return (ahead > 0 ? ahead : 2) + 1;
}

/* Lock held: the first piece of a batch is about to be given out. */
static void begin_batch(Prefetch *p, int64_t batch)
{
    int number = (int)(batch % p->slot_count);
    Slot *slot = &p->slots[number];
    slot->rows = p->options.begin(p->options.own, number, p->claim_epoch, p->claim_step);
    slot->pieces_left = (slot->rows + p->piece_rows - 1) / p->piece_rows;
    if (++p->claim_step == p->options.steps) {
        p->claim_step = 0;
        p->claim_epoch++;
    }
}

/* The consumer may still look at batch taken - 1. */
static bool claimable(const Prefetch *p)
{
    if (p->held || p->claimed >= p->taken + p->slot_count - (p->taken > 0))
        return false;
    return p->claimed_piece > 0 || p->options.epochs == 0 || p->claim_epoch < p->options.epochs;
}

/* Lock held and claimable: makes one piece, without the lock. */
static void make_piece(Prefetch *p, const Worker *w)
{
    if (p->claimed_piece == 0)
        begin_batch(p, p->claimed);
    int number = (int)(p->claimed % p->slot_count);
    Slot *slot = &p->slots[number];
    int first = p->claimed_piece++ * p->piece_rows, end = MIN(first + p->piece_rows, slot->rows);
    if (end == slot->rows) {
        p->claimed++;
        p->claimed_piece = 0;
    }
    p->busy++;
    pthread_mutex_unlock(&p->lock);
    for (int row = first; row < end; row++)
        p->options.make(p->options.own, w->number, number, row);
    pthread_mutex_lock(&p->lock);
    p->busy--;
    if (--slot->pieces_left == 0 || p->busy == 0)
        pthread_cond_broadcast(&p->done);
}

static void *work(void *argument)
{
    const Worker *w = argument;
    Prefetch *p = w->prefetch;
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        if (claimable(p))
            make_piece(p, w);
        else
            pthread_cond_wait(&p->work, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Signals are for the main thread, which knows how to end a run. */
static bool threads_start(Prefetch *p, Error *e)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int started = 0;
    while (started < p->options.threads &&
           !pthread_create(&p->workers[started].thread, NULL, work, &p->workers[started]))
        started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    bool good = started == p->options.threads;
    p->options.threads = started;
    return good || error_set(e, "thread %d for loading data cannot be started", started + 1);
}

Prefetch *prefetch_new(const PrefetchOptions *options, Error *e)
{
    Prefetch *p = mem_new(sizeof *p);
    p->options = *options;
    p->slot_count = prefetch_slots(options->ahead);
    p->slots = mem_new((size_t)p->slot_count * sizeof *p->slots);
    p->piece_rows = MIN(16, (options->rows + 3) / 4);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    int workers = MAX(options->threads, 1);
    p->workers = mem_new((size_t)workers * sizeof *p->workers);
    for (int i = 0; i < workers; i++)
        p->workers[i] = (Worker){.prefetch = p, .number = i};
    if (threads_start(p, e))
        return p;
    prefetch_free(p);
    return NULL;
}

void prefetch_free(Prefetch *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->options.threads; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->lock);
    mem_free(p->slots);
    mem_free(p->workers);
    mem_free(p);
}

void prefetch_start(Prefetch *p, int64_t epoch, int64_t step)
{
    pthread_mutex_lock(&p->lock);
    p->held = true;
    while (p->busy)
        pthread_cond_wait(&p->done, &p->lock);
    p->claimed = p->taken = 0;
    p->claimed_piece = 0;
    p->claim_epoch = epoch;
    p->claim_step = step;
    p->held = false;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
}

int prefetch_next(Prefetch *p)
{
    double start = clock_seconds();
    pthread_mutex_lock(&p->lock);
    int64_t mine = p->taken++;
    int number = (int)(mine % p->slot_count);
    const Slot *slot = &p->slots[number];
    pthread_cond_broadcast(&p->work);
    while (p->claimed <= mine || slot->pieces_left) {
        contract(p->claimed > mine || claimable(p), "prefetch_next: asked beyond the last of %lld epochs",
                 (long long)p->options.epochs);
        if (p->options.threads == 0)
            make_piece(p, &p->workers[0]);
        else
            pthread_cond_wait(&p->done, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    p->waited += clock_seconds() - start;
    return number;
}

double prefetch_waited(const Prefetch *p)
{
    return p->waited;
}
