/* Which tokenizer a file or folder holds. */
#include "common/data/subword.h"
#include "common/data/tokenizer_kind.h"

#include <string.h>

json_t *tokenizer_read_json(const char *path, uint64_t *stamp, Error *e)
{
    size_t size;
    char *text = file_read(path, &size, e);
    if (!text)
        return NULL;
    json_error_t why;
    json_t *root = json_loadb(text, size, JSON_ALLOW_NUL, &why);
    if (stamp)
        *stamp = bytes_hash(*stamp, text, size);
    mem_free(text);
    return root ? root : error_null(e, "%s: not JSON: %s (line %d)", path, why.text, why.line);
}

/* What tokenizer_write wrote. */
static Tokenizer *open_learned(const json_t *root, const char *name, Error *e)
{
    Tokenizer *t = tokenizer_named(name);
    if (!t)
        return error_null(e, "'%s' is no tokenizer that is known here", name);
    if (t->tokens || tokenizer_adopt_json(t, root, e))
        return t;
    tokenizer_close(t);
    return NULL;
}

static Tokenizer *open_json(const char *path, Error *e)
{
    uint64_t stamp = 0;
    json_t *root = tokenizer_read_json(path, &stamp, e);
    if (!root)
        return NULL;
    const char *learned = json_string_value(json_object_get(root, "tokenizer"));
    Tokenizer *t = NULL;
    if (learned)
        t = open_learned(root, learned, e);
    else if (json_object_get(root, "model"))
        t = subword_from_json(root, e);
    else
        error_set(e, "holds no 'model': not a tokenizer.json");
    if (!t)
        error_prefix(e, "%s", path);
    else if (!learned)
        t->stamp = stamp;
    json_decref(root);
    return t;
}

static Tokenizer *open_vocab_and_merges(const char *vocab_path, const char *merges_path, Error *e)
{
    uint64_t stamp = 0;
    size_t size;
    json_t *vocab = tokenizer_read_json(vocab_path, &stamp, e);
    char *merges = vocab ? file_read(merges_path, &size, e) : NULL;
    Tokenizer *t = merges ? subword_from_vocab_and_merges(vocab, merges, e) : NULL;
    if (t)
        t->stamp = bytes_hash(stamp, merges, size);
    else if (merges)
        error_prefix(e, "%s", vocab_path);
    mem_free(merges);
    json_decref(vocab);
    return t;
}

static Tokenizer *open_vocab_text(const char *path, Error *e)
{
    size_t size;
    char *text = file_read(path, &size, e);
    Tokenizer *t = text ? subword_from_vocab_text(text, size, e) : NULL;
    if (t)
        t->stamp = bytes_hash(0, text, size);
    else if (text)
        error_prefix(e, "%s", path);
    mem_free(text);
    return t;
}

/* vocab.json with merges.txt beside it. */
static Tokenizer *open_vocab_json(const char *path, Error *e)
{
    char *merges = str_format("%.*smerges.txt", (int)(path_base(path) - path), path);
    Tokenizer *t = open_vocab_and_merges(path, merges, e);
    mem_free(merges);
    return t;
}

typedef struct Known {
    const char *name;
    Tokenizer *(*open)(const char *path, Error *e);
} Known;

/* What a folder is searched for, in turn. */
static const Known known_files[] = {
    {"tokenizer.json", open_json},
    {"vocab.json", open_vocab_json},
    {"vocab.txt", open_vocab_text},
    {"vocabulary.json", open_json},
    {"tokenizer.model", tokenizer_sentencepiece},
    {"spiece.model", tokenizer_sentencepiece},
    {"sentencepiece.bpe.model", tokenizer_sentencepiece},
};

static Tokenizer *open_folder(const char *path, Error *e)
{
    for (int i = 0; i < COUNT_OF(known_files); i++) {
        char *file = path_join(path, known_files[i].name);
        bool there = file_exists(file);
        Tokenizer *t = there ? known_files[i].open(file, e) : NULL;
        mem_free(file);
        if (there)
            return t;
    }
    return error_null(e,
                      "%s: no tokenizer in it: neither tokenizer.json nor vocab.json with merges.txt nor vocab.txt "
                      "nor tokenizer.model",
                      path);
}

Tokenizer *tokenizer_open_path(const char *path, Error *e)
{
    if (folder_exists(path))
        return open_folder(path, e);
    if (strcmp(path_base(path), "vocab.json") == 0 || strcmp(path_base(path), "merges.txt") == 0) {
        char *vocab = str_format("%.*svocab.json", (int)(path_base(path) - path), path);
        Tokenizer *t = open_vocab_json(vocab, e);
        mem_free(vocab);
        return t;
    }
    if (str_ends(path, ".model"))
        return tokenizer_sentencepiece(path, e);
    return str_ends(path, ".txt") ? open_vocab_text(path, e) : open_json(path, e);
}
