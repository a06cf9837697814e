/* Streams, events and graphs. What a stream is given is done when the call returns; while the stream is being captured it is kept,
 * with its arguments, until a graph of it is launched. What CUDA forbids meanwhile breaks the capture, as there, or ends the
 * process where CUDA would compute something else and say nothing. */
#include <cuda_runtime.h>

#include "tests/cuda_emulation/internal.h"

#include <algorithm>
#include <time.h>
#include <vector>

struct EmulatedStream {
    uint64_t capture; /* its number; 0: is not being captured */
    bool relaxed, broken;
    std::vector<EmulatedWork> kept;
};
struct EmulatedEvent {
    struct timespec when;
    uint64_t capture; /* in which it was recorded last, or 0 */
};
struct EmulatedGraph {
    std::vector<EmulatedWork> nodes;
};
struct EmulatedGraphExec {
    std::vector<EmulatedWork> nodes;
    bool fresh; /* not launched since it got its nodes' arguments */
};

static std::vector<EmulatedStream *> captured;
static uint64_t captures;

/* ---- Streams */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    *stream = new EmulatedStream();
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return cudaStreamCreateWithFlags(stream, 0);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    captured.erase(std::remove(captured.begin(), captured.end(), stream), captured.end());
    delete stream;
    return cudaSuccess;
}

bool emulated_captures(const EmulatedStream *stream)
{
    return stream && stream->capture;
}

bool emulated_breaks_captures(bool relaxed)
{
    bool any = false;
    for (EmulatedStream *stream : captured)
        if (!relaxed || !stream->relaxed)
            any = stream->broken = true;
    return any;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    if (!emulated_captures(stream))
        return cudaSuccess;
    stream->broken = true;
    return cudaErrorStreamCaptureUnsupported;
}

cudaError_t cudaDeviceSynchronize(void)
{
    return emulated_breaks_captures(false) ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}

/* ---- Work */

static bool overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    return (const char *)a < (const char *)b + b_bytes && (const char *)b < (const char *)a + a_bytes;
}

/* A captured copy waits for its launch, and what it should read then is overwritten by somebody who does not wait for it. */
static void check_sources(const EmulatedWork *now)
{
    for (const EmulatedStream *stream : captured)
        for (const EmulatedWork &kept : stream->kept)
            if (kept.kind == EmulatedWork::COPY && overlap(kept.from, kept.bytes, now->to, now->bytes))
                emulated_fail("%zu bytes at %p are overwritten before the captured copy that reads them was launched",
                              kept.bytes, kept.from);
}

void emulated_forget(const void *memory, size_t bytes)
{
    for (const EmulatedStream *stream : captured)
        for (const EmulatedWork &kept : stream->kept)
            if (kept.kind == EmulatedWork::COPY &&
                (overlap(kept.from, kept.bytes, memory, bytes) || overlap(kept.to, kept.bytes, memory, bytes)))
                emulated_fail("memory at %p is given back before the captured copy that needs it was launched", memory);
}

/* Of the host's memory that a copy reads; else 0. */
static uint64_t sum_of(const EmulatedWork *w)
{
    uint64_t sum = 1;
    if (w->kind != EmulatedWork::COPY || w->direction != cudaMemcpyHostToDevice)
        return 0;
    for (size_t i = 0; i < w->bytes; i++)
        sum = (sum ^ ((const unsigned char *)w->from)[i]) * 0x100000001b3u;
    return sum;
}

void emulated_do(EmulatedStream *stream, EmulatedWork work)
{
    if (emulated_captures(stream)) {
        work.seen = sum_of(&work);
        stream->kept.push_back(std::move(work));
        return;
    }
    check_sources(&work);
    work.run();
}

/* ---- Events */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    *event = new EmulatedEvent();
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, 0);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    event->capture = stream ? stream->capture : 0;
    clock_gettime(CLOCK_MONOTONIC, &event->when);
    return cudaSuccess;
}

/* What was recorded in a capture never happens by itself. */
static cudaError_t asked_after(cudaEvent_t event)
{
    if (!event->capture)
        return cudaSuccess;
    for (EmulatedStream *stream : captured)
        stream->broken = stream->broken || stream->capture == event->capture;
    return cudaErrorCapturedEvent;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    return asked_after(event);
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    return asked_after(event);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to)
{
    *milliseconds = (float)((double)(to->when.tv_sec - from->when.tv_sec) * 1e3 +
                            (double)(to->when.tv_nsec - from->when.tv_nsec) * 1e-6);
    return from->capture || to->capture ? cudaErrorCapturedEvent : cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    uint64_t capture = stream ? stream->capture : 0;
    if (capture == event->capture)
        return cudaSuccess;
    if (capture)
        stream->broken = true;
    else if (std::any_of(captured.begin(), captured.end(), [=](auto *s) { return s->capture == event->capture; }))
        emulated_fail("a second stream joins a capture: not emulated");
    return cudaErrorStreamCaptureIsolation;
}

/* ---- Graphs */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode)
{
    if (!stream || stream->capture)
        return cudaErrorInvalidValue;
    stream->capture = ++captures;
    stream->relaxed = mode == cudaStreamCaptureModeRelaxed;
    stream->broken = false;
    captured.push_back(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    *graph = NULL;
    if (!emulated_captures(stream))
        return cudaErrorInvalidValue;
    std::vector<EmulatedWork> nodes;
    nodes.swap(stream->kept);
    stream->capture = 0;
    captured.erase(std::remove(captured.begin(), captured.end(), stream), captured.end());
    if (stream->broken)
        return cudaErrorStreamCaptureInvalidated;
    *graph = new EmulatedGraph{nodes};
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count)
{
    if (nodes)
        return cudaErrorInvalidValue; /* not emulated */
    *count = graph->nodes.size();
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    *exec = new EmulatedGraphExec{graph->nodes, true};
    return cudaSuccess;
}

static cudaGraphExecUpdateResult compare(const EmulatedGraphExec *exec, const EmulatedGraph *graph)
{
    if (exec->nodes.size() != graph->nodes.size())
        return cudaGraphExecUpdateErrorTopologyChanged;
    for (size_t i = 0; i < graph->nodes.size(); i++) {
        if (exec->nodes[i].kind != graph->nodes[i].kind)
            return cudaGraphExecUpdateErrorNodeTypeChanged;
        if (exec->nodes[i].direction != graph->nodes[i].direction)
            return cudaGraphExecUpdateErrorParametersChanged;
    }
    return cudaGraphExecUpdateSuccess;
}

/* Nodes follow each other: as many, of the same kinds, copies between the same kinds of memory. Kernels may be others, as since
 * CUDA 11.2. */
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo *info)
{
    *info = {compare(exec, graph), NULL, NULL};
    if (info->result != cudaGraphExecUpdateSuccess)
        return cudaErrorGraphExecUpdateFailure;
    exec->nodes = graph->nodes;
    exec->fresh = true;
    return cudaSuccess;
}

/* Stricter than CUDA: by its first launch a graph finds the host's memory as it was captured. */
static void check_host_memory(const EmulatedGraphExec *exec)
{
    for (const EmulatedWork &node : exec->nodes)
        if (node.seen != sum_of(&node))
            emulated_fail("%zu bytes at %p of the host changed between the capture of their copy and its launch",
                          node.bytes, node.from);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    if (emulated_captures(stream))
        return cudaErrorInvalidValue; /* a graph in a graph: not emulated */
    if (exec->fresh)
        check_host_memory(exec);
    exec->fresh = false;
    for (const EmulatedWork &node : exec->nodes)
        node.run();
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}
