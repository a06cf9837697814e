/* MPI is loaded when a launcher has started several ranks, and only then: a single process neither waits for it nor needs it. */
#include "common/comm/transport.h"

#include "common/base/memory.h"
#include "common/comm/launch.h"

#include <dlfcn.h>
#include <stdlib.h>

bool comm_open(Comm **c, Error *e)
{
    int ranks = launch_describe().ranks;
    *c = NULL;
    if (ranks == 1)
        return true;
    const char *other = getenv("ZOO_MPI_LIBRARY");
    void *object = dlopen(other ? other : ZOO_BUILD "/comm/libzoo_mpi.so", RTLD_NOW | RTLD_GLOBAL);
    TransportOpen *open = NULL;
    if (object)
        *(void **)&open = dlsym(object, "zoo_transport_open");
    if (!open)
        return error_set(e,
                         "started as one of %d ranks, but this build has no MPI: install libopenmpi-dev and configure "
                         "again (cmake --preset release), or start it without mpirun",
                         ranks);
    Comm *opened = mem_new(sizeof *opened);
    if (open(&opened->transport, e)) {
        *c = opened;
        return true;
    }
    mem_free(opened);
    return false;
}
