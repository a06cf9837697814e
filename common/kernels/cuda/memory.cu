/* Memory on the GPU. Uploads go through pinned memory and a stream of their own, into a place on the device from which the
 * kernels' stream fetches them: the way over the bus runs while kernels of an earlier step still compute. */
#include "common/kernels/cuda/library.cuh"

enum { SLOTS = 4 };
static const size_t SLOT_BYTES = (size_t)4 << 20;

struct Slot {
    char *pinned, *device;
    cudaEvent_t arrived; /* on the device: the pinned half is free */
    cudaEvent_t fetched; /* where it was wanted: the half on the device is free */
};

static Slot slots[SLOTS];
static int next_slot;
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
    if (memory)
        cuda_succeed(managed() ? cudaFree(memory) : cudaFreeAsync(memory, (cudaStream_t)cuda_stream()),
                     "giving memory back");
}

static void make_slots(void)
{
    cuda_succeed(cudaStreamCreateWithFlags(&uploads, cudaStreamNonBlocking), "making a stream");
    for (Slot &slot : slots) {
        cuda_succeed(cudaMallocHost((void **)&slot.pinned, SLOT_BYTES), "%zu bytes of pinned memory", SLOT_BYTES);
        cuda_succeed(cudaMalloc((void **)&slot.device, SLOT_BYTES), "%zu bytes of memory for uploads", SLOT_BYTES);
        cuda_succeed(cudaEventCreateWithFlags(&slot.arrived, cudaEventDisableTiming), "making an event");
        cuda_succeed(cudaEventCreateWithFlags(&slot.fetched, cudaEventDisableTiming), "making an event");
    }
}

static void upload_piece(cudaStream_t stream, char *to, const char *from, size_t bytes)
{
    Slot *slot = &slots[next_slot++ % SLOTS];
    cuda_succeed(cudaEventSynchronize(slot->arrived), "an earlier upload");
    memcpy(slot->pinned, from, bytes);
    cuda_succeed(cudaStreamWaitEvent(uploads, slot->fetched, 0), "upload of %zu bytes", bytes);
    cuda_succeed(cudaMemcpyAsync(slot->device, slot->pinned, bytes, cudaMemcpyHostToDevice, uploads),
                 "upload of %zu bytes", bytes);
    cuda_succeed(cudaEventRecord(slot->arrived, uploads), "upload of %zu bytes", bytes);
    cuda_succeed(cudaStreamWaitEvent(stream, slot->arrived, 0), "upload of %zu bytes", bytes);
    cuda_succeed(cudaMemcpyAsync(to, slot->device, bytes, cudaMemcpyDeviceToDevice, stream), "upload of %zu bytes",
                 bytes);
    cuda_succeed(cudaEventRecord(slot->fetched, stream), "upload of %zu bytes", bytes);
}

static void upload(const Exec *exec, void *to, const void *from, size_t bytes)
{
    if (bytes && !uploads)
        make_slots();
    for (size_t at = 0; at < bytes; at += SLOT_BYTES)
        upload_piece(stream_of(exec), (char *)to + at, (const char *)from + at,
                     bytes - at < SLOT_BYTES ? bytes - at : SLOT_BYTES);
}

static void wait(const Exec *exec)
{
    cuda_succeed(cudaStreamSynchronize(stream_of(exec)), "waiting for the GPU");
}

static void download(const Exec *exec, void *to, const void *from, size_t bytes)
{
    if (!bytes)
        return;
    cuda_succeed(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_of(exec)), "download of %zu bytes",
                 bytes);
    cuda_succeed(cudaStreamSynchronize(stream_of(exec)), "download of %zu bytes", bytes);
}

static void fetch_free(Fetch *f)
{
    if (f->host)
        cuda_succeed(cudaFreeHost(f->host), "giving pinned memory back");
    if (f->event)
        cuda_succeed(cudaEventDestroy((cudaEvent_t)f->event), "giving an event back");
    *f = Fetch();
}

static void fetch(const Exec *exec, Fetch *f, const void *from, size_t bytes)
{
    if (bytes > f->room) {
        fetch_free(f);
        cuda_succeed(cudaMallocHost(&f->host, bytes), "%zu bytes of pinned memory", bytes);
        f->room = bytes;
    }
    if (!f->event)
        cuda_succeed(cudaEventCreateWithFlags((cudaEvent_t *)&f->event, cudaEventDisableTiming), "making an event");
    if (bytes)
        cuda_succeed(cudaMemcpyAsync(f->host, from, bytes, cudaMemcpyDeviceToHost, stream_of(exec)),
                     "fetching %zu bytes", bytes);
    cuda_succeed(cudaEventRecord((cudaEvent_t)f->event, stream_of(exec)), "fetching %zu bytes", bytes);
}

static void fetch_wait(Fetch *f)
{
    cuda_succeed(cudaEventSynchronize((cudaEvent_t)f->event), "waiting for %zu bytes", f->room);
}

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

const MemoryKernels cuda_memory = {false,      take,       give, upload, download, fetch,
                                   fetch_wait, fetch_free, copy, fill,   total,    wait};
