/* NCCL as a device's transport: sums of memory on GPUs, on a stream of their own beside the kernels'. A shared object of its own,
 * and the only file that knows NCCL. It has been compiled and linked; no machine with two GPUs has run it yet. */
#include "common/comm/transport.h"

#include <cuda_runtime_api.h>
#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(ncclUniqueId) == MEETING_BYTES, "NCCL's id has another size");

typedef struct Nccl {
    ncclComm_t comm;
    cudaStream_t stream;
    cudaEvent_t ready; /* what the kernels' stream had to do before the sum */
} Nccl;

static bool succeeds(ncclResult_t result, const char *what, Error *e)
{
    if (result != ncclSuccess)
        snprintf(e->text, sizeof e->text, "NCCL: %s: %s", what, ncclGetErrorString(result));
    return result == ncclSuccess;
}

static bool cuda_succeeds(cudaError_t result, const char *what, Error *e)
{
    if (result != cudaSuccess)
        snprintf(e->text, sizeof e->text, "CUDA beside NCCL: %s: %s", what, cudaGetErrorString(result));
    return result == cudaSuccess;
}

/* Nobody can hand on what fails in the middle of a step. */
static void must(bool succeeded, const Error *e)
{
    if (succeeded)
        return;
    fprintf(stderr, "%s\n", e->text);
    exit(2);
}

static void sum(void *own, float *x, int64_t count, void *stream, Exchange *under_way)
{
    Nccl *n = own;
    Error e;
    cudaEvent_t done = under_way->request[0];
    if (!done)
        must(cuda_succeeds(cudaEventCreateWithFlags(&done, cudaEventDisableTiming), "an event", &e), &e);
    under_way->request[0] = done;
    must(cuda_succeeds(cudaEventRecord(n->ready, stream), "an event", &e), &e);
    must(cuda_succeeds(cudaStreamWaitEvent(n->stream, n->ready, 0), "waiting for kernels", &e), &e);
    must(succeeds(ncclAllReduce(x, x, (size_t)count, ncclFloat, ncclSum, n->comm, n->stream), "a sum", &e), &e);
    must(cuda_succeeds(cudaEventRecord(done, n->stream), "an event", &e), &e);
}

static bool over(void *own, Exchange *under_way)
{
    Nccl *n = own;
    Error e;
    ncclResult_t state;
    cudaError_t done = cudaEventQuery(under_way->request[0]);
    if (done == cudaErrorNotReady) {
        must(succeeds(ncclCommGetAsyncError(n->comm, &state), "a sum", &e) && succeeds(state, "a sum", &e), &e);
        return false;
    }
    must(cuda_succeeds(done, "a sum", &e), &e);
    return true;
}

static void close_nccl(void *own)
{
    Nccl *n = own;
    ncclCommDestroy(n->comm);
    cudaEventDestroy(n->ready);
    cudaStreamDestroy(n->stream);
    free(n);
}

__attribute__((visibility("default"))) NcclMeeting zoo_nccl_meeting;
__attribute__((visibility("default"))) NcclOpen zoo_nccl_open;

bool zoo_nccl_meeting(void *id, Error *e)
{
    ncclUniqueId made;
    if (!succeeds(ncclGetUniqueId(&made), "a meeting point", e))
        return false;
    memcpy(id, &made, sizeof made);
    return true;
}

bool zoo_nccl_open(Transport *t, const void *id, Error *e)
{
    Nccl *n = calloc(1, sizeof *n);
    ncclUniqueId meeting;
    memcpy(&meeting, id, sizeof meeting);
    if (!n || !cuda_succeeds(cudaStreamCreateWithFlags(&n->stream, cudaStreamNonBlocking), "a stream", e) ||
        !cuda_succeeds(cudaEventCreateWithFlags(&n->ready, cudaEventDisableTiming), "an event", e) ||
        !succeeds(ncclCommInitRank(&n->comm, t->ranks, meeting, t->rank), "ranks do not meet", e)) {
        free(n);
        return false;
    }
    *t = (Transport){
        .name = "NCCL", .rank = t->rank, .ranks = t->ranks, .own = n, .over = over, .close = close_nccl, .sum = sum};
    return true;
}
