/* Copies from global to shared memory that are under way. The kernel's own code makes them when it waits for them,
 * so that the race detector sees it. */
#include "tests/cuda_emulation/internal.h"

#include <vector>

static std::vector<EmulatedAsyncCopy> copies[1024]; /* of each thread of the block, the first begun first */
static size_t ended[1024];

void emulated_async_begin(void *to, const void *from)
{
    copies[emulated_thread_number()].push_back({to, from});
}

bool emulated_async_end(EmulatedAsyncCopy *copy)
{
    int thread = emulated_thread_number();
    if (ended[thread] == copies[thread].size()) {
        copies[thread].clear();
        ended[thread] = 0;
        return false;
    }
    *copy = copies[thread][ended[thread]++];
    return true;
}
