/* Graphs of the emulator: what is captured happens when it is launched, and what CUDA forbids meanwhile is seen. */
#include "tests/cuda_emulation/faults.h"

__global__ void add_to(float *x, float value)
{
    x[threadIdx.x] += value;
}

enum { GRAPH_FLOATS = 4, GRAPH_BYTES = GRAPH_FLOATS * sizeof(float) };

/* What the tests of graphs work on: x += value in a stream of its own, and more. */
typedef struct Captured {
    cudaStream_t stream;
    Exec exec;
    float *x, *y; /* on the device */
    float *host;
    cudaEvent_t event; /* recorded before any capture */
} Captured;

static Captured begin_capture(cudaStreamCaptureMode mode)
{
    Captured c = {};
    assert_int_equal(cudaStreamCreateWithFlags(&c.stream, cudaStreamNonBlocking), cudaSuccess);
    assert_int_equal(cudaEventCreate(&c.event), cudaSuccess);
    assert_int_equal(cudaEventRecord(c.event, c.stream), cudaSuccess);
    assert_int_equal(cudaMallocHost(&c.host, GRAPH_BYTES), cudaSuccess);
    memset(c.host, 0, GRAPH_BYTES);
    c.x = device_floats(GRAPH_FLOATS);
    c.y = device_floats(GRAPH_FLOATS);
    c.exec.stream = c.stream;
    assert_int_equal(cudaStreamBeginCapture(c.stream, mode), cudaSuccess);
    return c;
}

static cudaGraph_t end_capture(const Captured *c)
{
    cudaGraph_t graph;
    assert_int_equal(cudaStreamEndCapture(c->stream, &graph), cudaSuccess);
    return graph;
}

static cudaGraphExec_t made_of(cudaGraph_t graph)
{
    cudaGraphExec_t exec;
    assert_int_equal(cudaGraphInstantiateWithFlags(&exec, graph, 0), cudaSuccess);
    assert_int_equal(cudaGraphDestroy(graph), cudaSuccess);
    return exec;
}

static void expect_on_device(const float *device, float value)
{
    float got;
    assert_int_equal(cudaMemcpy(&got, device, sizeof got, cudaMemcpyDeviceToHost), cudaSuccess);
    if (got != value)
        fail_msg("%g on the device, not %g", (double)got, (double)value);
}

static void give_back(const Captured *c, cudaGraphExec_t exec)
{
    if (exec)
        cudaGraphExecDestroy(exec);
    cudaFree(c->x);
    cudaFree(c->y);
    cudaFreeHost(c->host);
    cudaEventDestroy(c->event);
    cudaStreamDestroy(c->stream);
}

/* exec takes over what is captured. */
static cudaError_t take_over(const Captured *c, cudaGraphExec_t exec, cudaGraphExecUpdateResult *result)
{
    cudaGraphExecUpdateResultInfo info;
    cudaGraph_t graph = end_capture(c);
    cudaError_t status = cudaGraphExecUpdate(exec, graph, &info);
    *result = info.result;
    cudaGraphDestroy(graph);
    return status;
}

static void add_and_copy(const Captured *c, float value)
{
    LAUNCH(add_to, 1, GRAPH_FLOATS, 0, &c->exec, c->x, value);
    cudaMemcpyAsync(c->y, c->x, GRAPH_BYTES, cudaMemcpyDeviceToDevice, c->stream);
}

static void graphs_do_later_what_was_captured(void **)
{
    Captured c = begin_capture(cudaStreamCaptureModeRelaxed);
    size_t nodes;
    add_and_copy(&c, 1);
    cudaGraph_t graph = end_capture(&c);
    assert_int_equal(cudaGraphGetNodes(graph, NULL, &nodes), cudaSuccess);
    assert_int_equal(nodes, 2);
    cudaGraphExec_t exec = made_of(graph);
    expect_on_device(c.x, 0);
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(cudaGraphLaunch(exec, c.stream), cudaSuccess);
        expect_on_device(c.y, (float)i);
    }
    cudaStreamBeginCapture(c.stream, cudaStreamCaptureModeRelaxed);
    add_and_copy(&c, 10);
    cudaGraphExecUpdateResult result;
    assert_int_equal(take_over(&c, exec, &result), cudaSuccess);
    expect_on_device(c.x, 2);
    assert_int_equal(cudaGraphLaunch(exec, c.stream), cudaSuccess);
    expect_on_device(c.y, 12);
    assert_int_equal(cudaStreamSynchronize(c.stream), cudaSuccess);
    give_back(&c, exec);
}

static void a_copy_reads_when_it_is_launched(void **)
{
    Captured c = begin_capture(cudaStreamCaptureModeRelaxed);
    c.host[0] = 1;
    cudaMemcpyAsync(c.x, c.host, GRAPH_BYTES, cudaMemcpyHostToDevice, c.stream);
    cudaGraphExec_t exec = made_of(end_capture(&c));
    for (int i = 1; i <= 2; i++) {
        c.host[0] = (float)i;
        cudaGraphLaunch(exec, c.stream);
        expect_on_device(c.x, (float)i);
    }
    give_back(&c, exec);
}

/* A third node; one of another kind; a copy from another kind of memory. */
static void what_is_shaped_otherwise_is_refused(void **)
{
    Captured c = begin_capture(cudaStreamCaptureModeRelaxed);
    cudaGraphExecUpdateResult result;
    add_and_copy(&c, 1);
    cudaGraphExec_t exec = made_of(end_capture(&c));
    cudaGraphExecUpdateResult expected[] = {cudaGraphExecUpdateErrorTopologyChanged,
                                            cudaGraphExecUpdateErrorNodeTypeChanged,
                                            cudaGraphExecUpdateErrorParametersChanged};
    for (int i = 0; i < 3; i++) {
        cudaStreamBeginCapture(c.stream, cudaStreamCaptureModeRelaxed);
        LAUNCH(add_to, 1, GRAPH_FLOATS, 0, &c.exec, c.x, 1);
        if (i == 1)
            cudaMemsetAsync(c.y, 0, GRAPH_BYTES, c.stream);
        else
            cudaMemcpyAsync(c.y, i == 0 ? c.x : c.host, GRAPH_BYTES,
                            i == 0 ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice, c.stream);
        if (i == 0)
            cudaMemsetAsync(c.y, 0, GRAPH_BYTES, c.stream);
        assert_int_equal(take_over(&c, exec, &result), cudaErrorGraphExecUpdateFailure);
        assert_int_equal(result, expected[i]);
    }
    cudaGraphLaunch(exec, c.stream); /* as it was */
    expect_on_device(c.y, 1);
    give_back(&c, exec);
}

enum Forbidden {
    WAIT_FOR_STREAM,
    WAIT_FOR_DEVICE,
    WAIT_FOR_CAPTURED_EVENT,
    WAIT_FOR_OUTSIDE,
    COPY_AND_WAIT,
    ALLOCATE_IN_STREAM,
    FREE,
    ALLOCATE, /* unless the capture is relaxed */
    FORBIDDEN
};

static cudaError_t do_forbidden(Forbidden what, const Captured *c)
{
    void *memory = NULL;
    switch (what) {
    case WAIT_FOR_STREAM:
        return cudaStreamSynchronize(c->stream);
    case WAIT_FOR_DEVICE:
        return cudaDeviceSynchronize();
    case WAIT_FOR_CAPTURED_EVENT:
        assert_int_equal(cudaEventSynchronize(c->event), cudaSuccess);
        cudaEventRecord(c->event, c->stream);
        return cudaEventSynchronize(c->event);
    case WAIT_FOR_OUTSIDE:
        return cudaStreamWaitEvent(c->stream, c->event, 0);
    case COPY_AND_WAIT:
        return cudaMemcpy(c->host, c->x, GRAPH_BYTES, cudaMemcpyDeviceToHost);
    case ALLOCATE_IN_STREAM:
        return cudaMallocAsync(&memory, 4, c->stream);
    case FREE:
        return cudaFree(c->y);
    default:
        return cudaMalloc(&memory, 4);
    }
}

static void what_breaks_a_capture_is_said(void **)
{
    for (int what = 0; what <= FORBIDDEN; what++) {
        bool strict = what == ALLOCATE, allowed = what == FORBIDDEN;
        Captured c = begin_capture(strict ? cudaStreamCaptureModeGlobal : cudaStreamCaptureModeRelaxed);
        add_and_copy(&c, 1);
        cudaError_t said = do_forbidden((Forbidden)what, &c);
        cudaGraph_t graph;
        cudaError_t ended = cudaStreamEndCapture(c.stream, &graph);
        if ((said == cudaSuccess) != allowed || (ended == cudaSuccess) != allowed || (graph != NULL) != allowed)
            fail_msg("call %d: %s, and then: %s", what, cudaGetErrorString(said), cudaGetErrorString(ended));
        expect_on_device(c.x, 0);
        if (graph)
            cudaGraphDestroy(graph);
        give_back(&c, NULL);
    }
}

/* ---- Planted faults: what CUDA would say nothing about */

static void host_memory_reused(int)
{
    Captured c = begin_capture(cudaStreamCaptureModeRelaxed);
    cudaMemcpyAsync(c.x, c.host, GRAPH_BYTES, cudaMemcpyHostToDevice, c.stream);
    cudaGraphExec_t exec = made_of(end_capture(&c));
    c.host[1] = 7;
    cudaGraphLaunch(exec, c.stream);
}

static void device_memory_reused(int)
{
    Captured c = begin_capture(cudaStreamCaptureModeRelaxed);
    cudaMemcpyAsync(c.y, c.x, GRAPH_BYTES, cudaMemcpyDeviceToDevice, c.stream);
    cudaMemcpyAsync(c.x + 1, c.host, sizeof(float), cudaMemcpyHostToDevice, NULL);
}

static void host_memory_given_back(int)
{
    Captured c = begin_capture(cudaStreamCaptureModeRelaxed);
    cudaMemcpyAsync(c.host, c.x, GRAPH_BYTES, cudaMemcpyDeviceToHost, c.stream);
    cudaFreeHost(c.host);
}

static void another_stream_joins(int)
{
    Captured c = begin_capture(cudaStreamCaptureModeRelaxed);
    cudaStream_t other;
    cudaStreamCreate(&other);
    cudaEventRecord(c.event, c.stream);
    cudaStreamWaitEvent(other, c.event, 0);
}

static const Planted planted[] = {
    {"host memory reused", host_memory_reused, 0, ALL_BUILDS, "of the host changed between the capture"},
    {"device memory reused", device_memory_reused, 0, ALL_BUILDS, "are overwritten before the captured copy"},
    {"host memory given back", host_memory_given_back, 0, ALL_BUILDS, "is given back before the captured copy"},
    {"another stream joins", another_stream_joins, 0, ALL_BUILDS, "a second stream joins a capture"},
};

static void planted_faults_are_found(void **)
{
    check_planted(planted, sizeof planted / sizeof *planted);
}

int main(int arguments, char **argument)
{
    run_planted(planted, arguments, argument);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(graphs_do_later_what_was_captured),
        cmocka_unit_test(a_copy_reads_when_it_is_launched),
        cmocka_unit_test(what_is_shaped_otherwise_is_refused),
        cmocka_unit_test(what_breaks_a_capture_is_said),
        cmocka_unit_test(planted_faults_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
