/* The sum of a vector over the ranks, around a ring: in ranks - 1 steps every part of it goes once around and gathers what each
 * rank has, in as many more the finished parts go around again (Patarasuk and Yuan, 2009, "Bandwidth optimal all-reduce
 * algorithms for clusters of workstations"). A rank sends 2 (ranks - 1) / ranks of the vector. Part p is added up in the order
 * of the ranks from p on. */
#include "common/comm/transport.h"

#include "common/base/memory.h"

struct CommSum {
    Comm *comm;
    const Backend *backend;
    float *x, *part; /* part: what the neighbour has of one part */
    int64_t count;
    int tag, step; /* of 2 (ranks - 1) */
    bool under_way;
    Exchange exchange;
};

static int64_t part_begins(const CommSum *s, int part)
{
    return s->count * part / s->comm->transport.ranks;
}

static int64_t part_count(const CommSum *s, int part)
{
    return part_begins(s, part + 1) - part_begins(s, part);
}

CommSum *comm_sum_new(Comm *c, const Backend *backend, int tag, float *x, int64_t count)
{
    CommSum *s = mem_new(sizeof *s);
    *s = (CommSum){.comm = c, .backend = backend, .tag = tag, .x = x, .count = count};
    int ranks = comm_ranks(c);
    s->part = mem_new((size_t)(count / ranks + 1) * sizeof *s->part);
    return s;
}

void comm_sum_free(CommSum *s)
{
    if (!s)
        return;
    mem_free(s->part);
    mem_free(s);
}

static bool adds(const CommSum *s)
{
    return s->step < s->comm->transport.ranks - 1;
}

/* The part that this rank receives in a step; what it sends is the one that it had in the step before. */
static int part_received(const CommSum *s)
{
    int ranks = s->comm->transport.ranks;
    return ((s->comm->transport.rank - s->step - 1) % ranks + ranks) % ranks;
}

static void begin_step(CommSum *s)
{
    int ranks = s->comm->transport.ranks, rank = s->comm->transport.rank, part = part_received(s);
    int sent = (part + 1) % ranks;
    s->exchange = (Exchange){.to = (rank + 1) % ranks,
                             .from = (rank - 1 + ranks) % ranks,
                             .tag = s->tag,
                             .send = s->x + part_begins(s, sent),
                             .send_bytes = (size_t)part_count(s, sent) * sizeof *s->x,
                             .receive = adds(s) ? s->part : s->x + part_begins(s, part),
                             .receive_bytes = (size_t)part_count(s, part) * sizeof *s->x};
    comm_begin(s->comm, &s->exchange);
}

static void end_step(CommSum *s)
{
    int part = part_received(s);
    int64_t n = part_count(s, part);
    Exec alone = {.threads = 1};
    if (adds(s) && n)
        s->backend->elementwise.scale(&alone, 1, n, 1.0f, (Rows){s->part, n, F32}, true,
                                      (Rows){s->x + part_begins(s, part), n, F32});
    s->step++;
}

void comm_sum_begin(CommSum *s)
{
    contract(!s->under_way, "comm_sum_begin: the sum before has not ended");
    s->under_way = comm_ranks(s->comm) > 1;
    s->step = 0;
    if (s->under_way)
        begin_step(s);
}

bool comm_sum_go_on(CommSum *s)
{
    while (s->under_way && s->comm->transport.over(s->comm->transport.own, &s->exchange)) {
        end_step(s);
        s->under_way = s->step < 2 * (s->comm->transport.ranks - 1);
        if (s->under_way)
            begin_step(s);
    }
    return !s->under_way;
}

void comm_sums_finish(CommSum *const *sums, int n)
{
    Waiting w = {0};
    for (;;) {
        bool all = true;
        for (int i = 0; i < n; i++)
            all &= comm_sum_go_on(sums[i]);
        if (all)
            break;
        comm_idle(sums[0]->comm, &w);
    }
    if (n)
        comm_waited(sums[0]->comm, &w);
}

void comm_sum_floats(Comm *c, const Backend *backend, float *x, int64_t count)
{
    if (comm_ranks(c) == 1)
        return;
    CommSum *s = comm_sum_new(c, backend, TAG_NOW, x, count);
    comm_sum_begin(s);
    comm_sums_finish(&s, 1);
    comm_sum_free(s);
}
