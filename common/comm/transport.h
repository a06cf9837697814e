/* What a backend of the floor gives: it moves bytes between two ranks. Everything else is written once, over this. */
#pragma once
#include "common/base/memory.h"
#include "common/comm/comm.h"

/* A message to one rank, and one from another (or the same). A rank that is -1: there is none. Of messages between two ranks
 * with one tag the first that is sent is the first that is received. */
typedef struct Exchange {
    int to, from, tag;
    size_t send_bytes, receive_bytes;
    const void *send;
    void *receive;
    void *request[2]; /* the transport's own, while it is under way */
} Exchange;

typedef struct Transport {
    const char *name;
    int rank, ranks;
    void *own;
    void (*begin)(void *own, Exchange *x);
    bool (*over)(void *own, Exchange *x); /* whether both have been moved; moves what it can */
    void (*idle)(void *own);              /* this rank has nothing to do but to wait */
    void (*close)(void *own);
    /* A library that adds up memory of its device by itself, in place, behind what `stream` has to do (NCCL); begun in one
     * order by all ranks, `over` tells when it is done. Then the other functions may be NULL. */
    void (*sum)(void *own, float *x, int64_t count, void *stream, Exchange *under_way);
} Transport;

struct Comm {
    Transport transport;
    Transport device; /* of those who have GPUs; its name is NULL without them */
    CommTraffic sent;
    const volatile sig_atomic_t *stop; /* NULL: not watched */
    const char *last_words;
    double longest_wait;       /* seconds */
    ARRAY(int64_t) neighbours; /* processes: the other ranks of this machine */
};

enum { TAG_NOW = 0 }; /* of the calls that return with their result */

void comm_begin(Comm *c, Exchange *x);

/* A rank that has nothing to do until others have done something: comm_idle again and again, then comm_waited. */
typedef struct Waiting {
    int spins;
    double begun, stopped; /* seconds; 0: not yet */
} Waiting;

/* neighbours.c */
void comm_meet_neighbours(Comm *c);
bool comm_neighbour_ended(const Comm *c);

void comm_idle(Comm *c, Waiting *w);
void comm_waited(Comm *c, const Waiting *w);

/* What a transport's shared object exports as `zoo_transport_open`. */
typedef bool TransportOpen(Transport *t, Error *e);

/* NCCL's: ranks meet by what rank 0 has written into `id`. */
enum { MEETING_BYTES = 128 };
typedef bool NcclMeeting(void *id, Error *e);                  /* zoo_nccl_meeting */
typedef bool NcclOpen(Transport *t, const void *id, Error *e); /* zoo_nccl_open; t->rank and ranks are set */
