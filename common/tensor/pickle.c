#include "common/tensor/pickle.h"

#include "common/tensor/pickle_machine.h"

#include <string.h>

enum { CHUNK = 256 }; /* values allocated at a time */

/* Plain types that have no opcode of their own (in some protocol). _codecs.encode is how protocol 2 writes bytes. */
static const PickleGlobal plain_globals[] = {{"collections", "OrderedDict", PICKLE_DICT, 0},
                                             {"_codecs", "encode", PICKLE_BYTES, 0},
                                             {"builtins", "set", PICKLE_SET, 0},
                                             {"__builtin__", "set", PICKLE_SET, 0},
                                             {"builtins", "frozenset", PICKLE_SET, 0},
                                             {"__builtin__", "frozenset", PICKLE_SET, 0},
                                             {"builtins", "bytes", PICKLE_BYTES, 0},
                                             {"__builtin__", "bytes", PICKLE_BYTES, 0}};

PickleValue *pickle_new_value(Pickle *p, PickleKind kind)
{
    if (!p->chunks.count || p->chunk_used == CHUNK) {
        *array_add(&p->chunks) = mem_new(CHUNK * sizeof(PickleValue));
        p->chunk_used = 0;
    }
    PickleValue *value = &p->chunks.items[p->chunks.count - 1][p->chunk_used++];
    value->kind = kind;
    return value;
}

bool pickle_is_list(const PickleValue *value)
{
    return value->kind >= PICKLE_LIST && value->kind <= PICKLE_DICT;
}

void pickle_list_add(PickleValue *list, PickleValue *const *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        list->list.items = array_room(list->list.items, list->list.count, &list->list.capacity, sizeof(PickleValue *));
        list->list.items[list->list.count++] = items[i];
    }
}

static const PickleGlobal *find_in(const PickleGlobal *list, int count, const PickleValue *module,
                                   const PickleValue *name)
{
    for (int i = 0; i < count; i++)
        if (pickle_is_str(name, list[i].name) && pickle_is_str(module, list[i].module))
            return &list[i];
    return NULL;
}

const PickleGlobal *pickle_find_global(const Pickle *p, const PickleValue *module, const PickleValue *name)
{
    const PickleGlobal *global = find_in(p->allowed, p->allowed_count, module, name);
    return global ? global : find_in(plain_globals, COUNT_OF(plain_globals), module, name);
}

/* The bytes that were written as a str, each code point one byte (latin-1): decodes UTF-8 of at most two bytes. */
static bool latin1(Pickle *p, const PickleValue *text, PickleValue *bytes)
{
    char *out = mem_new(text->text.length);
    p->steps += text->text.length / 64;
    const unsigned char *in = (const unsigned char *)text->text.bytes, *end = in + text->text.length;
    size_t count = 0;
    *array_add(&p->texts) = out;
    while (in < end) {
        bool two = end - in >= 2 && (in[0] & 0xfc) == 0xc0 && (in[1] & 0xc0) == 0x80;
        if (!two && in[0] >= 0x80)
            return false;
        out[count++] = (char)(two ? in[0] << 6 | (in[1] & 0x3f) : in[0]);
        in += two ? 2 : 1;
    }
    bytes->text.bytes = out;
    bytes->text.length = count;
    return true;
}

/* bytes() and _codecs.encode(str, 'latin1') */
static bool call_bytes(Pickle *p, const PickleValue *arguments, PickleValue *bytes)
{
    if (!arguments->list.count)
        return true;
    const PickleValue *text = arguments->list.items[0];
    return text->kind == PICKLE_STR && arguments->list.count == 2 &&
           (pickle_is_str(arguments->list.items[1], "latin1") || pickle_is_str(arguments->list.items[1], "latin-1")) &&
           latin1(p, text, bytes);
}

/* OrderedDict(), or OrderedDict([[key, value], ...]) as Python 2 writes it */
static bool call_dict(Pickle *p, const PickleValue *arguments, PickleValue *dict)
{
    if (!arguments->list.count)
        return true;
    const PickleValue *pairs = arguments->list.items[0];
    if (arguments->list.count != 1 || pairs->kind != PICKLE_LIST)
        return false;
    p->steps += pairs->list.count;
    for (size_t i = 0; i < pairs->list.count; i++) {
        const PickleValue *pair = pairs->list.items[i];
        if (!pickle_is_list(pair) || pair->list.count != 2)
            return false;
        pickle_list_add(dict, pair->list.items, 2);
    }
    return true;
}

/* set(list) and torch.Size(tuple): a fresh container of the same items */
static bool call_list(Pickle *p, const PickleValue *arguments, PickleValue *list)
{
    if (!arguments->list.count)
        return true;
    const PickleValue *items = arguments->list.items[0];
    if (arguments->list.count != 1 || (items->kind != PICKLE_LIST && items->kind != PICKLE_TUPLE))
        return false;
    p->steps += items->list.count;
    pickle_list_add(list, items->list.items, items->list.count);
    return true;
}

bool pickle_call(Pickle *p, const PickleGlobal *global, PickleValue *arguments, PickleValue *made)
{
    switch (global->makes) {
    case PICKLE_BYTES:
        return call_bytes(p, arguments, made);
    case PICKLE_DICT:
        return call_dict(p, arguments, made);
    case PICKLE_SET:
    case PICKLE_TUPLE:
        return call_list(p, arguments, made);
    case PICKLE_OBJECT:
        made->object.global = global;
        made->object.arguments = arguments;
        return true;
    default:
        return false;
    }
}

/* True at STOP, with the root as the only value on the stack. */
static bool run(Pickle *p, Error *e)
{
    if (!p->size || p->bytes[0] != PICKLE_PROTO)
        return error_set(e, "no pickle of protocol 2 to 5 begins here");
    for (;; p->steps++) {
        p->opcode_at = p->at;
        if (p->at == p->size)
            return error_set(e, "the pickle ends after %zu bytes, before its STOP", p->size);
        if (p->steps >= PICKLE_MAX_STEPS)
            return error_set(e, "the pickle takes more than %d steps", PICKLE_MAX_STEPS);
        unsigned char opcode = p->bytes[p->at++];
        if (opcode == PICKLE_STOP)
            break;
        if (!pickle_step(p, opcode, e))
            return false;
    }
    return (p->stack.count == 1 && !p->marks.count) ||
           error_set(e, "the pickle stops at byte %zu with %zu values instead of one", p->opcode_at, p->stack.count);
}

Pickle *pickle_read(const void *bytes, size_t size, const PickleGlobal *allowed, int allowed_count, size_t *used,
                    Error *e)
{
    Pickle *p = mem_new(sizeof *p);
    *p = (Pickle){.bytes = bytes, .size = size, .allowed = allowed, .allowed_count = allowed_count};
    if (!run(p, e)) {
        pickle_free(p);
        return NULL;
    }
    *used = p->at;
    return p;
}

void pickle_free(Pickle *p)
{
    if (!p)
        return;
    for (size_t c = 0; c < p->chunks.count; c++) {
        size_t count = c + 1 < p->chunks.count ? CHUNK : p->chunk_used;
        for (size_t i = 0; i < count; i++)
            if (pickle_is_list(&p->chunks.items[c][i]))
                mem_free(p->chunks.items[c][i].list.items);
        mem_free(p->chunks.items[c]);
    }
    for (size_t i = 0; i < p->texts.count; i++)
        mem_free(p->texts.items[i]);
    array_free(&p->stack);
    array_free(&p->marks);
    array_free(&p->memo);
    array_free(&p->persistent);
    array_free(&p->chunks);
    array_free(&p->texts);
    mem_free(p);
}

PickleValue *pickle_root(const Pickle *p)
{
    return p->stack.items[0];
}

size_t pickle_persistent_count(const Pickle *p)
{
    return p->persistent.count;
}

PickleValue *pickle_persistent(const Pickle *p, size_t i)
{
    return p->persistent.items[i];
}

bool pickle_is_str(const PickleValue *value, const char *text)
{
    return value->kind == PICKLE_STR && value->text.length == strlen(text) &&
           !memcmp(value->text.bytes, text, value->text.length);
}

PickleValue *pickle_get(const PickleValue *dict, const char *key)
{
    for (size_t i = dict->list.count; i >= 2; i -= 2)
        if (pickle_is_str(dict->list.items[i - 2], key))
            return dict->list.items[i - 1];
    return NULL;
}
