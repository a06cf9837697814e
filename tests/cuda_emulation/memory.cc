/* Device memory: one region of addresses, closed to the host except while a kernel, a copy or a library call runs. Who
 * touches it otherwise, or touches an address in it that was not allocated, is named before the process ends. Managed memory is
 * malloc's: open to the host, and guarded by a sanitizer. */
#include <cuda_runtime.h>

#include "tests/cuda_emulation/dry.h"
#include "tests/cuda_emulation/internal.h"

#include <execinfo.h>
#include <map>
#include <mutex>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define __asan_poison_memory_region(address, bytes)
#define __asan_unpoison_memory_region(address, bytes)
#endif

static const size_t region_bytes = (size_t)64 << 30, page_bytes = 4096, grain = 256;

static char *region;
static size_t used;                    /* pages from the region's beginning on that were ever given out */
static std::map<size_t, size_t> taken; /* offset -> bytes asked for */
static std::map<size_t, size_t> given; /* offset -> bytes that are free again, neighbours joined */
/* address -> bytes. Never destroyed: what a process still holds at its end is no leak. */
static union Managed {
    std::map<uintptr_t, size_t> map;
    Managed() : map()
    {
    }
    ~Managed()
    {
    }
} managed_memory;
static auto &managed = managed_memory.map;
static size_t held; /* bytes that are taken */
static std::recursive_mutex guard;
static int opened;
static struct sigaction before;

static size_t rounded(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

bool device_memory_holds(const void *address)
{
    return region && (const char *)address >= region && (const char *)address < region + region_bytes;
}

template <typename Place>
static bool find_in(const std::map<Place, size_t> &places, Place at, size_t *bytes, size_t *offset)
{
    auto after = places.upper_bound(at);
    if (after == places.begin())
        return false;
    auto found = std::prev(after);
    *bytes = found->second;
    *offset = at - found->first;
    return *offset <= *bytes;
}

bool device_memory_find(const void *address, size_t *bytes, size_t *offset)
{
    bool found = device_memory_holds(address) ? find_in(taken, (size_t)((const char *)address - region), bytes, offset)
                                              : find_in(managed, (uintptr_t)address, bytes, offset);
    return found && *offset < *bytes;
}

/* The end of an array is nobody's, and yet no address of the host's. */
bool device_memory_may_be(const void *address)
{
    std::lock_guard<std::recursive_mutex> hold(guard);
    size_t bytes, offset;
    return device_memory_holds(address) || find_in(managed, (uintptr_t)address, &bytes, &offset);
}

void device_memory_check(const char *call, const void *address)
{
    if (!device_memory_may_be(address))
        emulated_fail("%s: %p is no device memory", call, address);
}

/* A fault of the processor: a line for those in our region, everything else goes to who was there before us. */
static void on_fault(int signal, siginfo_t *info, void *context)
{
    if (!device_memory_holds(info->si_addr)) {
        sigaction(signal, &before, NULL); /* the access is tried again, and fails again */
        (void)context;
        return;
    }
    size_t bytes, offset;
    bool known = device_memory_find(info->si_addr, &bytes, &offset);
    void *calls[32];
    backtrace_symbols_fd(calls, backtrace(calls, 32), STDERR_FILENO);
    if (known && !opened)
        emulated_fail("the host touched device memory: byte %zu of an allocation of %zu at %p", offset, bytes,
                      info->si_addr);
    emulated_fail("%s at %p, device memory that nobody has", opened ? "access" : "the host touched", info->si_addr);
}

static void make_region(void)
{
    region = (char *)mmap(NULL, region_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED)
        emulated_fail("no addresses for device memory");
    madvise(region, region_bytes, MADV_HUGEPAGE);
}

/* Anew for each launch and copy: cmocka takes the signal for itself at the beginning of every test. */
static void watch_faults(void)
{
    struct sigaction action = {}, old;
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &old);
    if (!(old.sa_flags & SA_SIGINFO) || old.sa_sigaction != on_fault)
        before = old;
}

static void protect(void)
{
    if (used > 0)
        mprotect(region, used, opened ? PROT_READ | PROT_WRITE : PROT_NONE);
}

void emulated_process_check(void)
{
    static pid_t owner;
    if (!owner)
        owner = getpid();
    if (owner != getpid())
        emulated_fail("CUDA was opened before this process was forked, and cannot be used in it");
}

void device_memory_open(void)
{
    std::lock_guard<std::recursive_mutex> hold(guard);
    emulated_process_check();
    if (opened++ > 0)
        return;
    watch_faults();
    protect();
}

void device_memory_close(void)
{
    std::lock_guard<std::recursive_mutex> hold(guard);
    if (--opened == 0)
        protect();
}

/* The first free place that is large enough, or new pages. A grain between two allocations belongs to nobody. */
static size_t find_place(size_t bytes)
{
    for (auto free_place = given.begin(); free_place != given.end(); ++free_place)
        if (free_place->second >= bytes) {
            size_t at = free_place->first, rest = free_place->second - bytes;
            given.erase(free_place);
            if (rest > 0)
                given[at + bytes] = rest;
            return at;
        }
    size_t at = taken.empty() && given.empty() ? 0 : used;
    used = rounded(at + bytes, page_bytes);
    return at;
}

/* EMULATED_MEMORY=64M: a GPU with so much. */
static size_t limit(void)
{
    static size_t bytes = emulated_size("EMULATED_MEMORY", region_bytes);
    return bytes;
}

cudaError_t cudaMalloc(void **memory, size_t bytes)
{
    if (emulated_breaks_captures(true))
        return cudaErrorStreamCaptureUnsupported;
    std::lock_guard<std::recursive_mutex> hold(guard);
    emulated_process_check();
    if (!region)
        make_region();
    size_t place = rounded(bytes + grain, page_bytes);
    if (bytes > region_bytes || used + place > region_bytes || held + bytes > limit())
        return cudaErrorMemoryAllocation;
    size_t at = find_place(place);
    taken[at] = bytes;
    held += bytes;
    *memory = region + at;
    protect();
    __asan_poison_memory_region(region + at, place);
    __asan_unpoison_memory_region(region + at, bytes);
    return cudaSuccess;
}

static void join_neighbours(std::map<size_t, size_t>::iterator place)
{
    auto next = std::next(place);
    if (next != given.end() && place->first + place->second == next->first) {
        place->second += next->second;
        given.erase(next);
    }
    if (place == given.begin())
        return;
    auto previous = std::prev(place);
    if (previous->first + previous->second == place->first) {
        previous->second += place->second;
        given.erase(place);
    }
}

cudaError_t cudaMallocManaged(void **memory, size_t bytes, unsigned)
{
    std::lock_guard<std::recursive_mutex> hold(guard);
    emulated_process_check();
    if (posix_memalign(memory, grain, bytes))
        return cudaErrorMemoryAllocation;
    managed[(uintptr_t)*memory] = bytes;
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory)
{
    if (!memory)
        return cudaSuccess;
    if (emulated_breaks_captures(false))
        return cudaErrorStreamCaptureUnsupported;
    std::lock_guard<std::recursive_mutex> hold(guard);
    if (managed.erase((uintptr_t)memory)) {
        free(memory);
        return cudaSuccess;
    }
    auto found = taken.find((size_t)((char *)memory - region));
    if (!device_memory_holds(memory) || found == taken.end())
        emulated_fail("cudaFree of %p, which is no allocation", memory);
    size_t place = rounded(found->second + grain, page_bytes);
    madvise(memory, place, MADV_DONTNEED);
    __asan_poison_memory_region(memory, place);
    join_neighbours(given.emplace(found->first, place).first);
    held -= found->second;
    taken.erase(found);
    return cudaSuccess;
}

/* Captured, they would be nodes of the graph: not emulated. */
cudaError_t cudaMallocAsync(void **memory, size_t bytes, cudaStream_t stream)
{
    if (emulated_captures(stream) && emulated_breaks_captures(false))
        return cudaErrorStreamCaptureUnsupported;
    return cudaMalloc(memory, bytes);
}

cudaError_t cudaFreeAsync(void *memory, cudaStream_t stream)
{
    if (emulated_captures(stream) && emulated_breaks_captures(false))
        return cudaErrorStreamCaptureUnsupported;
    return cudaFree(memory);
}

cudaError_t cudaMallocHost(void **memory, size_t bytes)
{
    if (emulated_breaks_captures(true))
        return cudaErrorStreamCaptureUnsupported;
    return posix_memalign(memory, 64, bytes ? bytes : 1) ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned)
{
    return cudaMallocHost(memory, bytes);
}

cudaError_t cudaFreeHost(void *memory)
{
    if (emulated_breaks_captures(true))
        return cudaErrorStreamCaptureUnsupported;
    emulated_forget(memory, 1);
    free(memory);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    std::lock_guard<std::recursive_mutex> hold(guard);
    size_t half = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE) / 2;
    *total = half < limit() ? half : limit();
    *free_bytes = held < *total ? *total - held : 0;
    return cudaSuccess;
}

/* What a copy claims about its ends must be so: a host pointer where a device pointer is due would fail on a GPU. */
static void check_end(const char *end, const void *address, size_t bytes, bool device)
{
    size_t size, offset;
    if (bytes == 0)
        return;
    if (device ? !device_memory_may_be(address) : device_memory_holds(address))
        emulated_fail("cudaMemcpy: %s %p is %s memory", end, address, device ? "no device" : "device");
    if (device && (!device_memory_find(address, &size, &offset) || bytes > size - offset))
        emulated_fail("cudaMemcpy: %zu bytes at %s %p go beyond its allocation", bytes, end, address);
}

static void copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    if (kind == cudaMemcpyDeviceToDevice && dry_library("copy", "byte", (double)bytes, (double)bytes, 0))
        return;
    DeviceMemoryOpen open;
    if (bytes > 0 && dry_run() && kind == cudaMemcpyDeviceToHost)
        memset(to, 0, bytes); /* nothing was computed, and programs stop at numbers that are none */
    else if (bytes > 0)
        memcpy(to, from, bytes);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    if (kind != cudaMemcpyDefault) {
        check_end("destination", to, bytes, kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice);
        check_end("source", from, bytes, kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice);
    }
    emulated_do(stream, {EmulatedWork::COPY, kind, from, to, bytes, [=] { copy(to, from, bytes, kind); }, 0});
    return cudaSuccess;
}

/* Those that wait for the device, whatever is captured: more than CUDA forbids. */
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    if (emulated_breaks_captures(false))
        return cudaErrorStreamCaptureUnsupported;
    return cudaMemcpyAsync(to, from, bytes, kind, NULL);
}

static void fill(void *memory, int byte, size_t bytes)
{
    if (dry_library("fill", "byte", 0, (double)bytes, 0))
        return;
    DeviceMemoryOpen open;
    if (bytes > 0)
        memset(memory, byte, bytes);
}

cudaError_t cudaMemsetAsync(void *memory, int byte, size_t bytes, cudaStream_t stream)
{
    check_end("destination", memory, bytes, true);
    emulated_do(stream, {EmulatedWork::FILL, 0, NULL, memory, bytes, [=] { fill(memory, byte, bytes); }, 0});
    return cudaSuccess;
}

cudaError_t cudaMemset(void *memory, int byte, size_t bytes)
{
    if (emulated_breaks_captures(false))
        return cudaErrorStreamCaptureUnsupported;
    return cudaMemsetAsync(memory, byte, bytes, NULL);
}
