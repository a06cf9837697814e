/* P ranks in one process: for tests, and for papers about splitting attention among machines. They run in turn, one at a time;
 * the turn goes on when a rank waits for a message that is not there. */
#pragma once
#include "common/comm/comm.h"

typedef void RankProgram(Comm *c, void *user);

/* Runs `program` as each of the ranks, to the end; sent (NULL: not wanted) [ranks]: what each has sent. Ranks that all wait for
 * each other are a broken contract. */
void virtual_ranks_run(int ranks, RankProgram *program, void *user, CommTraffic *sent);
