/* Python pickles of protocol 2 to 5, read without running anything. The opcodes build a tree of plain values. A global is
 * only looked up in a list of names that the caller allows, and calling it makes a plain container or an inert object
 * (what was called, its arguments, its state) that the caller looks into; every other global, and every opcode that is
 * not needed for plain data, is refused by name. There is no recursion, and a pickle that takes more than
 * PICKLE_MAX_STEPS opcodes (or copied items) is refused, which bounds the memory that a hostile one can ask for: about
 * 100 bytes a step. */
#pragma once
#include "common/base/error.h"
#include <stddef.h>
#include <stdint.h>

enum { PICKLE_MAX_STEPS = 1 << 22 };

typedef enum PickleKind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,
    PICKLE_BIG_INT, /* beyond 64 bits: its little-endian bytes, two's complement */
    PICKLE_FLOAT,
    PICKLE_STR,
    PICKLE_BYTES, /* and bytearray */
    PICKLE_LIST,
    PICKLE_TUPLE, /* and torch.Size */
    PICKLE_SET,   /* and frozenset */
    PICKLE_DICT,  /* and OrderedDict; the order is kept */
    PICKLE_GLOBAL,
    PICKLE_OBJECT,
    PICKLE_PERSISTENT /* what the pickler stored elsewhere, by an id */
} PickleKind;

/* A global that may be named, and what calling it makes: an object, or PICKLE_GLOBAL if it may not be called. */
typedef struct PickleGlobal {
    const char *module, *name;
    PickleKind makes;
    int tag; /* the caller's own */
} PickleGlobal;

typedef struct PickleValue {
    PickleKind kind;
    union {
        int64_t integer; /* INT, BOOL */
        double real;
        struct {
            const char *bytes; /* no NUL at the end */
            size_t length;
        } text; /* STR, BYTES, BIG_INT */
        struct {
            struct PickleValue **items; /* DICT: key, value, key, value, ... */
            size_t count, capacity;
        } list; /* LIST, TUPLE, SET, DICT */
        const PickleGlobal *global;
        struct {
            const PickleGlobal *global;
            struct PickleValue *arguments; /* a TUPLE */
            struct PickleValue *state;     /* NULL if it was given none */
        } object;
        struct {
            struct PickleValue *id;
            int64_t slot; /* for the caller */
        } persistent;
    };
} PickleValue;

typedef struct Pickle Pickle;

/* Reads one pickle at the start of `bytes`, which must outlive it; *used is how many bytes it took. `allowed` comes on top
 * of the plain types (OrderedDict, set, frozenset, bytes) and must outlive it too. */
Pickle *pickle_read(const void *bytes, size_t size, const PickleGlobal *allowed, int allowed_count, size_t *used,
                    Error *e);
void pickle_free(Pickle *pickle); /* NULL is fine */

PickleValue *pickle_root(const Pickle *pickle);
size_t pickle_persistent_count(const Pickle *pickle);
PickleValue *pickle_persistent(const Pickle *pickle, size_t i); /* all of them, in the order of the pickle */

bool pickle_is_str(const PickleValue *value, const char *text);
PickleValue *pickle_get(const PickleValue *dict, const char *key); /* the last of that key; NULL: none */
