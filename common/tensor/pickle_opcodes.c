/* The opcodes are those of CPython's Lib/pickletools.py, which documents each of them. Each function reads what stands
 * behind its opcode and works on the stack; `argument` is what the table at the end gives it. */
#include "common/tensor/pickle_machine.h"

#include <string.h>

/* --- the stack --- */

static bool fail(const Pickle *p, Error *e, const char *what)
{
    return error_set(e, "the pickle's %s at byte %zu %s", p->opcode, p->opcode_at, what);
}

static PickleValue *push(Pickle *p, PickleKind kind)
{
    return *array_add(&p->stack) = pickle_new_value(p, kind);
}

/* How many values lie above the last mark: more than these no opcode may take. */
static size_t height(const Pickle *p)
{
    return p->stack.count - (p->marks.count ? p->marks.items[p->marks.count - 1] : 0);
}

static bool need(const Pickle *p, size_t count, Error *e)
{
    return height(p) >= count || fail(p, e, "takes more values than there are");
}

static PickleValue *pop(Pickle *p)
{
    return p->stack.items[--p->stack.count];
}

static PickleValue *top(const Pickle *p)
{
    return p->stack.items[p->stack.count - 1];
}

/* Moves the last `count` values of the stack to the end of a list. */
static void move_items(Pickle *p, PickleValue *list, size_t count)
{
    p->stack.count -= count;
    pickle_list_add(list, p->stack.items + p->stack.count, count);
}

static bool take_mark(Pickle *p, size_t *count, Error *e)
{
    *count = height(p);
    if (!p->marks.count)
        return fail(p, e, "needs a mark, and there is none");
    p->marks.count--;
    return true;
}

static bool put(Pickle *p, uint64_t index, Error *e)
{
    if (!need(p, 1, e))
        return false;
    if (index >= PICKLE_MAX_STEPS)
        return fail(p, e, "stores under too large a number");
    while (p->memo.count <= index)
        *array_add(&p->memo) = NULL;
    p->memo.items[index] = top(p);
    return true;
}

/* --- what stands after an opcode --- */

static const unsigned char *take(Pickle *p, uint64_t count, Error *e)
{
    if (count > p->size - p->at) {
        fail(p, e, "is cut off");
        return NULL;
    }
    p->at += count;
    return p->bytes + p->at - count;
}

/* An unsigned little-endian number of 1 to 8 bytes. */
static bool take_number(Pickle *p, size_t bytes, uint64_t *number, Error *e)
{
    const unsigned char *at = take(p, bytes, e);
    *number = 0;
    if (at)
        memcpy(number, at, bytes);
    return at;
}

static bool push_global(Pickle *p, const PickleValue *module, const PickleValue *name, Error *e)
{
    const PickleGlobal *global = pickle_find_global(p, module, name);
    if (!global)
        return error_set(
            e, "the pickle's global '%.*s.%.*s' (byte %zu) is refused: only tensors and plain containers are read",
            (int)MIN(module->text.length, 200), module->text.bytes, (int)MIN(name->text.length, 200), name->text.bytes,
            p->opcode_at);
    push(p, PICKLE_GLOBAL)->global = global;
    return true;
}

/* --- the opcodes --- */

static bool op_protocol(Pickle *p, size_t argument, Error *e)
{
    uint64_t version;
    if (!take_number(p, argument, &version, e))
        return false;
    return (version >= 2 && version <= 5) || error_set(e, "the pickle's protocol is %d; 2 to 5 are read", (int)version);
}

static bool op_frame(Pickle *p, size_t bytes, Error *e)
{
    uint64_t length; /* a hint for buffered reading */
    return take_number(p, bytes, &length, e);
}

static bool op_int(Pickle *p, size_t bytes, Error *e)
{
    uint64_t number;
    if (!take_number(p, bytes, &number, e))
        return false;
    push(p, PICKLE_INT)->integer = bytes == 4 ? (int32_t)(uint32_t)number : (int64_t)number; /* only BININT is signed */
    return true;
}

static bool op_bool(Pickle *p, size_t value, Error *e)
{
    (void)e;
    push(p, PICKLE_BOOL)->integer = (int64_t)value;
    return true;
}

static bool op_float(Pickle *p, size_t bytes, Error *e)
{
    uint64_t number; /* big-endian */
    if (!take_number(p, bytes, &number, e))
        return false;
    number = __builtin_bswap64(number);
    memcpy(&push(p, PICKLE_FLOAT)->real, &number, sizeof number);
    return true;
}

/* A text behind its length. */
static bool take_text(Pickle *p, PickleKind kind, size_t length_bytes, Error *e)
{
    uint64_t length;
    if (!take_number(p, length_bytes, &length, e))
        return false;
    const unsigned char *text = take(p, length, e);
    if (!text)
        return false;
    PickleValue *value = push(p, kind);
    value->text.bytes = (const char *)text;
    value->text.length = length;
    return true;
}

static bool op_str(Pickle *p, size_t length_bytes, Error *e)
{
    return take_text(p, PICKLE_STR, length_bytes, e);
}

static bool op_bytes(Pickle *p, size_t length_bytes, Error *e)
{
    return take_text(p, PICKLE_BYTES, length_bytes, e);
}

/* Two's complement, little-endian, of any length. */
static bool op_long(Pickle *p, size_t length_bytes, Error *e)
{
    if (!take_text(p, PICKLE_BIG_INT, length_bytes, e))
        return false;
    PickleValue *value = top(p);
    size_t length = value->text.length;
    if (length > sizeof(int64_t))
        return true;
    const char *bytes = value->text.bytes;
    int64_t integer = length && bytes[length - 1] < 0 ? -1 : 0;
    memcpy(&integer, bytes, length);
    value->kind = PICKLE_INT;
    value->integer = integer;
    return true;
}

static bool op_push(Pickle *p, size_t kind, Error *e)
{
    (void)e;
    push(p, (PickleKind)kind);
    return true;
}

static bool op_mark(Pickle *p, size_t argument, Error *e)
{
    (void)argument, (void)e;
    *array_add(&p->marks) = p->stack.count;
    return true;
}

static bool op_pop(Pickle *p, size_t argument, Error *e)
{
    (void)argument;
    if (!need(p, 1, e))
        return false;
    pop(p);
    return true;
}

static bool op_pop_mark(Pickle *p, size_t argument, Error *e)
{
    (void)argument;
    size_t count;
    if (!take_mark(p, &count, e))
        return false;
    p->stack.count -= count;
    return true;
}

static bool op_dup(Pickle *p, size_t argument, Error *e)
{
    (void)argument;
    if (!need(p, 1, e))
        return false;
    PickleValue *value = top(p);
    *array_add(&p->stack) = value;
    return true;
}

static bool op_get(Pickle *p, size_t bytes, Error *e)
{
    uint64_t index;
    if (!take_number(p, bytes, &index, e))
        return false;
    if (index >= p->memo.count || !p->memo.items[index])
        return fail(p, e, "asks for what was not stored");
    *array_add(&p->stack) = p->memo.items[index];
    return true;
}

static bool op_put(Pickle *p, size_t bytes, Error *e)
{
    uint64_t index;
    return take_number(p, bytes, &index, e) && put(p, index, e);
}

static bool op_memoize(Pickle *p, size_t argument, Error *e)
{
    (void)argument;
    return put(p, p->memo.count, e);
}

/* The last `count` values go into the list, set or dict below them. */
static bool fill(Pickle *p, PickleKind kind, size_t count, Error *e)
{
    if (!need(p, count + 1, e))
        return false;
    PickleValue *list = p->stack.items[p->stack.count - count - 1];
    if (list->kind != kind)
        return fail(p, e, "fills another kind of value");
    if (kind == PICKLE_DICT && count % 2)
        return fail(p, e, "has a key without a value");
    move_items(p, list, count);
    return true;
}

static bool op_fill(Pickle *p, size_t kind, Error *e)
{
    size_t count;
    return take_mark(p, &count, e) && fill(p, (PickleKind)kind, count, e);
}

static bool op_fill_one(Pickle *p, size_t kind, Error *e)
{
    return fill(p, (PickleKind)kind, kind == PICKLE_DICT ? 2 : 1, e);
}

static bool op_make_from_mark(Pickle *p, size_t kind, Error *e)
{
    size_t count;
    if (!take_mark(p, &count, e))
        return false;
    PickleValue *list = pickle_new_value(p, (PickleKind)kind);
    move_items(p, list, count);
    *array_add(&p->stack) = list;
    return true;
}

static bool op_tuple(Pickle *p, size_t count, Error *e)
{
    if (!need(p, count, e))
        return false;
    PickleValue *tuple = pickle_new_value(p, PICKLE_TUPLE);
    move_items(p, tuple, count);
    *array_add(&p->stack) = tuple;
    return true;
}

/* Module and name, each a line. */
static bool op_global(Pickle *p, size_t argument, Error *e)
{
    (void)argument;
    PickleValue lines[2];
    for (int i = 0; i < 2; i++) {
        const char *line = (const char *)p->bytes + p->at, *end = memchr(line, '\n', p->size - p->at);
        if (!end)
            return fail(p, e, "is cut off");
        lines[i] = (PickleValue){.kind = PICKLE_STR, .text = {line, (size_t)(end - line)}};
        p->at += lines[i].text.length + 1;
    }
    return push_global(p, &lines[0], &lines[1], e);
}

static bool op_stack_global(Pickle *p, size_t argument, Error *e)
{
    (void)argument;
    if (!need(p, 2, e))
        return false;
    const PickleValue *name = pop(p), *module = pop(p);
    if (name->kind != PICKLE_STR || module->kind != PICKLE_STR)
        return fail(p, e, "is not named by two strings");
    return push_global(p, module, name, e);
}

/* A global and a tuple of arguments become what the global makes. */
static bool op_call(Pickle *p, size_t argument, Error *e)
{
    (void)argument;
    if (!need(p, 2, e))
        return false;
    PickleValue *arguments = pop(p);
    const PickleValue *called = pop(p);
    if (called->kind != PICKLE_GLOBAL || arguments->kind != PICKLE_TUPLE)
        return fail(p, e, "calls what is no global, or without a tuple");
    const PickleGlobal *global = called->global;
    return pickle_call(p, global, arguments, push(p, global->makes)) ||
           error_set(e, "the pickle's %s at byte %zu calls '%s.%s' in a way that is not read", p->opcode, p->opcode_at,
                     global->module, global->name);
}

/* Gives an object its state. An OrderedDict's is its attributes (torch adds _metadata), which we do not need. */
static bool op_build(Pickle *p, size_t argument, Error *e)
{
    (void)argument;
    if (!need(p, 2, e))
        return false;
    PickleValue *state = pop(p), *object = top(p);
    if (object->kind == PICKLE_OBJECT)
        object->object.state = state;
    else if (object->kind != PICKLE_DICT)
        return fail(p, e, "gives a state to a plain value");
    return true;
}

static bool op_persistent(Pickle *p, size_t argument, Error *e)
{
    (void)argument;
    if (!need(p, 1, e))
        return false;
    PickleValue *id = pop(p), *value = push(p, PICKLE_PERSISTENT);
    value->persistent.id = id;
    *array_add(&p->persistent) = value;
    return true;
}

/* An opcode with a name alone exists and is refused: numbers as text (protocol 0), objects made by class, extensions,
 * buffers outside the pickle. */
static const struct {
    const char *name;
    bool (*run)(Pickle *p, size_t argument, Error *e);
    size_t argument;
} opcodes[256] = {
    [PICKLE_PROTO] = {"PROTO", op_protocol, 1},
    [0x95] = {"FRAME", op_frame, 8},
    [PICKLE_STOP] = {"STOP", NULL, 0},
    ['N'] = {"NONE", op_push, PICKLE_NONE},
    [0x88] = {"NEWTRUE", op_bool, true},
    [0x89] = {"NEWFALSE", op_bool, false},
    ['K'] = {"BININT1", op_int, 1},
    ['M'] = {"BININT2", op_int, 2},
    ['J'] = {"BININT", op_int, 4},
    [0x8a] = {"LONG1", op_long, 1},
    [0x8b] = {"LONG4", op_long, 4},
    ['G'] = {"BINFLOAT", op_float, 8},
    ['U'] = {"SHORT_BINSTRING", op_str, 1},
    ['T'] = {"BINSTRING", op_str, 4},
    [0x8c] = {"SHORT_BINUNICODE", op_str, 1},
    ['X'] = {"BINUNICODE", op_str, 4},
    [0x8d] = {"BINUNICODE8", op_str, 8},
    ['C'] = {"SHORT_BINBYTES", op_bytes, 1},
    ['B'] = {"BINBYTES", op_bytes, 4},
    [0x8e] = {"BINBYTES8", op_bytes, 8},
    [0x96] = {"BYTEARRAY8", op_bytes, 8},
    [']'] = {"EMPTY_LIST", op_push, PICKLE_LIST},
    [')'] = {"EMPTY_TUPLE", op_push, PICKLE_TUPLE},
    ['}'] = {"EMPTY_DICT", op_push, PICKLE_DICT},
    [0x8f] = {"EMPTY_SET", op_push, PICKLE_SET},
    ['a'] = {"APPEND", op_fill_one, PICKLE_LIST},
    ['e'] = {"APPENDS", op_fill, PICKLE_LIST},
    ['s'] = {"SETITEM", op_fill_one, PICKLE_DICT},
    ['u'] = {"SETITEMS", op_fill, PICKLE_DICT},
    [0x90] = {"ADDITEMS", op_fill, PICKLE_SET},
    ['t'] = {"TUPLE", op_make_from_mark, PICKLE_TUPLE},
    [0x85] = {"TUPLE1", op_tuple, 1},
    [0x86] = {"TUPLE2", op_tuple, 2},
    [0x87] = {"TUPLE3", op_tuple, 3},
    [0x91] = {"FROZENSET", op_make_from_mark, PICKLE_SET},
    ['('] = {"MARK", op_mark, 0},
    ['0'] = {"POP", op_pop, 0},
    ['1'] = {"POP_MARK", op_pop_mark, 0},
    ['2'] = {"DUP", op_dup, 0},
    ['h'] = {"BINGET", op_get, 1},
    ['j'] = {"LONG_BINGET", op_get, 4},
    ['q'] = {"BINPUT", op_put, 1},
    ['r'] = {"LONG_BINPUT", op_put, 4},
    [0x94] = {"MEMOIZE", op_memoize, 0},
    ['c'] = {"GLOBAL", op_global, 0},
    [0x93] = {"STACK_GLOBAL", op_stack_global, 0},
    ['R'] = {"REDUCE", op_call, 0},
    [0x81] = {"NEWOBJ", op_call, 0},
    ['b'] = {"BUILD", op_build, 0},
    ['Q'] = {"BINPERSID", op_persistent, 0},
    ['F'] = {"FLOAT", NULL, 0},
    ['I'] = {"INT", NULL, 0},
    ['L'] = {"LONG", NULL, 0},
    ['S'] = {"STRING", NULL, 0},
    ['V'] = {"UNICODE", NULL, 0},
    ['P'] = {"PERSID", NULL, 0},
    ['d'] = {"DICT", NULL, 0},
    ['g'] = {"GET", NULL, 0},
    ['i'] = {"INST", NULL, 0},
    ['l'] = {"LIST", NULL, 0},
    ['o'] = {"OBJ", NULL, 0},
    ['p'] = {"PUT", NULL, 0},
    [0x82] = {"EXT1", NULL, 0},
    [0x83] = {"EXT2", NULL, 0},
    [0x84] = {"EXT4", NULL, 0},
    [0x92] = {"NEWOBJ_EX", NULL, 0},
    [0x97] = {"NEXT_BUFFER", NULL, 0},
    [0x98] = {"READONLY_BUFFER", NULL, 0},
};

bool pickle_step(Pickle *p, unsigned char opcode, Error *e)
{
    if (!opcodes[opcode].name)
        return error_set(e, "the pickle's byte %zu (0x%02x) is no opcode", p->opcode_at, opcode);
    p->opcode = opcodes[opcode].name;
    if (!opcodes[opcode].run)
        return fail(p, e, "is refused: only plain data is read");
    return opcodes[opcode].run(p, opcodes[opcode].argument, e);
}
