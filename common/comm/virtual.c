#include "common/comm/virtual.h"

#include "common/base/memory.h"
#include "common/comm/transport.h"

#include <pthread.h>
#include <string.h>

/* One that has been sent and not received. */
typedef struct Letter {
    int from, to, tag;
    size_t bytes;
    void *text;
} Letter;

typedef struct World {
    int ranks, turn, alive;
    bool *ended;   /* [ranks] */
    int fruitless; /* turns since a message was sent or received */
    ARRAY(Letter) letters;
    pthread_mutex_t lock;
    pthread_cond_t moved;
} World;

typedef struct Rank {
    World *world;
    Comm comm;
    RankProgram *program;
    void *user;
    pthread_t thread;
} Rank;

/* ---- Whose turn it is */

static void await_turn(World *w, int rank)
{
    pthread_mutex_lock(&w->lock);
    while (w->turn != rank)
        pthread_cond_wait(&w->moved, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

static void pass_turn(World *w)
{
    pthread_mutex_lock(&w->lock);
    do
        w->turn = (w->turn + 1) % w->ranks;
    while (w->alive && w->ended[w->turn]);
    pthread_cond_broadcast(&w->moved);
    pthread_mutex_unlock(&w->lock);
}

/* ---- The transport; only the rank whose turn it is comes here. */

static void begin(void *own, Exchange *x)
{
    Rank *r = own;
    World *w = r->world;
    if (x->to >= 0) {
        *array_add(&w->letters) = (Letter){.from = r->comm.transport.rank,
                                           .to = x->to,
                                           .tag = x->tag,
                                           .bytes = x->send_bytes,
                                           .text = mem_copy(x->send, x->send_bytes)};
        w->fruitless = 0;
    }
    x->request[0] = x->from >= 0 ? x : NULL; /* something is still to come */
}

static bool over(void *own, Exchange *x)
{
    Rank *r = own;
    World *w = r->world;
    if (!x->request[0])
        return true;
    for (size_t i = 0; i < w->letters.count; i++) {
        Letter *l = &w->letters.items[i];
        if (l->from != x->from || l->to != r->comm.transport.rank || l->tag != x->tag)
            continue;
        contract(l->bytes == x->receive_bytes, "rank %d sends rank %d %zu bytes where it expects %zu", l->from, l->to,
                 l->bytes, x->receive_bytes);
        memcpy(x->receive, l->text, l->bytes);
        mem_free(l->text);
        memmove(l, l + 1, (--w->letters.count - i) * sizeof *l);
        w->fruitless = 0;
        x->request[0] = NULL;
        return true;
    }
    return false;
}

static void idle(void *own)
{
    Rank *r = own;
    World *w = r->world;
    contract(++w->fruitless <= 2 * w->ranks, "virtual ranks that all wait for each other: rank %d is one of them",
             r->comm.transport.rank);
    pass_turn(w);
    await_turn(w, r->comm.transport.rank);
}

/* ---- Running */

static void *run(void *own)
{
    Rank *r = own;
    World *w = r->world;
    int rank = r->comm.transport.rank;
    await_turn(w, rank);
    r->program(&r->comm, r->user);
    w->ended[rank] = true;
    w->alive--;
    w->fruitless = 0;
    pass_turn(w);
    return NULL;
}

void virtual_ranks_run(int ranks, RankProgram *program, void *user, CommTraffic *sent)
{
    World w = {.ranks = ranks, .alive = ranks, .ended = mem_new((size_t)ranks * sizeof(bool))};
    Rank *all = mem_new((size_t)ranks * sizeof *all);
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.moved, NULL);
    for (int i = 0; i < ranks; i++) {
        all[i] = (Rank){.world = &w, .program = program, .user = user};
        all[i].comm.transport = (Transport){
            .name = "virtual", .rank = i, .ranks = ranks, .own = &all[i], .begin = begin, .over = over, .idle = idle};
        contract(pthread_create(&all[i].thread, NULL, run, &all[i]) == 0, "no thread for virtual rank %d", i);
    }
    for (int i = 0; i < ranks; i++) {
        pthread_join(all[i].thread, NULL);
        if (sent)
            sent[i] = all[i].comm.sent;
    }
    contract(w.letters.count == 0, "%zu messages that no virtual rank received", w.letters.count);
    array_free(&w.letters);
    pthread_cond_destroy(&w.moved);
    pthread_mutex_destroy(&w.lock);
    mem_free(all);
    mem_free(w.ended);
}
