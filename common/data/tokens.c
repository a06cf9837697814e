#include "common/data/tokens.h"

#include "common/base/place.h"
#include "common/data/tokenizer_kind.h"
#include "common/data/tokens_file.h"

#include <libdeflate.h>
#include <string.h>
#include <unistd.h>

const char tokens_magic[8] = "zootok1";

/* Whether the map holds, undamaged, the stream that is wanted; points the tokens into it if so. */
static bool adopt(Tokens *t, uint64_t corpus, uint64_t tokenizer)
{
    TokensEnd end;
    if (t->map.size < sizeof end)
        return false;
    size_t body = t->map.size - sizeof end;
    memcpy(&end, t->map.bytes + body, sizeof end);
    if (memcmp(end.magic, tokens_magic, sizeof end.magic) || end.corpus != corpus || end.tokenizer != tokenizer ||
        libdeflate_crc32(0, t->map.bytes, t->map.size - sizeof end.checksum) != end.checksum)
        return false;
    size_t ids = ((size_t)end.count * end.token_bytes + 7) / 8 * 8;
    contract(ids + ((size_t)end.documents + 1) * sizeof *t->starts == body, "a cache of tokens with a sound checksum");
    t->count = end.count;
    t->vocabulary = end.vocabulary;
    t->bytes = end.bytes;
    t->words = end.words;
    t->documents = end.documents;
    t->token_bytes = (int)end.token_bytes;
    t->ids = t->map.bytes;
    t->starts = (const int64_t *)(t->map.bytes + ids);
    return true;
}

/* The file as it lies there; false if there is none or not the one that is wanted. */
static bool open_cached(Tokens *t, const char *path, const Corpus *corpus, const Tokenizer *tokenizer)
{
    if (!file_exists(path) || !file_map(&t->map, path, NULL))
        return false;
    if (adopt(t, corpus->stamp, tokenizer_stamp(tokenizer)))
        return true;
    file_unmap(&t->map);
    return false;
}

static bool open_or_make(Tokens *t, const char *folder, const Corpus *corpus, CorpusPart part,
                         const Tokenizer *tokenizer, Error *e)
{
    char *path = str_format("%s/%s.tokens", folder, corpus_part_name(part));
    bool good = open_cached(t, path, corpus, tokenizer);
    int fd = good ? -1 : place_lock(folder, e);
    if (fd >= 0) {
        good = open_cached(t, path, corpus, tokenizer) ||
               (tokens_write(path, corpus, part, tokenizer, e) &&
                (open_cached(t, path, corpus, tokenizer) || error_set(e, "%s: is not what was just written", path)));
        close(fd);
    }
    mem_free(path);
    return good;
}

Tokens *tokens_open(const Corpus *corpus, CorpusPart part, const Tokenizer *tokenizer, Error *e)
{
    if (!corpus->documents[part])
        return error_null(e, "data set %s has no part '%s'", corpus->name, corpus_part_name(part));
    if (!tokenizer_takes(tokenizer, corpus, e))
        return NULL;
    uint64_t stamps[2] = {corpus->stamp, tokenizer_stamp(tokenizer)};
    char *name = str_format("%s-%016llx", corpus->name, (unsigned long long)bytes_hash(0, stamps, sizeof stamps));
    char *folder = place_cache(name, e);
    Tokens *t = mem_new(sizeof *t);
    bool good = folder && open_or_make(t, folder, corpus, part, tokenizer, e);
    if (good && !t->count)
        good = error_set(e, "data set %s: part '%s' has no text", corpus->name, corpus_part_name(part));
    mem_free(name);
    mem_free(folder);
    if (good)
        return t;
    tokens_close(t);
    return NULL;
}

void tokens_close(Tokens *t)
{
    if (!t)
        return;
    file_unmap(&t->map);
    mem_free(t);
}

void tokens_read(const Tokens *t, int64_t first, int64_t count, int64_t *ids)
{
    contract(first >= 0 && count >= 0 && first <= t->count - count, "tokens_read: %lld tokens from %lld of %lld",
             (long long)count, (long long)first, (long long)t->count);
    const uint8_t *bytes = t->ids;
    const uint16_t *shorts = t->ids;
    const uint32_t *words = t->ids;
    for (int64_t i = 0; i < count; i++)
        ids[i] = t->token_bytes == 1   ? bytes[first + i]
                 : t->token_bytes == 2 ? shorts[first + i]
                                       : (int64_t)words[first + i];
}
