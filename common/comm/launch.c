#include "common/comm/launch.h"

#include "common/base/memory.h"

#include <stdlib.h>

/* The first of them that is set, or `otherwise`. */
static int number_of(const char *const *names, int count, int otherwise)
{
    for (int i = 0; i < count; i++) {
        const char *text = getenv(names[i]);
        if (text && *text)
            return atoi(text);
    }
    return otherwise;
}

Launch launch_describe(void)
{
    static const char *const ranks[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
    static const char *const rank[] = {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"};
    static const char *const local_rank[] = {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"};
    static const char *const local_ranks[] = {"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_NTASKS_PER_NODE"};
    static const char *const tasks[] = {"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"};
    Launch l = {.ranks = 1, .local_ranks = 1};
    int pmix =
        getenv("PMIX_RANK") ? number_of(tasks, COUNT_OF(tasks), 1) : 1; /* PMIx does not say how many there are */
    l.ranks = number_of(ranks, COUNT_OF(ranks), pmix);
    if (l.ranks <= 1)
        return (Launch){.ranks = 1, .local_ranks = 1};
    l.rank = number_of(rank, COUNT_OF(rank), 0);
    l.local_rank = number_of(local_rank, COUNT_OF(local_rank), 0);
    l.local_ranks = number_of(local_ranks, COUNT_OF(local_ranks), 1);
    return l;
}
