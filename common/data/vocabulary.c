#include "common/data/vocabulary.h"

#include "common/base/error.h"
#include "common/base/memory.h"
#include "common/base/str.h"

#include <string.h>

typedef struct Entry {
    size_t start, size; /* in `text` */
    uint64_t hash;
} Entry;

struct Vocabulary {
    Str text;
    ARRAY(Entry) entries;
    int32_t *slots;    /* open addressing: id, or -1 */
    size_t slot_count; /* a power of two, at least twice the entries */
};

Vocabulary *vocabulary_new(void)
{
    return mem_new(sizeof(Vocabulary));
}

void vocabulary_free(Vocabulary *v)
{
    if (!v)
        return;
    str_free(&v->text);
    array_free(&v->entries);
    mem_free(v->slots);
    mem_free(v);
}

int32_t vocabulary_count(const Vocabulary *v)
{
    return (int32_t)v->entries.count;
}

const char *vocabulary_text(const Vocabulary *v, int32_t id, size_t *size)
{
    contract(id >= 0 && (size_t)id < v->entries.count, "vocabulary_text: id %d of %zu", id, v->entries.count);
    if (size)
        *size = v->entries.items[id].size;
    return v->text.text + v->entries.items[id].start;
}

/* The slot that holds the string, or the empty one where it would go. */
static size_t slot_of(const Vocabulary *v, const char *text, size_t size, uint64_t hash)
{
    size_t slot = (hash ^ hash >> 32) & (v->slot_count - 1);
    for (;; slot = (slot + 1) & (v->slot_count - 1)) {
        int32_t id = v->slots[slot];
        if (id < 0)
            return slot;
        const Entry *entry = &v->entries.items[id];
        if (entry->hash == hash && entry->size == size && memcmp(v->text.text + entry->start, text, size) == 0)
            return slot;
    }
}

int32_t vocabulary_find(const Vocabulary *v, const char *text, size_t size)
{
    return v->slot_count ? v->slots[slot_of(v, text, size, bytes_hash(0, text, size))] : -1;
}

static void grow(Vocabulary *v)
{
    v->slot_count = v->slot_count ? 2 * v->slot_count : 64;
    v->slots = mem_resize(v->slots, v->slot_count * sizeof *v->slots);
    memset(v->slots, 0xff, v->slot_count * sizeof *v->slots);
    for (size_t id = 0; id < v->entries.count; id++) {
        const Entry *entry = &v->entries.items[id];
        v->slots[slot_of(v, v->text.text + entry->start, entry->size, entry->hash)] = (int32_t)id;
    }
}

int32_t vocabulary_add(Vocabulary *v, const char *text, size_t size)
{
    if (2 * (v->entries.count + 1) > v->slot_count)
        grow(v);
    uint64_t hash = bytes_hash(0, text, size);
    size_t slot = slot_of(v, text, size, hash);
    if (v->slots[slot] < 0) {
        v->slots[slot] = (int32_t)v->entries.count;
        *array_add(&v->entries) = (Entry){v->text.length, size, hash};
        str_add_bytes(&v->text, text, size);
        str_add_bytes(&v->text, "", 1);
    }
    return v->slots[slot];
}

uint64_t vocabulary_hash(const Vocabulary *v, uint64_t start)
{
    return bytes_hash(start, v->text.text, v->text.length);
}
