#include "common/data/bpe.h"

#include <string.h>

enum { FEW = 32 }; /* symbols that are searched anew for every merge; more go through a heap */

typedef struct Merge {
    int32_t left, right, rank, merged; /* rank -1: an empty slot */
} Merge;

/* A pair that can be merged. */
typedef struct Candidate {
    int32_t rank, merged;
    int32_t left_id, right_id; /* what stood there when it was found: it may have changed since */
    int64_t place;             /* of the left symbol */
} Candidate;

/* A symbol of a long word; merged ones are unlinked. */
typedef struct Symbol {
    int64_t before, after; /* places, -1: none */
    int32_t id;            /* -1: gone */
} Symbol;

struct Bpe {
    Merge *slots; /* open addressing */
    size_t slot_count, count;
    ARRAY(Symbol) symbols;
    ARRAY(Candidate) heap; /* the lowest rank, then place, at the top */
};

Bpe *bpe_new(void)
{
    return mem_new(sizeof(Bpe));
}

void bpe_free(Bpe *bpe)
{
    if (!bpe)
        return;
    mem_free(bpe->slots);
    array_free(&bpe->symbols);
    array_free(&bpe->heap);
    mem_free(bpe);
}

static Merge *slot_of(const Bpe *bpe, int32_t left, int32_t right)
{
    uint64_t hash = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    size_t slot = (size_t)(hash >> 32) & (bpe->slot_count - 1);
    while (bpe->slots[slot].rank >= 0 && (bpe->slots[slot].left != left || bpe->slots[slot].right != right))
        slot = (slot + 1) & (bpe->slot_count - 1);
    return &bpe->slots[slot];
}

static void grow(Bpe *bpe)
{
    Merge *old = bpe->slots;
    size_t old_count = bpe->slot_count;
    bpe->slot_count = old_count ? 2 * old_count : 64;
    bpe->slots = mem_new(bpe->slot_count * sizeof *bpe->slots);
    for (size_t i = 0; i < bpe->slot_count; i++)
        bpe->slots[i].rank = -1;
    for (size_t i = 0; i < old_count; i++)
        if (old[i].rank >= 0)
            *slot_of(bpe, old[i].left, old[i].right) = old[i];
    mem_free(old);
}

void bpe_add(Bpe *bpe, int32_t left, int32_t right, int32_t merged)
{
    if (2 * (bpe->count + 1) > bpe->slot_count)
        grow(bpe);
    Merge *slot = slot_of(bpe, left, right);
    if (slot->rank < 0)
        *slot = (Merge){left, right, (int32_t)bpe->count++, merged};
}

/* A few symbols: look at every pair, merge the best, again. */
static int64_t merge_few(const Bpe *bpe, int32_t *ids, int64_t count)
{
    for (;;) {
        const Merge *best = NULL;
        int64_t place = 0;
        for (int64_t i = 0; i + 1 < count; i++) {
            const Merge *merge = slot_of(bpe, ids[i], ids[i + 1]);
            if (merge->rank >= 0 && (!best || merge->rank < best->rank)) {
                best = merge;
                place = i;
            }
        }
        if (!best)
            return count;
        ids[place] = best->merged;
        count--;
        memmove(ids + place + 1, ids + place + 2, (size_t)(count - place - 1) * sizeof *ids);
    }
}

static bool earlier(const Candidate *a, const Candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->place < b->place;
}

static void heap_push(Bpe *bpe, Candidate candidate)
{
    *array_add(&bpe->heap) = candidate;
    Candidate *heap = bpe->heap.items;
    size_t i = bpe->heap.count - 1;
    for (; i && earlier(&candidate, &heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = candidate;
}

static Candidate heap_pop(Bpe *bpe)
{
    Candidate *heap = bpe->heap.items, top = heap[0], last = heap[--bpe->heap.count];
    size_t count = bpe->heap.count, i = 0;
    for (size_t child; (child = 2 * i + 1) < count; i = child) {
        child += child + 1 < count && earlier(&heap[child + 1], &heap[child]);
        if (!earlier(&heap[child], &last))
            break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

/* Puts the pair at `left` and behind it on the heap, if it is one that merges. */
static void consider(Bpe *bpe, int64_t left)
{
    const Symbol *symbols = bpe->symbols.items;
    int64_t right = left < 0 ? -1 : symbols[left].after;
    if (right < 0)
        return;
    const Merge *merge = slot_of(bpe, symbols[left].id, symbols[right].id);
    if (merge->rank >= 0)
        heap_push(bpe, (Candidate){merge->rank, merge->merged, merge->left, merge->right, left});
}

static int64_t merge_many(Bpe *bpe, int32_t *ids, int64_t count)
{
    bpe->symbols.count = bpe->heap.count = 0;
    for (int64_t i = 0; i < count; i++)
        *array_add(&bpe->symbols) = (Symbol){i - 1, i + 1 < count ? i + 1 : -1, ids[i]};
    Symbol *symbols = bpe->symbols.items;
    for (int64_t i = 0; i < count; i++)
        consider(bpe, i);
    while (bpe->heap.count) {
        Candidate c = heap_pop(bpe);
        Symbol *left = &symbols[c.place];
        if (left->id != c.left_id || left->after < 0 || symbols[left->after].id != c.right_id)
            continue; /* it was merged with another since */
        Symbol *right = &symbols[left->after];
        left->id = c.merged;
        left->after = right->after;
        right->id = -1;
        if (left->after >= 0)
            symbols[left->after].before = c.place;
        consider(bpe, left->before);
        consider(bpe, c.place);
    }
    int64_t kept = 0;
    for (int64_t i = 0; i >= 0; i = symbols[i].after)
        ids[kept++] = symbols[i].id;
    return kept;
}

void bpe_merge(Bpe *bpe, TokenIds *ids, size_t first)
{
    int64_t count = (int64_t)(ids->count - first);
    if (count < 2 || !bpe->count)
        return;
    int32_t *symbols = ids->items + first;
    ids->count = first + (size_t)(count <= FEW ? merge_few(bpe, symbols, count) : merge_many(bpe, symbols, count));
}
