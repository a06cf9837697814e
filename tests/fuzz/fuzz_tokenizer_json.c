/* Any bytes as a tokenizer.json. */
#include "common/data/subword.h"
#include "tests/fuzz/encode_texts.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    json_t *root = json_loadb((const char *)bytes, size, JSON_ALLOW_NUL, NULL);
    Error e;
    Tokenizer *t = root ? subword_from_json(root, &e) : NULL;
    json_decref(root);
    if (t)
        encode_texts(t);
    return 0;
}
