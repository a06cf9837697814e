/* Backends are shared objects. MPI is loaded when a launcher has started several ranks, and only then: a single process neither waits for it nor needs it. */
#include "common/comm/transport.h"

#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/comm/launch.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* Of the GPUs of this machine each of its ranks sees one: the programs take the first that they see. */
static void take_one_gpu(const Launch *l)
{
    const char *seen = getenv("CUDA_VISIBLE_DEVICES");
    Str list = {0};
    if (seen)
        str_add(&list, "%s", seen);
    for (int i = 0; !seen && i <= l->local_rank; i++)
        str_add(&list, "%s%d", i ? "," : "", i);
    char *rest, *gpu = list.text ? strtok_r(list.text, ",", &rest) : NULL;
    for (int i = 0; gpu && i < l->local_rank; i++)
        gpu = strtok_r(NULL, ",", &rest);
    if (gpu) /* else the launcher has given each rank its own */
        setenv("CUDA_VISIBLE_DEVICES", gpu, 1);
    str_free(&list);
}

bool comm_open(Comm **c, Error *e)
{
    Launch launch = launch_describe();
    int ranks = launch.ranks;
    *c = NULL;
    if (ranks == 1)
        return true;
    if (launch.local_ranks > 1)
        take_one_gpu(&launch);
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
        comm_meet_neighbours(opened);
        *c = opened;
        return true;
    }
    mem_free(opened);
    return false;
}

bool comm_open_gpus(Comm *c, Error *e)
{
    char id[MEETING_BYTES] = {0};
    if (!c || c->device.name)
        return true;
    const char *other = getenv("ZOO_NCCL_LIBRARY");
    void *object = dlopen(other ? other : ZOO_BUILD "/comm/libzoo_nccl.so", RTLD_NOW | RTLD_LOCAL);
    if (comm_any(c, !object || (other && !*other)))
        return true;
    NcclMeeting *meeting = NULL;
    NcclOpen *open = NULL;
    *(void **)&meeting = dlsym(object, "zoo_nccl_meeting");
    *(void **)&open = dlsym(object, "zoo_nccl_open");
    contract(meeting && open, "libzoo_nccl.so is of another build");
    if (comm_any(c, comm_rank(c) == 0 && !meeting(id, e)))
        return comm_rank(c) == 0 ? false : error_set(e, "rank 0 cannot start NCCL");
    comm_share(c, id, sizeof id);
    Transport t = {.rank = comm_rank(c), .ranks = comm_ranks(c)};
    if (!open(&t, id, e))
        return false;
    c->device = t;
    return true;
}
