#include "common/hosts/language_model/ngram.h"

#include "common/base/error.h"
#include "common/base/memory.h"

/* What is known of a gram: how often it was seen, and what followed it. A gram is its length (high bits) and its bytes, the
 * last one lowest, plus 1 so that an empty place is 0. */
typedef struct Entry {
    uint64_t gram;
    uint32_t count;     /* of the gram itself */
    uint32_t followers; /* bytes that followed it, in all */
    uint32_t kinds;     /* different ones */
} Entry;

/* Open addressing, a power of two of places, at most two thirds of them taken. */
struct Ngram {
    int order;
    size_t most_bytes;
    Entry *entries;
    uint64_t places, taken;
};

enum { FIRST_PLACES = 1 << 12 };

Ngram *ngram_new(int order, size_t most_bytes)
{
    contract(order >= 1 && order <= NGRAM_HIGHEST, "ngram_new: order %d", order);
    Ngram *n = mem_new(sizeof *n);
    *n = (Ngram){.order = order, .most_bytes = most_bytes, .places = FIRST_PLACES};
    n->entries = mem_new(n->places * sizeof *n->entries);
    return n;
}

void ngram_free(Ngram *n)
{
    if (!n)
        return;
    mem_free(n->entries);
    mem_free(n);
}

size_t ngram_bytes(const Ngram *n)
{
    return n->places * sizeof *n->entries;
}

/* The gram of the `length` bytes that end before `end`. */
static uint64_t gram_of(const uint8_t *end, int length)
{
    uint64_t gram = 0;
    for (int i = length; i > 0; i--)
        gram = gram << 8 | end[-i];
    return (gram | (uint64_t)length << 40) + 1;
}

/* Where the gram stands, or the empty place where it would. */
static Entry *find(const Ngram *n, uint64_t gram)
{
    uint64_t place = gram * 0x9e3779b97f4a7c15u;
    place ^= place >> 32;
    for (;; place++) {
        Entry *entry = &n->entries[place & (n->places - 1)];
        if (entry->gram == gram || entry->gram == 0)
            return entry;
    }
}

static bool grow(Ngram *n)
{
    Ngram larger = *n;
    larger.places *= 2;
    if (ngram_bytes(n) + ngram_bytes(&larger) > n->most_bytes) /* both stand beside each other while it grows */
        return false;
    larger.entries = mem_new(ngram_bytes(&larger));
    for (uint64_t i = 0; i < n->places; i++)
        if (n->entries[i].gram)
            *find(&larger, n->entries[i].gram) = n->entries[i];
    mem_free(n->entries);
    *n = larger;
    return true;
}

/* One more of history + byte, which ends before `end`, `length` bytes long; false if there is no room. */
static bool add(Ngram *n, const uint8_t *end, int length)
{
    if (3 * (n->taken + 2) > 2 * n->places && !grow(n))
        return false;
    Entry *whole = find(n, gram_of(end, length));
    bool fresh = whole->count++ == 0;
    if (!whole->gram) {
        whole->gram = gram_of(end, length);
        n->taken++;
    }
    Entry *history = find(n, gram_of(end - 1, length - 1));
    if (!history->gram) {
        history->gram = gram_of(end - 1, length - 1);
        n->taken++;
    }
    history->followers++;
    history->kinds += fresh;
    return true;
}

bool ngram_count(Ngram *n, const uint8_t *text, int64_t bytes)
{
    for (int64_t i = 1; i <= bytes; i++)
        for (int length = 1; length <= n->order && length <= i; length++)
            if (!add(n, text + i, length))
                return false;
    return true;
}

double ngram_probability(const Ngram *n, const uint8_t *history, int64_t known, uint8_t byte)
{
    const uint8_t *end = history + known;
    uint8_t gram[NGRAM_HIGHEST];
    double p = 1.0 / 256;
    for (int before = 0; before < n->order && before <= known; before++) {
        const Entry *h = find(n, gram_of(end, before));
        if (!h->followers)
            break; /* a longer history was not seen either */
        for (int i = 0; i < before; i++)
            gram[i] = end[i - before];
        gram[before] = byte;
        double count = find(n, gram_of(gram + before + 1, before + 1))->count;
        p = (count + h->kinds * p) / ((double)h->followers + h->kinds);
    }
    return p;
}
