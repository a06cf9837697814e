/* The ranks of a run: programs that train one model together, each on its share of every batch. A Comm is how one of them
 * speaks to the others; NULL is a run of one rank, for which nothing here does anything.
 *
 * Every rank makes the same calls in the same order with the same sizes. Sums add in an order that the number of ranks alone
 * decides, and every rank gets the same bits. */
#pragma once
#include "common/base/error.h"
#include "common/kernels/backend.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Comm Comm;

/* The ranks that the launcher (mpirun, srun) started this program as one of; *c is NULL where it is the only one. False with
 * a line: this build has no MPI. (ZOO_MPI_LIBRARY names another shared object than the build's.) */
bool comm_open(Comm **c, Error *e);
void comm_close(Comm *c);

/* For ranks whose tensors lie on a GPU each: sums go through NCCL from here on. Where the build has none (or ZOO_NCCL_LIBRARY
 * names none), they go through the host. False with a line: NCCL cannot start. */
bool comm_open_gpus(Comm *c, Error *e);

const char *comm_name(const Comm *c); /* of what moves the sums of tensors: "MPI", "NCCL" */

int comm_rank(const Comm *c);  /* from 0 */
int comm_ranks(const Comm *c); /* at least 1 */

/* Those of n things that are this rank's: from .. to - 1, as many as every other rank has, or one more. */
typedef struct CommRange {
    int64_t from, to;
} CommRange;

CommRange comm_range(const Comm *c, int64_t n);

/* A rank that waits gives up once another one of its machine has ended, or when *stop is set and it waits longer than it ever had
 * to: then one has ended elsewhere, and the launcher ends those that are left. Ranks 0 and 1 say last_words; exit code 2. Without
 * this call, ranks wait for ever. */
void comm_watch(Comm *c, const volatile sig_atomic_t *stop, const char *last_words);

/* ---- On the host; each returns with its result. */
void comm_sum_doubles(Comm *c, double *x, int n);
bool comm_any(Comm *c, bool mine);                                    /* whether it is true on one of them */
void comm_gather(Comm *c, const void *mine, size_t bytes, void *all); /* all: [ranks, bytes], in order of the ranks */
void comm_share(Comm *c, void *x, size_t bytes);                      /* x is rank 0's afterwards */
char *comm_share_text(Comm *c, const char *text);                     /* rank 0's, a copy to free; NULL stays NULL */

/* ---- Where tensors have their memory: floats that become their sum over the ranks. It goes on in steps while the caller works
 * on something else. Those that are under way at the same time have tags of their own, from 1 on. */
typedef struct CommSum CommSum;

/* For the same x again and again, which is memory of the backend; NULL: the host's. */
CommSum *comm_sum_new(Comm *c, const Backend *backend, int tag, float *x, int64_t count);
void comm_sum_free(CommSum *s);
void comm_sum_begin(CommSum *s);                    /* from here on x is not to be touched */
bool comm_sum_go_on(CommSum *s);                    /* whether it is over; does what can be done without waiting */
void comm_sums_finish(CommSum *const *sums, int n); /* waits until all are; none of them may be left to stand */

void comm_sum_floats(Comm *c, const Backend *backend, float *x, int64_t count); /* at once */

/* What this rank has sent so far. */
typedef struct CommTraffic {
    int64_t messages, bytes;
} CommTraffic;

CommTraffic comm_sent(const Comm *c);
