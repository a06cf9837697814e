/* The sum of a vector over the ranks, around a ring: in ranks - 1 steps every part of it goes once around and gathers what each
 * rank has, in as many more the finished parts go around again (Patarasuk and Yuan, 2009, "Bandwidth optimal all-reduce
 * algorithms for clusters of workstations"). A rank sends 2 (ranks - 1) / ranks of the vector. Part p is added up in the order
 * of the ranks from p on. */
#include "common/comm/transport.h"

#include "common/base/memory.h"

struct CommSum {
    Comm *comm;
    const Backend *backend, *adds; /* of x; of the values that go around */
    float *x, *values, *part;      /* values: x, or its copy on the host; part: what the neighbour has of one part */
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

/* A library of the device's own does all of it, where what is begun in one order on every rank is this sum; else the values of a
 * device go around as a copy on the host. */
static bool by_device(const CommSum *s)
{
    return s->comm->device.sum && !s->backend->memory.on_host && s->tag != TAG_NOW;
}

CommSum *comm_sum_new(Comm *c, const Backend *backend, int tag, float *x, int64_t count)
{
    CommSum *s = mem_new(sizeof *s);
    Error e;
    *s = (CommSum){.comm = c, .backend = backend, .tag = tag, .x = x, .values = x, .count = count};
    s->adds = cpu_backend(&e);
    if (!s->backend)
        s->backend = s->adds;
    if (!s->backend->memory.on_host && !by_device(s))
        s->values = mem_new((size_t)count * sizeof *s->values);
    s->part = mem_new((size_t)(count / comm_ranks(c) + 1) * sizeof *s->part);
    return s;
}

void comm_sum_free(CommSum *s)
{
    if (!s)
        return;
    if (s->values != s->x)
        mem_free(s->values);
    mem_free(s->part);
    mem_free(s);
}

static bool adds_up(const CommSum *s)
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
                             .send = s->values + part_begins(s, sent),
                             .send_bytes = (size_t)part_count(s, sent) * sizeof *s->x,
                             .receive = adds_up(s) ? s->part : s->values + part_begins(s, part),
                             .receive_bytes = (size_t)part_count(s, part) * sizeof *s->x};
    comm_begin(s->comm, &s->exchange);
}

static void end_step(CommSum *s)
{
    int part = part_received(s);
    int64_t n = part_count(s, part);
    Exec alone = {.threads = 1};
    if (adds_up(s) && n)
        s->adds->elementwise.scale(&alone, 1, n, 1.0f, (Rows){s->part, n, F32}, true,
                                   (Rows){s->values + part_begins(s, part), n, F32});
    s->step++;
}

void comm_sum_begin(CommSum *s)
{
    Exec exec = {.threads = 1, .stream = s->backend->stream};
    contract(!s->under_way, "comm_sum_begin: the sum before has not ended");
    s->under_way = comm_ranks(s->comm) > 1;
    s->step = 0;
    if (!s->under_way)
        return;
    if (by_device(s)) {
        s->backend->memory.step(STEP_PAUSES);
        s->comm->device.sum(s->comm->device.own, s->x, s->count, s->backend->stream, &s->exchange);
        s->backend->memory.step(STEP_GOES_ON);
        return;
    }
    if (s->values != s->x)
        s->backend->memory.download(&exec, s->values, s->x, (size_t)s->count * sizeof *s->x);
    begin_step(s);
}

static void end(CommSum *s)
{
    Exec exec = {.threads = 1, .stream = s->backend->stream};
    s->under_way = false;
    if (s->values != s->x)
        s->backend->memory.upload(&exec, s->x, s->values, (size_t)s->count * sizeof *s->x);
}

bool comm_sum_go_on(CommSum *s)
{
    const Transport *t = by_device(s) ? &s->comm->device : &s->comm->transport;
    while (s->under_way && t->over(t->own, &s->exchange)) {
        if (t->sum) {
            s->under_way = false;
            break;
        }
        end_step(s);
        if (s->step == 2 * (t->ranks - 1))
            end(s);
        else
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
