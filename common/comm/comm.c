/* What is done over any transport, beside the sums of tensors (sum.c). */
#include "common/comm/transport.h"

#include "common/base/clock.h"
#include "common/base/memory.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int comm_rank(const Comm *c)
{
    return c ? c->transport.rank : 0;
}

int comm_ranks(const Comm *c)
{
    return c ? c->transport.ranks : 1;
}

const char *comm_name(const Comm *c)
{
    return c->device.name ? c->device.name : c->transport.name;
}

CommRange comm_range(const Comm *c, int64_t n)
{
    int64_t rank = comm_rank(c), ranks = comm_ranks(c);
    return (CommRange){n * rank / ranks, n * (rank + 1) / ranks};
}

void comm_close(Comm *c)
{
    if (!c)
        return;
    if (c->device.name)
        c->device.close(c->device.own);
    c->transport.close(c->transport.own);
    array_free(&c->neighbours);
    mem_free(c);
}

CommTraffic comm_sent(const Comm *c)
{
    return c ? c->sent : (CommTraffic){0};
}

void comm_watch(Comm *c, const volatile sig_atomic_t *stop, const char *last_words)
{
    if (!c)
        return;
    c->stop = stop;
    c->last_words = last_words;
}

/* ---- Waiting */

/* The launcher kills those that are left a second after it has asked them to end. */
static const double LEAST_PATIENCE = 0.3;

__attribute__((noreturn)) static void give_up(const Comm *c)
{
    if (c->transport.rank <= 1)
        fprintf(stderr, "%s\n", c->last_words);
    fflush(stderr);
    _exit(2); /* nobody is left to take leave of */
}

void comm_begin(Comm *c, Exchange *x)
{
    contract(x->send_bytes <= INT_MAX && x->receive_bytes <= INT_MAX, "a message of %zu bytes, and one of %zu",
             x->send_bytes, x->receive_bytes);
    if (x->to >= 0) {
        c->sent.messages++;
        c->sent.bytes += (int64_t)x->send_bytes;
    }
    c->transport.begin(c->transport.own, x);
}

void comm_idle(Comm *c, Waiting *w)
{
    enum { SPINS = 1000, NAP_MICROSECONDS = 50, LOOK_EVERY = 100 };
    static const double LONG =
        1e-3; /* who has waited so long does not mind a nap, and whoever else computes here needs it */
    if (c->transport.idle)
        c->transport.idle(c->transport.own);
    if (++w->spins < SPINS)
        return;
    double now = clock_seconds();
    if (w->begun == 0)
        w->begun = now;
    if (now - w->begun > LONG)
        usleep(NAP_MICROSECONDS);
    else
        sched_yield();
    if (c->stop && *c->stop && w->stopped == 0)
        w->stopped = now;
    bool in_vain = w->stopped > 0 && now - w->stopped > LEAST_PATIENCE + 2 * c->longest_wait;
    if (in_vain || (c->stop && w->spins % LOOK_EVERY == 0 && comm_neighbour_ended(c)))
        give_up(c);
}

void comm_waited(Comm *c, const Waiting *w)
{
    if (w->begun > 0)
        c->longest_wait = MAX(c->longest_wait, clock_seconds() - w->begun);
}

static void exchange(Comm *c, Exchange x)
{
    Waiting w = {0};
    comm_begin(c, &x);
    while (!c->transport.over(c->transport.own, &x))
        comm_idle(c, &w);
    comm_waited(c, &w);
}

/* ---- On the host */

/* Every rank has its own block first, then those of the ranks behind it, and in every round twice as many (Bruck et al., 1997,
 * "Efficient algorithms for all-to-all communications in multiport message-passing systems", section 4). */
void comm_gather(Comm *c, const void *mine, size_t bytes, void *all)
{
    int ranks = comm_ranks(c), rank = comm_rank(c);
    if (ranks == 1) {
        memcpy(all, mine, bytes);
        return;
    }
    char *blocks = mem_new((size_t)ranks * bytes);
    memcpy(blocks, mine, bytes);
    for (int have = 1; have < ranks; have *= 2) {
        size_t moved = (size_t)MIN(have, ranks - have) * bytes;
        exchange(c, (Exchange){.to = (rank - have + ranks) % ranks,
                               .from = (rank + have) % ranks,
                               .send = blocks,
                               .send_bytes = moved,
                               .receive = blocks + (size_t)have * bytes,
                               .receive_bytes = moved});
    }
    for (int i = 0; i < ranks; i++)
        memcpy((char *)all + (size_t)((rank + i) % ranks) * bytes, blocks + (size_t)i * bytes, bytes);
    mem_free(blocks);
}

void comm_sum_doubles(Comm *c, double *x, int n)
{
    int ranks = comm_ranks(c);
    if (ranks == 1)
        return;
    double *all = mem_new((size_t)(ranks * n) * sizeof *all);
    comm_gather(c, x, (size_t)n * sizeof *x, all);
    for (int i = 0; i < n; i++) {
        x[i] = 0;
        for (int r = 0; r < ranks; r++)
            x[i] += all[r * n + i];
    }
    mem_free(all);
}

bool comm_any(Comm *c, bool mine)
{
    double count = mine;
    comm_sum_doubles(c, &count, 1);
    return count > 0;
}

/* Down a binomial tree: in every round twice as many ranks have it. */
void comm_share(Comm *c, void *x, size_t bytes)
{
    int ranks = comm_ranks(c), rank = comm_rank(c);
    for (int have = 1; have < ranks; have *= 2) {
        if (rank < have && rank + have < ranks)
            exchange(c, (Exchange){.to = rank + have, .from = -1, .send = x, .send_bytes = bytes});
        else if (rank >= have && rank < 2 * have)
            exchange(c, (Exchange){.to = -1, .from = rank - have, .receive = x, .receive_bytes = bytes});
    }
}

char *comm_share_text(Comm *c, const char *text)
{
    int64_t bytes = text ? (int64_t)strlen(text) + 1 : 0;
    comm_share(c, &bytes, sizeof bytes);
    if (!bytes)
        return NULL;
    char *shared = mem_new((size_t)bytes);
    if (comm_rank(c) == 0)
        memcpy(shared, text, (size_t)bytes);
    comm_share(c, shared, (size_t)bytes);
    return shared;
}
