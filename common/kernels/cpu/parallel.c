#include "common/kernels/cpu/parallel.h"

#include "common/base/memory.h"

/* Waking a sleeping thread costs some ten microseconds, in which one core moves about this much. */
enum { BYTES_WORTH_A_THREAD = 128 << 10 };

void parallel_pieces(const Exec *exec, int64_t count, int64_t piece, int64_t bytes, Piece *run, const void *job)
{
    int64_t pieces = (count + piece - 1) / piece;
    if (exec->threads < 2 || pieces < 2 || bytes < 2 * BYTES_WORTH_A_THREAD) {
        for (int64_t i = 0; i < count; i += piece)
            run(job, i, MIN(i + piece, count));
        return;
    }
#pragma omp parallel for num_threads(exec->threads) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        run(job, p * piece, MIN((p + 1) * piece, count));
}
