/* Memory on the GPU. Uploads go through pinned memory and a stream of their own, into a place on the device from which the
 * kernels' stream fetches them: the way over the bus runs while kernels of an earlier step still compute. */
#include "common/kernels/cuda/library.cuh"

enum { LEAST_SLOTS = 4, MOST_SLOTS = 64 };
static const size_t SLOT_BYTES = (size_t)4 << 20, UNIT = 256;

/* Of pinned memory and of the device's. One upload fills it, or, while a graph is captured, as many as have room: it is free again
 * when that graph has run. */
typedef struct Slot {
    char *pinned, *device;
    size_t used;
    uint64_t clock, step, graph; /* when it was taken; graph 0: outside of all */
    cudaEvent_t arrived;         /* on the device: the pinned half is free */
    cudaEvent_t fetched;         /* where it was wanted: the half on the device is free */
} Slot;

static Slot slots[MOST_SLOTS], *filling;
static int slot_count;
static uint64_t slot_clock;
static cudaStream_t uploads;

static cudaStream_t stream_of(const Exec *exec)
{
    return (cudaStream_t)exec->stream;
}

void *cuda_stream(void)
{
    static cudaStream_t stream;
    if (!stream)
        cuda_succeed(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
    return stream;
}

/* ZOO_CUDA_MANAGED=1: memory that the host may touch as well, as long as the GPU does nothing. For the tests of kernels, which look
 * at what they gave and got; launches must wait for their end then (CUDA_LAUNCH_BLOCKING=1). */
static bool managed(void)
{
    static int chosen = -1;
    if (chosen < 0)
        chosen = environment_switch("ZOO_CUDA_MANAGED");
    return chosen;
}

static void *take(size_t bytes)
{
    void *memory = NULL;
    graph_leave();
    cudaError_t status = managed() ? cudaMallocManaged(&memory, bytes ? bytes : 1)
                                   : cudaMallocAsync(&memory, bytes ? bytes : 1, (cudaStream_t)cuda_stream());
    if (status == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* the caller says it better */
        return NULL;
    }
    cuda_succeed(status, "%zu bytes of memory", bytes);
    return memory;
}

static void give(void *memory)
{
    if (!memory)
        return;
    graph_leave();
    cuda_succeed(managed() ? cudaFree(memory) : cudaFreeAsync(memory, (cudaStream_t)cuda_stream()),
                 "giving memory back");
}

/* ---- Uploads */

static Slot *add_slot(void)
{
    Slot *slot = &slots[slot_count++];
    cuda_succeed(cudaMallocHost((void **)&slot->pinned, SLOT_BYTES), "%zu bytes of pinned memory", SLOT_BYTES);
    cuda_succeed(cudaMalloc((void **)&slot->device, SLOT_BYTES), "%zu bytes of memory for uploads", SLOT_BYTES);
    cuda_succeed(cudaEventCreateWithFlags(&slot->arrived, cudaEventDisableTiming), "making an event");
    cuda_succeed(cudaEventCreateWithFlags(&slot->fetched, cudaEventDisableTiming), "making an event");
    return slot;
}

static Slot *oldest_slot(void)
{
    Slot *oldest = slots;
    for (Slot *slot = slots; slot < slots + slot_count; slot++)
        if (slot->clock < oldest->clock)
            oldest = slot;
    return oldest;
}

/* The graph that is being captured will read it. */
static bool is_held(const Slot *slot)
{
    return graph_capturing() && slot->graph == graph_number();
}

/* A captured step has slots of its own, and the one before it, so that uploads run while that one computes. Where there are not
 * enough, the graph ends here. */
static Slot *free_slot(void)
{
    Slot *slot = slot_count < LEAST_SLOTS ? add_slot() : oldest_slot();
    if (graph_capturing() && slot->clock && slot->step + 1 >= graph_step_number() && slot_count < MOST_SLOTS)
        slot = add_slot();
    if (is_held(slot)) {
        graph_pause();
        graph_go_on();
    }
    cuda_succeed(cudaEventSynchronize(slot->arrived), "an earlier upload");
    slot->used = 0;
    slot->clock = ++slot_clock;
    slot->step = graph_step_number();
    slot->graph = graph_capturing() ? graph_number() : 0;
    return slot;
}

static void upload_piece(cudaStream_t stream, char *to, const char *from, size_t bytes)
{
    if (!filling || !is_held(filling) || SLOT_BYTES - filling->used < bytes)
        filling = free_slot();
    char *pinned = filling->pinned + filling->used, *device = filling->device + filling->used;
    filling->used += (bytes + UNIT - 1) / UNIT * UNIT;
    memcpy(pinned, from, bytes);
    cuda_succeed(cudaStreamWaitEvent(uploads, filling->fetched, 0), "upload of %zu bytes", bytes);
    cuda_succeed(cudaMemcpyAsync(device, pinned, bytes, cudaMemcpyHostToDevice, uploads), "upload of %zu bytes", bytes);
    cuda_succeed(cudaEventRecord(filling->arrived, uploads), "upload of %zu bytes", bytes);
    graph_await(filling->arrived, "upload", bytes);
    cuda_succeed(cudaMemcpyAsync(to, device, bytes, cudaMemcpyDeviceToDevice, stream), "upload of %zu bytes", bytes);
    graph_record(filling->fetched, "upload", bytes);
}

static void upload(const Exec *exec, void *to, const void *from, size_t bytes)
{
    if (bytes && !uploads)
        cuda_succeed(cudaStreamCreateWithFlags(&uploads, cudaStreamNonBlocking), "making a stream");
    for (size_t at = 0; at < bytes; at += SLOT_BYTES)
        upload_piece(stream_of(exec), (char *)to + at, (const char *)from + at,
                     bytes - at < SLOT_BYTES ? bytes - at : SLOT_BYTES);
}

/* ---- Downloads */

static void wait(const Exec *exec)
{
    graph_pause();
    cuda_succeed(cudaStreamSynchronize(stream_of(exec)), "waiting for the GPU");
    graph_go_on();
}

static void download(const Exec *exec, void *to, const void *from, size_t bytes)
{
    if (!bytes)
        return;
    graph_pause();
    cuda_succeed(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_of(exec)), "download of %zu bytes",
                 bytes);
    cuda_succeed(cudaStreamSynchronize(stream_of(exec)), "download of %zu bytes", bytes);
    graph_go_on();
}

/* The graph that is being captured is launched if it holds the fetch. */
static void fetch_starts(const Fetch *f)
{
    if (!graph_records((cudaEvent_t)f->event))
        return;
    graph_pause();
    graph_go_on();
}

static void fetch_free(Fetch *f)
{
    fetch_starts(f);
    if (f->host)
        cuda_succeed(cudaFreeHost(f->host), "giving pinned memory back");
    if (f->event)
        cuda_succeed(cudaEventDestroy((cudaEvent_t)f->event), "giving an event back");
    *f = Fetch();
}

static void fetch(const Exec *exec, Fetch *f, const void *from, size_t bytes)
{
    if (bytes > f->room) {
        graph_leave();
        fetch_free(f);
        cuda_succeed(cudaMallocHost(&f->host, bytes), "%zu bytes of pinned memory", bytes);
        f->room = bytes;
    }
    if (!f->event)
        cuda_succeed(cudaEventCreateWithFlags((cudaEvent_t *)&f->event, cudaEventDisableTiming), "making an event");
    if (bytes)
        cuda_succeed(cudaMemcpyAsync(f->host, from, bytes, cudaMemcpyDeviceToHost, stream_of(exec)),
                     "fetching %zu bytes", bytes);
    graph_record((cudaEvent_t)f->event, "fetch", bytes);
}

static void fetch_wait(Fetch *f)
{
    fetch_starts(f);
    cuda_succeed(cudaEventSynchronize((cudaEvent_t)f->event), "waiting for %zu bytes", f->room);
}

/* ---- On the device */

static void copy(const Exec *exec, void *to, const void *from, size_t bytes)
{
    if (bytes)
        cuda_succeed(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_of(exec)), "copy of %zu bytes",
                     bytes);
    if (managed())
        wait(exec);
}

static void fill(const Exec *exec, void *memory, uint8_t byte, size_t bytes)
{
    if (bytes)
        cuda_succeed(cudaMemsetAsync(memory, byte, bytes, stream_of(exec)), "filling %zu bytes", bytes);
    if (managed())
        wait(exec);
}

static size_t total(void)
{
    size_t available = 0, all = 0;
    cuda_succeed(cudaMemGetInfo(&available, &all), "asking for the GPU's memory");
    return all;
}

const MemoryKernels cuda_memory = {false,      take, give, upload, download, fetch,     fetch_wait,
                                   fetch_free, copy, fill, total,  wait,     graph_step};
