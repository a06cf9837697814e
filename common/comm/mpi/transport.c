/* MPI's point-to-point messages as a transport: a shared object of its own, and the only file that knows MPI. */
#include "common/comm/transport.h"

#include <limits.h>
#include <mpi.h>
#include <string.h>

_Static_assert(sizeof(MPI_Request) <= sizeof(void *), "a request does not fit where an Exchange keeps it");

static MPI_Request request_of(void *const *place)
{
    MPI_Request r;
    memcpy(&r, place, sizeof r);
    return r;
}

static void begin(void *own, Exchange *x)
{
    MPI_Request received = MPI_REQUEST_NULL, sent = MPI_REQUEST_NULL;
    (void)own;
    if (x->from >= 0)
        MPI_Irecv(x->receive, (int)x->receive_bytes, MPI_BYTE, x->from, x->tag, MPI_COMM_WORLD, &received);
    if (x->to >= 0)
        MPI_Isend(x->send, (int)x->send_bytes, MPI_BYTE, x->to, x->tag, MPI_COMM_WORLD, &sent);
    memcpy(&x->request[0], &received, sizeof received);
    memcpy(&x->request[1], &sent, sizeof sent);
}

static bool over(void *own, Exchange *x)
{
    MPI_Request requests[] = {request_of(&x->request[0]), request_of(&x->request[1])};
    int all;
    (void)own;
    MPI_Testall(2, requests, &all, MPI_STATUSES_IGNORE);
    memcpy(&x->request[0], &requests[0], sizeof requests[0]);
    memcpy(&x->request[1], &requests[1], sizeof requests[1]);
    return all;
}

static void close_mpi(void *own)
{
    (void)own;
    MPI_Finalize();
}

__attribute__((visibility("default"))) TransportOpen zoo_transport_open;

bool zoo_transport_open(Transport *t, Error *e)
{
    int given;
    (void)e; /* MPI ends a program that it cannot start, with words of its own */
    MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &given);
    *t = (Transport){.name = "MPI", .begin = begin, .over = over, .close = close_mpi};
    MPI_Comm_rank(MPI_COMM_WORLD, &t->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &t->ranks);
    return true;
}
