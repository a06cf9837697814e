#include "tests/cuda_emulation/dry.h"

#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unordered_map>

enum { SECTOR = 32, SAMPLES = 4, MMA_FLOP = 2 * 16 * 8 * 16 };

/* How many of the blocks that ran touched a sector, and which was the last. */
struct Touch {
    int blocks, last;
};
typedef std::unordered_map<uintptr_t, Touch> Touches;

static Touches read_sectors, written_sectors;
static int blocks_run;
static double mma_flop;
uint64_t emulated_fma_count;

static FILE *log_file(void)
{
    static FILE *file;
    static bool asked;
    if (!asked) {
        asked = true;
        const char *path = getenv("ZOO_CUDA_DRY");
        if (path && *path && !(file = fopen(path, "w")))
            emulated_fail("ZOO_CUDA_DRY=%s cannot be written", path);
        if (file)
            setvbuf(file, NULL, _IOLBF, 0);
    }
    return file;
}

bool dry_run(void)
{
    return log_file() != NULL;
}

/* Two neighbours at the beginning and two in the middle. */
bool dry_takes(uint64_t index, uint64_t blocks)
{
    return blocks <= SAMPLES || index < 2 || index == blocks / 2 || index == blocks / 2 + 1;
}

void dry_block_begins(void)
{
    blocks_run++;
}

void dry_access(const void *address, size_t bytes, bool write)
{
    Touches &sectors = write ? written_sectors : read_sectors;
    uintptr_t first = (uintptr_t)address / SECTOR, last = ((uintptr_t)address + bytes - 1) / SECTOR;
    for (uintptr_t s = first; s <= last; s++) {
        Touch &touch = sectors[s];
        touch.blocks += touch.last != blocks_run;
        touch.last = blocks_run;
    }
}

void dry_collective(const char *name)
{
    if (strcmp(name, "mma") == 0)
        mma_flop += MMA_FLOP;
}

static double bytes_of_launch(const Touches &sectors, uint64_t blocks)
{
    double common = 0, own = 0;
    for (const auto &sector : sectors)
        if (blocks_run > 1 && sector.second.blocks == blocks_run)
            common++;
        else
            own += sector.second.blocks;
    return SECTOR * (common + own / blocks_run * (double)blocks);
}

static int find_library(struct dl_phdr_info *info, size_t, void *base)
{
    uintptr_t inside = (uintptr_t)&find_library;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t from = info->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && inside >= from && inside < from + part->p_memsz)
            *(uintptr_t *)base = info->dlpi_addr;
    }
    return 0;
}

void dry_launch_ends(const EmulatedLaunch *l, uint64_t blocks)
{
    static uintptr_t library;
    if (!library)
        dl_iterate_phdr(find_library, &library);
    double part = (double)blocks / blocks_run;
    fprintf(log_file(), "kernel\t%llx\t%s:%d\t%llu\t%u\t%zu\t%.0f\t%.0f\t%.0f\t%.0f\n",
            (unsigned long long)((uintptr_t)l->function - library), basename(l->file), l->line,
            (unsigned long long)blocks, l->block.x * l->block.y * l->block.z, l->shared_bytes,
            bytes_of_launch(read_sectors, blocks), bytes_of_launch(written_sectors, blocks),
            2.0 * (double)emulated_fma_count * part, mma_flop * part);
    read_sectors.clear();
    written_sectors.clear();
    blocks_run = 0;
    emulated_fma_count = 0;
    mma_flop = 0;
}

bool dry_library(const char *name, const char *type, double read, double written, double flop)
{
    if (!dry_run())
        return false;
    fprintf(log_file(), "library\t%s\t%s\t1\t0\t0\t%.0f\t%.0f\t%.0f\t0\n", name, type, read, written, flop);
    return true;
}
