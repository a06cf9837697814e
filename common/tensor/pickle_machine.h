/* What the two halves of the pickle reader share: pickle.c keeps the values, knows the plain globals and runs the machine;
 * pickle_opcodes.c holds the opcodes. */
#pragma once
#include "common/base/memory.h"
#include "common/tensor/pickle.h"

enum { PICKLE_PROTO = 0x80, PICKLE_STOP = '.' }; /* the opcodes that begin and end every pickle */

struct Pickle {
    const unsigned char *bytes;
    size_t size, at;
    const char *opcode; /* the one now being executed: its name, and where it stands */
    size_t opcode_at;
    size_t steps;
    const PickleGlobal *allowed;
    int allowed_count;
    ARRAY(PickleValue *) stack;
    ARRAY(size_t) marks; /* heights of the stack */
    ARRAY(PickleValue *) memo;
    ARRAY(PickleValue *) persistent;
    ARRAY(PickleValue *) chunks;
    size_t chunk_used;   /* of the last chunk */
    ARRAY(char *) texts; /* bytes that had to be decoded */
};

bool pickle_is_list(const PickleValue *value); /* LIST, TUPLE, SET, DICT */
PickleValue *pickle_new_value(Pickle *p, PickleKind kind);
void pickle_list_add(PickleValue *list, PickleValue *const *items, size_t count);

/* The allowed global of that name, or NULL. */
const PickleGlobal *pickle_find_global(const Pickle *p, const PickleValue *module, const PickleValue *name);

/* Fills a fresh value of the kind that the global makes; false: it may not be called so. */
bool pickle_call(Pickle *p, const PickleGlobal *global, PickleValue *arguments, PickleValue *made);

/* Executes one opcode (not STOP), whose byte has been taken. */
bool pickle_step(Pickle *p, unsigned char opcode, Error *e);
