/* A tokenizer that was accepted encodes hard texts into ids of its vocabulary and decodes them, whatever its file says. */
#pragma once
#include "common/data/tokenizer.h"

#include <string.h>

static inline void encode_text(const Tokenizer *t, const char *text, size_t size)
{
    TokenIds ids = {0};
    Str back = {0};
    Error e;
    int64_t vocabulary = tokenizer_vocabulary(t);
    if (tokenizer_encode(t, text, size, &ids, &e)) {
        int64_t *wide = mem_new(ids.count * sizeof *wide);
        for (size_t i = 0; i < ids.count; i++) {
            wide[i] = ids.items[i];
            contract(wide[i] >= 0 && wide[i] < vocabulary, "id %lld of %lld", (long long)wide[i],
                     (long long)vocabulary);
        }
        tokenizer_decode(t, wide, (int64_t)ids.count, &back);
        mem_free(wide);
    }
    array_free(&ids);
    str_free(&back);
}

static inline void encode_texts(Tokenizer *t)
{
    static const char *const texts[] = {
        "", "a", "Hello  world, it's\n\n \t3 o'clock [MASK] <mask> ##s",
        "\xc3\xa9"
        "e\xcc\x81 \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7 "
        "\xc4\xb0\xc2\xa0\xe3\x80\x80\xef\xac\x81\xff",
        "ababababababababababababababababababababababababababababababababababababababababababababababababababababababab"
        "ab"};
    for (int i = 0; i < COUNT_OF(texts); i++)
        encode_text(t, texts[i], strlen(texts[i]));
    encode_text(t, "\0\x01 \0", 4);
    Error e;
    contract(tokenizer_add(t, "<new>", &e) >= 0, "%s", e.text);
    encode_text(t, "a<new>b", 7);
    tokenizer_close(t);
}
