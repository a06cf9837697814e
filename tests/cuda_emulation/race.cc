/* Races, seen from the calls that GCC puts before every access of a kernel compiled with -fsanitize=thread. We link
 * without its library and answer them ourselves: threads run one at a time here, so what matters is not what happened
 * but what CUDA orders. Two accesses of which one writes are a race unless a block barrier, or __syncwarp of lanes that
 * include both, lies between them; different blocks of a launch are never ordered. Shuffles and votes order nothing, as
 * in CUDA. Atomics are not seen. */
#include "tests/cuda_emulation/race.h"

#include "tests/cuda_emulation/dry.h"
#include "tests/cuda_emulation/internal.h"

#include <cuda_runtime.h>
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unordered_map>

#ifdef ZOO_CUDA_RACES

struct Access {
    uint32_t block;                   /* a number that no other block of the process has; 0: no access yet */
    uint32_t epoch : 22, thread : 10; /* block barriers before it; who */
    uint32_t clock;                   /* of its thread: one more at each __syncwarp */
    uint32_t place;                   /* of the code, from the library's beginning on */
};

enum {
    READERS = 3,
    PAGE_BYTES = 4096,
    WORD = 4,
    WORDS = PAGE_BYTES / WORD,
    LANES = 32,
    MOST_THREADS = 1024,
    MAX_PAGES = 2048,
    RECENT = 64
};

/* What is known of a word, or, once it was accessed in part, of a byte. */
struct Cell {
    Access write, reads[READERS];
};
struct Word {
    Cell whole;
    Cell *bytes; /* WORD of them, which then hold; NULL: `whole` does */
};
struct Page {
    Word words[WORDS];
};

static std::unordered_map<uintptr_t, Page *> pages;
static struct Recent {
    uintptr_t number;
    Page *page;
} recent[RECENT]; /* of `pages`, by number % RECENT */
static uint32_t block_number, first_of_launch, epoch;
/* known[t][l]: up to which clock of lane l in t's warp everything comes before what t does now; its own clock at its
 * own lane. */
static uint32_t known[MOST_THREADS][LANES];
static bool known_stale = true; /* it is not that of a block which begins */
static const char *static_shared, *static_shared_end, *library, *library_end;

/* ---- Where an address lies */

/* Thread-local storage of the library or program that we are part of: the kernels' __shared__, this and nothing else.
 * */
static thread_local volatile char some_of_it;

static int find_static_shared(struct dl_phdr_info *info, size_t, void *)
{
    const char *inside = (const char *)&find_static_shared;
    const char *end = NULL;
    bool ours = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        const char *from = (const char *)(info->dlpi_addr + part->p_vaddr);
        if (part->p_type != PT_LOAD)
            continue;
        ours = ours || (inside >= from && inside < from + part->p_memsz);
        end = from + part->p_memsz > end ? from + part->p_memsz : end;
    }
    for (int i = 0; ours && i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS) {
            static_shared = (const char *)info->dlpi_tls_data;
            static_shared_end = static_shared ? static_shared + info->dlpi_phdr[i].p_memsz : NULL;
        }
    if (ours) {
        library = (const char *)info->dlpi_addr;
        library_end = end;
    }
    return ours;
}

static bool is_shared(const char *address)
{
    return (address >= static_shared && address < static_shared_end) ||
           (address >= emulated_block.shared && address < emulated_block.shared + emulated_block.launch->shared_bytes);
}

static bool on_own_stack(const char *address)
{
    return address >= emulated_block.stack && address < emulated_block.stack + emulated_block.stack_bytes;
}

static bool among_arguments(const char *address)
{
    return address >= emulated_block.body && address < emulated_block.body + emulated_block.body_bytes;
}

/* A kernel's tables lie there. */
static bool in_library(const char *address)
{
    return address >= library && address < library_end;
}

static Page *page_of(uintptr_t number)
{
    Recent &r = recent[number % RECENT];
    if (r.number == number && r.page)
        return r.page;
    Page *&page = pages[number];
    if (!page)
        page = (Page *)calloc(1, sizeof *page);
    if (!page)
        emulated_fail("no memory to record accesses in");
    r = {number, page};
    return page;
}

static void forget_pages(void)
{
    for (auto &entry : pages) {
        for (Word &word : entry.second->words)
            free(word.bytes);
        free(entry.second);
    }
    pages.clear();
    memset(recent, 0, sizeof recent);
}

/* ---- What is ordered */

/* Does a come before what `thread` does now? */
static bool ordered(const Access &a, int thread)
{
    if (a.block != block_number)
        return a.block < first_of_launch;
    if ((int)a.thread == thread || a.epoch < epoch)
        return true;
    return (int)a.thread / LANES == thread / LANES && known[thread][a.thread % LANES] >= a.clock;
}

void race_launch_begins(void)
{
    some_of_it = 1; /* it is made when it is first used */
    dl_iterate_phdr(find_static_shared, NULL);
    if (pages.size() > MAX_PAGES)
        forget_pages();
    first_of_launch = block_number + 1;
}

void race_block_begins(void)
{
    block_number++;
    epoch = 0;
    if (!known_stale)
        return;
    known_stale = false;
    for (int t = 0; t < MOST_THREADS; t++) {
        memset(known[t], 0, sizeof known[t]);
        known[t][t % LANES] = 1;
    }
}

void race_block_ordered(void)
{
    epoch++;
}

/* Each of the lanes now knows what all of them knew, and begins a new clock. */
void race_warp_ordered(int warp, unsigned lanes)
{
    uint32_t all[LANES] = {0};
    known_stale = true;
    for (int lane = 0; lane < LANES; lane++)
        for (int l = 0; lanes & 1u << lane && l < LANES; l++)
            if (known[warp * LANES + lane][l] > all[l])
                all[l] = known[warp * LANES + lane][l];
    for (int lane = 0; lane < LANES; lane++)
        if (lanes & 1u << lane) {
            memcpy(known[warp * LANES + lane], all, sizeof all);
            known[warp * LANES + lane][lane]++;
        }
}

/* ---- Accesses */

static void print_place(const char *what, uint32_t place)
{
    Dl_info info;
    if (!dladdr((const void *)&find_static_shared, &info))
        return;
    char command[1024], line[1024] = "";
    snprintf(command, sizeof command, "addr2line -Cfpse '%s' %#x 2>/dev/null", info.dli_fname, place - 1);
    FILE *answer = popen(command, "r");
    if (answer && fgets(line, sizeof line, answer))
        line[strcspn(line, "\n")] = 0;
    if (answer)
        pclose(answer);
    fprintf(stderr, "cuda emulation: %s: %s (%s+%#x)\n", what, line, info.dli_fname, place);
}

static const char *memory_name(const char *address)
{
    return is_shared(address) ? "shared" : "global";
}

static void report(const char *address, bool write, uint32_t place, const Access &other, bool other_wrote)
{
    print_place(write ? "this write" : "this read", place);
    print_place(other_wrote ? "that write" : "that read", other.place);
    emulated_fail("race: %s %s memory at %p, which thread %d of %s %s with nothing between them that orders the two",
                  write ? "writes" : "reads", memory_name(address), (const void *)address, (int)other.thread,
                  other.block == block_number ? "its block" : "another block", other_wrote ? "wrote" : "read");
}

/* Readers that come before this one say nothing new: who is ordered after this one is ordered after them. */
static void remember_read(Cell *cell, const Access &now)
{
    Access *place = NULL;
    for (Access &r : cell->reads)
        if (r.block == 0 || ordered(r, (int)now.thread))
            place = &r;
    for (Access &r : cell->reads) /* where all are others: of a warp (or block) that two of them have */
        for (Access &other : cell->reads)
            if (!place && &r < &other && r.block == other.block && r.thread / LANES == other.thread / LANES)
                place = &r;
    if (place)
        *place = now;
}

static void access_cell(Cell *cell, const char *address, bool shared, bool write, const Access &now)
{
    if (shared && cell->write.block != block_number) { /* what another block left is nothing */
        if (!write) {
            print_place("this read", now.place);
            emulated_fail("reads shared memory at %p that its block has not written", (const void *)address);
        }
        *cell = {};
    }
    if (cell->write.block != 0 && !ordered(cell->write, (int)now.thread))
        report(address, write, now.place, cell->write, true);
    if (!write) {
        remember_read(cell, now);
        return;
    }
    for (Access &r : cell->reads)
        if (r.block != 0 && !ordered(r, (int)now.thread))
            report(address, write, now.place, r, false);
    *cell = {};
    cell->write = now;
}

static void access_word(Word *word, const char *address, size_t from, size_t bytes, bool shared, bool write,
                        const Access &now)
{
    if (!word->bytes && bytes == WORD) {
        access_cell(&word->whole, address, shared, write, now);
        return;
    }
    if (!word->bytes) {
        word->bytes = (Cell *)calloc(WORD, sizeof(Cell));
        for (int i = 0; i < WORD; i++)
            word->bytes[i] = word->whole;
    }
    for (size_t i = from; i < from + bytes; i++)
        access_cell(&word->bytes[i], address + i - from, shared, write, now);
}

static void check_allocation(const char *address, size_t bytes, bool write, uint32_t place)
{
    size_t size, offset;
    if ((device_memory_find(address, &size, &offset) && bytes <= size - offset) || in_library(address))
        return;
    print_place(write ? "this write" : "this read", place);
    emulated_fail("%s %zu bytes at %p, %s", write ? "writes" : "reads", bytes, (const void *)address,
                  device_memory_may_be(address) ? "device memory outside of every allocation" : "the host's memory");
}

static void access(const void *memory, size_t bytes, bool write, const void *code)
{
    const char *address = (const char *)memory;
    if (!emulated_thread || on_own_stack(address) || among_arguments(address) ||
        memory == &emulated_fma_count) /* the emulator's own */
        return;
    unsigned thread = (unsigned)emulated_thread_number();
    Access now = {block_number, epoch, thread, known[thread][thread % LANES], (uint32_t)((const char *)code - library)};
    bool shared = is_shared(address);
    if (!shared)
        check_allocation(address, bytes, write, now.place);
    if (dry_run()) {
        if (device_memory_holds(address))
            dry_access(address, bytes, write);
        return;
    }
    while (bytes > 0) {
        uintptr_t at = (uintptr_t)address;
        size_t from = at % WORD, part = WORD - from < bytes ? WORD - from : bytes;
        access_word(&page_of(at / PAGE_BYTES)->words[at % PAGE_BYTES / WORD], address, from, part, shared, write, now);
        address += part;
        bytes -= part;
    }
}

void race_access(const void *address, size_t bytes, bool write)
{
    access(address, bytes, write, __builtin_return_address(0));
}

#define CALLED_BY_GCC extern "C" __attribute__((visibility("hidden"))) void
#define ACCESS(name, bytes, write)                                                                                     \
    CALLED_BY_GCC name(const void *address);                                                                           \
    void name(const void *address)                                                                                     \
    {                                                                                                                  \
        access(address, bytes, write, __builtin_return_address(0));                                                    \
    }
ACCESS(__tsan_read1, 1, false)
ACCESS(__tsan_read2, 2, false)
ACCESS(__tsan_read4, 4, false)
ACCESS(__tsan_read8, 8, false)
ACCESS(__tsan_read16, 16, false)
ACCESS(__tsan_write1, 1, true)
ACCESS(__tsan_write2, 2, true)
ACCESS(__tsan_write4, 4, true)
ACCESS(__tsan_write8, 8, true)
ACCESS(__tsan_write16, 16, true)
ACCESS(__tsan_unaligned_read2, 2, false)
ACCESS(__tsan_unaligned_read4, 4, false)
ACCESS(__tsan_unaligned_read8, 8, false)
ACCESS(__tsan_unaligned_read16, 16, false)
ACCESS(__tsan_unaligned_write2, 2, true)
ACCESS(__tsan_unaligned_write4, 4, true)
ACCESS(__tsan_unaligned_write8, 8, true)
ACCESS(__tsan_unaligned_write16, 16, true)

CALLED_BY_GCC __tsan_read_range(const void *address, size_t bytes);
void __tsan_read_range(const void *address, size_t bytes)
{
    access(address, bytes, false, __builtin_return_address(0));
}

CALLED_BY_GCC __tsan_write_range(const void *address, size_t bytes);
void __tsan_write_range(const void *address, size_t bytes)
{
    access(address, bytes, true, __builtin_return_address(0));
}

CALLED_BY_GCC __tsan_func_entry(void *caller);
void __tsan_func_entry(void *)
{
}

CALLED_BY_GCC __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}

CALLED_BY_GCC __tsan_init(void);
void __tsan_init(void)
{
}

#endif
