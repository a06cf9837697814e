/* Copies from global to shared memory that are under way. The kernel's own code makes them when it waits for them,
 * so that the race detector sees it. */
#include "tests/cuda_emulation/emulation.h"

#include <vector>

static std::vector<EmulatedAsyncCopy> copies[1024]; /* of each thread of the block, the first begun first */
static size_t ended[1024];

static unsigned running_thread(void)
{
    const EmulatedThread *t = emulated_thread;
    return (t->thread_index.z * t->block_size.y + t->thread_index.y) * t->block_size.x + t->thread_index.x;
}

void emulated_async_begin(void *to, const void *from)
{
    copies[running_thread()].push_back({to, from});
}

bool emulated_async_end(EmulatedAsyncCopy *copy)
{
    unsigned thread = running_thread();
    if (ended[thread] == copies[thread].size()) {
        copies[thread].clear();
        ended[thread] = 0;
        return false;
    }
    *copy = copies[thread][ended[thread]++];
    return true;
}
