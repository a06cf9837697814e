/* The ranks of this machine, which can be seen to end: a rank that waits for one of them need not wait for the launcher. */
#include "common/comm/transport.h"

#include "common/base/memory.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

typedef struct Whereabouts {
    char host[64];
    int64_t process;
} Whereabouts;

static bool ended(int64_t process)
{
    return kill((pid_t)process, 0) != 0 && errno == ESRCH;
}

void comm_meet_neighbours(Comm *c)
{
    Whereabouts mine = {.process = getpid()}, *all = mem_new((size_t)c->transport.ranks * sizeof *all);
    gethostname(mine.host, sizeof mine.host - 1);
    comm_gather(c, &mine, sizeof mine, all);
    for (int r = 0; r < c->transport.ranks; r++) {
        bool here = r != c->transport.rank && strcmp(all[r].host, mine.host) == 0;
        if (here && !ended(all[r].process)) /* another container of the same name counts its processes otherwise */
            *array_add(&c->neighbours) = all[r].process;
    }
    comm_any(c, false); /* nobody ends before all have looked */
    mem_free(all);
}

bool comm_neighbour_ended(const Comm *c)
{
    for (size_t i = 0; i < c->neighbours.count; i++)
        if (ended(c->neighbours.items[i]))
            return true;
    return false;
}
