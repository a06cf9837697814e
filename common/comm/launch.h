/* What the launcher has put into the environment about this process. Known without MPI, and so before it is loaded. */
#pragma once

typedef struct Launch {
    int rank, ranks;             /* 0 of 1 where there was no launcher */
    int local_rank, local_ranks; /* on this machine */
} Launch;

/* Open MPI's mpirun; Slurm's srun --mpi=pmix; whatever speaks PMI (MPICH, Intel MPI). */
Launch launch_describe(void);
