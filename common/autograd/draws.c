/* Which numbers a draw of this step gets, and which rows of the whole batch the samples are that it is for. */
#include "common/autograd/tape_parts.h"

void tape_set_step(Tape *t, uint32_t step)
{
    t->step = step;
    t->lists->calls.count = 0;
}

static uint32_t count_call(Tape *t, uint32_t site)
{
    struct TapeLists *l = t->lists;
    for (size_t i = 0; i < l->calls.count; i++)
        if (l->calls.items[i].site == site)
            return ++l->calls.items[i].calls;
    *array_add(&l->calls) = (SiteCalls){site, 0};
    return 0;
}

PhiloxDraw tape_draw(Tape *t, uint32_t site)
{
    uint32_t call = count_call(t, site);
    return (PhiloxDraw){t->seed, STREAM_MODEL, site + call * 0x9E3779B9u, t->step};
}

Comm *tape_comm(const Tape *t)
{
    return t->comm;
}

void tape_sync_batch_norm(Tape *t, bool yes)
{
    t->sync_batch_norm = yes;
}

void tape_use_comm(Tape *t, Comm *comm)
{
    t->comm = comm;
}

RowMap tape_map_rows(Tape *t, RowMap map)
{
    RowMap before = t->rows;
    t->rows = map;
    return before;
}

int64_t tape_element(const Tape *t, Shape shape, int64_t i)
{
    int64_t place, each = row_map_each(&t->rows, shape);
    if (!each)
        return i;
    row_map_piece(&t->rows, shape, i / each * each, &place);
    return place + i % each;
}

int64_t row_map_each(const RowMap *m, Shape shape)
{
    bool mapped = m->rows > 0 && shape.rank > 0 && shape.dim[0] > 0 && shape.dim[0] % m->rows == 0;
    return mapped ? shape_count(shape) / m->rows : 0;
}

int64_t row_map_piece(const RowMap *m, Shape shape, int64_t from, int64_t *place)
{
    int64_t each = row_map_each(m, shape), row = each ? from / each : 0, end = row + 1;
    *place = from;
    if (!each)
        return shape_count(shape) - from;
    *place = m->place[row] * each;
    while (end < m->rows && m->place[end] == m->place[end - 1] + 1)
        end++;
    return (end - row) * each;
}

void tape_replay(Tape *t, RandomReplay *replay)
{
    t->replay = replay;
}

RandomReplay *tape_replaying(const Tape *t)
{
    return t->replay;
}
