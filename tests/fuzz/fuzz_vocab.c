/* Any bytes as a vocab.txt, or (where a NUL is among them) as a vocab.json with merges.txt behind the NUL. */
#include "common/data/subword.h"
#include "tests/fuzz/encode_texts.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *text = (const char *)bytes, *nul = size ? memchr(text, '\0', size) : NULL;
    Error e;
    Tokenizer *t = NULL;
    if (nul) {
        Str merges = {0};
        str_add_bytes(&merges, nul + 1, size - (size_t)(nul + 1 - text));
        json_t *vocab = json_loadb(text, (size_t)(nul - text), 0, NULL);
        t = vocab ? subword_from_vocab_and_merges(vocab, merges.text, &e) : NULL;
        json_decref(vocab);
        str_free(&merges);
    } else {
        t = subword_from_vocab_text(text, size, &e);
    }
    if (t)
        encode_texts(t);
    return 0;
}
