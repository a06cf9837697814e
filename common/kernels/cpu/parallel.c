#include "common/kernels/cpu/parallel.h"

#include "common/base/memory.h"

#include <omp.h>
#include <stdatomic.h>

/* Waking a sleeping thread costs some ten microseconds, in which one core moves about this much. */
enum { BYTES_WORTH_A_THREAD = 128 << 10 };

/* A thread's share of the pieces, on a cache line of its own: `next` is raised by whoever takes a piece. */
typedef struct Share {
    _Alignas(64) _Atomic int64_t next;
    int64_t end;
} Share;

enum { SHARES = 64 }; /* with more threads, several begin with one */

typedef struct Work {
    Share shares[SHARES];
    int used;
    int64_t count, piece;
    Piece *run;
    const void *job;
} Work;

/* Its own share first, which it also had in the call before and may find in its cache; then what others have not come to. */
static void work_through(Work *w)
{
    int own = omp_get_thread_num();
    for (int i = 0; i < w->used; i++) {
        Share *share = &w->shares[(own + i) % w->used];
        for (int64_t p; share->next < share->end && (p = share->next++) < share->end;)
            w->run(w->job, p * w->piece, MIN((p + 1) * w->piece, w->count));
    }
}

void parallel_pieces(const Exec *exec, int64_t count, int64_t piece, int64_t bytes, Piece *run, const void *job)
{
    int64_t pieces = (count + piece - 1) / piece;
    if (exec->threads < 2 || pieces < 2 || bytes < 2 * BYTES_WORTH_A_THREAD) {
        for (int64_t i = 0; i < count; i += piece)
            run(job, i, MIN(i + piece, count));
        return;
    }
    Work w;
    w.used = MIN(exec->threads, SHARES), w.count = count, w.piece = piece, w.run = run, w.job = job;
    for (int i = 0; i < w.used; i++) {
        atomic_init(&w.shares[i].next, i * pieces / w.used);
        w.shares[i].end = (i + 1) * pieces / w.used;
    }
#pragma omp parallel num_threads(exec->threads)
    work_through(&w);
}
