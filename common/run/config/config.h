/* Configs: a table says which keys a struct has, and everything else follows from the table: strict reading, --help,
 * the nearest right key in an error, and the resolved config that a run writes down.
 *
 *     typedef struct Train { int epochs; double lr; int optimizer; double clip; bool has_clip; int size[2]; } Train;
 *     enum { ADAMW, SGD };
 *
 *     static const ConfigField rows[] = {
 *         {CONFIG_INT("epochs", Train, epochs, .value = "10", .range = "[1, 1000]", .help = "passes over the data")},
 *         {CONFIG_NUMBER("lr", Train, lr, .value = "2e-3", .range = "(0, inf)", .help = "peak learning rate")},
 *         {CONFIG_ENUM("optimizer", Train, optimizer, CONFIG_WORDS("adamw", "sgd"), .value = "adamw")},
 *         {CONFIG_NUMBER("clip", Train, clip, CONFIG_OR_NULL(Train, has_clip), .value = "null",
 *                        .help = "largest norm of the gradient; null: not clipped")},
 *         {CONFIG_INT_ARRAY("size", Train, size, .value = "[28, 28]", .help = "height and width")},
 *     };
 *     const ConfigTable train_table = {CONFIG_STRUCT(Train), CONFIG_ROWS(rows), .resolve = train_resolve};
 *
 *     Train train;
 *     Node *node = node_from_yaml_file("tiny.yaml", e);
 *     if (!node || !config_bind(&train_table, node, &train, e))
 *         return false;   // "tiny.yaml:3: epochs is 3.5, expected an integer in [1, 1000]"
 *     config_free(&train_table, &train);
 *
 * Tables stand at file scope. A row without `.value` is required. A default is written as in a config file and read by
 * the same code. A range is an interval, closed [ ] or open ( ), with inf where there is no end; it holds for every
 * number of a list. */
#pragma once
#include "common/base/error.h"
#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/run/config/node.h"

typedef enum ConfigType {
    CONFIG_TYPE_BOOL,
    CONFIG_TYPE_INT,
    CONFIG_TYPE_NUMBER,
    CONFIG_TYPE_STRING,
    CONFIG_TYPE_ENUM,
    CONFIG_TYPE_LIST,      /* of `item` */
    CONFIG_TYPE_TABLE,     /* a section with a table of its own */
    CONFIG_TYPE_MAP,       /* free keys, kept as a Node */
    CONFIG_TYPE_ANY,       /* anything, kept as a Node */
    CONFIG_TYPE_VARIANT,   /* this key chooses the table of the keys beside it */
    CONFIG_TYPE_REST,      /* the keys that no row here has go to another table */
    CONFIG_TYPE_FIXED,     /* may be written, but only with this value; nothing is stored */
    CONFIG_TYPE_NO_EFFECT, /* may be written, with any value; nothing is stored */
} ConfigType;

typedef struct ConfigField ConfigField;
typedef struct ConfigTable ConfigTable;
typedef struct ConfigPlace ConfigPlace;

typedef struct ConfigChoice {
    const char *word;
    const ConfigTable *table; /* NULL: the choice has no keys of its own */
    size_t offset;            /* where the table's struct lies in the struct of the variant's table */
} ConfigChoice;

struct ConfigField {
    const char *key; /* of a `rest`: the prefix that the keys of its table carry here, or "" */
    ConfigType type;
    size_t offset, size;         /* of the member; size tells int from int64_t and float from double */
    const char *value;           /* the default, as in a config file; NULL: the key is required */
    const char *range;           /* "[0, 1)": for int and number, and for all of these inside lists */
    const char *const *words;    /* enum */
    const ConfigTable *table;    /* table, rest */
    const ConfigChoice *choices; /* variant; ends with a NULL word */
    bool or_null;                /* null is a value too */
    bool has_flag; /* with or_null: a bool member says whether there is a value; else a NULL pointer does */
    size_t flag_offset;
    const ConfigField *item; /* list: what one item is; its offset is within the item */
    size_t item_size;        /* list: bytes from one item to the next */
    int length;              /* list: the number of items if fixed, and then they lie in the struct; 0: a pointer */
    size_t count_offset;     /* list with a pointer: an int, the number of items */
    bool or_one;             /* list: a single item may stand without brackets. It fills a fixed list; otherwise the
                                 * list has one item, and the code that reads it takes that for all */
    const char *help;
};

struct ConfigTable {
    size_t size; /* of the struct */
    const ConfigField *rows;
    int count;
    /* Called when all keys are bound: defaults that depend on others, checks across keys (through config_refuse). */
    bool (*resolve)(void *config, const ConfigPlace *place, Error *e);
};

#define CONFIG_STRUCT(Struct) .size = sizeof(Struct)
#define CONFIG_ROWS(array) .rows = (array), .count = COUNT_OF(array)

/* Rows. The member's type is checked by the compiler: int or int64_t, float or double, bool, char *, Node *. */
#define CONFIG_BOOL(name, Struct, member, ...)                                                                         \
    .key = (name), CONFIG_AS_BOOL(Struct, member, ((Struct *)0)->member), __VA_ARGS__
#define CONFIG_INT(name, Struct, member, ...)                                                                          \
    .key = (name), CONFIG_AS_INT(Struct, member, ((Struct *)0)->member), __VA_ARGS__
#define CONFIG_NUMBER(name, Struct, member, ...)                                                                       \
    .key = (name), CONFIG_AS_NUMBER(Struct, member, ((Struct *)0)->member), __VA_ARGS__
#define CONFIG_STRING(name, Struct, member, ...)                                                                       \
    .key = (name), CONFIG_AS_STRING(Struct, member, ((Struct *)0)->member), __VA_ARGS__
/* The member is an int or an enum; it gets the index of the word. */
#define CONFIG_ENUM(name, Struct, member, ...)                                                                         \
    .key = (name), .type = CONFIG_TYPE_ENUM, .offset = offsetof(Struct, member),                                       \
    .size = sizeof(((Struct *)0)->member), __VA_ARGS__
#define CONFIG_WORDS(...)                                                                                              \
    .words = (const char *const[])                                                                                     \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }
/* Add to a row: null is a value too. `flag` is a bool member; strings, maps and any need none: CONFIG_NULLABLE. */
#define CONFIG_OR_NULL(Struct, flag)                                                                                   \
    .or_null = true, .has_flag = true,                                                                                 \
    .flag_offset = offsetof(Struct, flag) + 0 * _Generic(((Struct *)0)->flag, bool : 1)
#define CONFIG_NULLABLE .or_null = true

/* Lists of a fixed length that lie in the struct: int size[2]. */
#define CONFIG_BOOL_ARRAY(name, Struct, member, ...)                                                                   \
    CONFIG_ARRAY_OF(name, Struct, member, CONFIG_ITEM_BOOL(((Struct *)0)->member[0]), __VA_ARGS__)
#define CONFIG_INT_ARRAY(name, Struct, member, ...)                                                                    \
    CONFIG_ARRAY_OF(name, Struct, member, CONFIG_ITEM_INT(((Struct *)0)->member[0]), __VA_ARGS__)
#define CONFIG_NUMBER_ARRAY(name, Struct, member, ...)                                                                 \
    CONFIG_ARRAY_OF(name, Struct, member, CONFIG_ITEM_NUMBER(((Struct *)0)->member[0]), __VA_ARGS__)
#define CONFIG_STRING_ARRAY(name, Struct, member, ...)                                                                 \
    CONFIG_ARRAY_OF(name, Struct, member, CONFIG_ITEM_STRING(((Struct *)0)->member[0]), __VA_ARGS__)
/* Lists of any length: a pointer and an int that counts. int *layers; int layer_count. */
#define CONFIG_BOOL_LIST(name, Struct, member, counter, ...)                                                           \
    CONFIG_LIST_OF(name, Struct, member, counter, CONFIG_ITEM_BOOL(((Struct *)0)->member[0]), __VA_ARGS__)
#define CONFIG_INT_LIST(name, Struct, member, counter, ...)                                                            \
    CONFIG_LIST_OF(name, Struct, member, counter, CONFIG_ITEM_INT(((Struct *)0)->member[0]), __VA_ARGS__)
#define CONFIG_NUMBER_LIST(name, Struct, member, counter, ...)                                                         \
    CONFIG_LIST_OF(name, Struct, member, counter, CONFIG_ITEM_NUMBER(((Struct *)0)->member[0]), __VA_ARGS__)
#define CONFIG_STRING_LIST(name, Struct, member, counter, ...)                                                         \
    CONFIG_LIST_OF(name, Struct, member, counter, CONFIG_ITEM_STRING(((Struct *)0)->member[0]), __VA_ARGS__)
#define CONFIG_ENUM_LIST(name, Struct, member, counter, list, ...)                                                     \
    CONFIG_LIST_OF(name, Struct, member, counter, CONFIG_ITEM_ENUM(((Struct *)0)->member[0], list), __VA_ARGS__)
/* Lists of any length whose items are lists of a fixed length: int (*depth)[3]; int stages. */
#define CONFIG_INT_ARRAY_LIST(name, Struct, member, counter, ...)                                                      \
    CONFIG_LIST_OF(name, Struct, member, counter,                                                                      \
                   CONFIG_ITEM_ARRAY(((Struct *)0)->member[0], CONFIG_ITEM_INT(((Struct *)0)->member[0][0])),          \
                   __VA_ARGS__)
/* Lists of sections: Stage *stages; int stage_count. */
#define CONFIG_TABLE_LIST(name, Struct, member, counter, pointer, ...)                                                 \
    CONFIG_LIST_OF(name, Struct, member, counter, CONFIG_ITEM_TABLE(((Struct *)0)->member[0], pointer), __VA_ARGS__)
/* Add to a list row: a single item may stand without brackets (int or list). */
#define CONFIG_OR_ONE .or_one = true

/* Lists of anything: the last argument but the options is one of the CONFIG_ITEM_ below. */
#define CONFIG_ARRAY_OF(name, Struct, member, one, ...)                                                                \
    .key = (name), .type = CONFIG_TYPE_LIST, .offset = offsetof(Struct, member), .item = &(const ConfigField){one},    \
    .item_size = sizeof(((Struct *)0)->member[0]), .length = COUNT_OF(((Struct *)0)->member), __VA_ARGS__
#define CONFIG_LIST_OF(name, Struct, member, counter, one, ...)                                                        \
    .key = (name), .type = CONFIG_TYPE_LIST, .offset = offsetof(Struct, member), .item = &(const ConfigField){one},    \
    .item_size = sizeof(((Struct *)0)->member[0]),                                                                     \
    .count_offset = offsetof(Struct, counter) + 0 * _Generic(((Struct *)0)->counter, int : 1), __VA_ARGS__
/* What one item is, given an expression of its type. */
#define CONFIG_ITEM_BOOL(lvalue) .type = CONFIG_TYPE_BOOL, .size = CONFIG_SIZE_BOOL(lvalue)
#define CONFIG_ITEM_INT(lvalue) .type = CONFIG_TYPE_INT, .size = CONFIG_SIZE_INT(lvalue)
#define CONFIG_ITEM_NUMBER(lvalue) .type = CONFIG_TYPE_NUMBER, .size = CONFIG_SIZE_NUMBER(lvalue)
#define CONFIG_ITEM_STRING(lvalue) .type = CONFIG_TYPE_STRING, .size = CONFIG_SIZE_STRING(lvalue)
#define CONFIG_ITEM_ENUM(lvalue, ...) .type = CONFIG_TYPE_ENUM, .size = sizeof(lvalue), __VA_ARGS__
#define CONFIG_ITEM_TABLE(lvalue, pointer) .type = CONFIG_TYPE_TABLE, .size = sizeof(lvalue), .table = (pointer)
#define CONFIG_ITEM_ANY(lvalue) .type = CONFIG_TYPE_ANY, .size = CONFIG_SIZE_NODE(lvalue)
#define CONFIG_ITEM_ARRAY(lvalue, ...)                                                                                 \
    .type = CONFIG_TYPE_LIST, .item = &(const ConfigField){__VA_ARGS__}, .item_size = sizeof((lvalue)[0]),             \
    .length = COUNT_OF(lvalue)
/* An item that is itself a list of any length: a struct with a pointer and an int. */
#define CONFIG_ITEM_LIST(Struct, member, counter, ...)                                                                 \
    .type = CONFIG_TYPE_LIST, .offset = offsetof(Struct, member), .item = &(const ConfigField){__VA_ARGS__},           \
    .item_size = sizeof(((Struct *)0)->member[0]), .count_offset = offsetof(Struct, counter)

/* A section: the member is the struct of the table. */
#define CONFIG_TABLE(name, Struct, member, pointer, ...)                                                               \
    .key = (name), .type = CONFIG_TYPE_TABLE, .offset = offsetof(Struct, member),                                      \
    .size = sizeof(((Struct *)0)->member), .table = (pointer), __VA_ARGS__
/* Free keys, or anything at all: a Node * that config_free frees. */
#define CONFIG_MAP(name, Struct, member, ...)                                                                          \
    .key = (name), .type = CONFIG_TYPE_MAP, .offset = offsetof(Struct, member),                                        \
    .size = CONFIG_SIZE_NODE(((Struct *)0)->member), __VA_ARGS__
#define CONFIG_ANY(name, Struct, member, ...)                                                                          \
    .key = (name), .type = CONFIG_TYPE_ANY, .offset = offsetof(Struct, member),                                        \
    .size = CONFIG_SIZE_NODE(((Struct *)0)->member), __VA_ARGS__
/* This key chooses the table of the keys beside it; the member is an int or an enum, the index of the choice. A config
 * laid over another that changes the choice drops the other's keys, except those that have a row of their own here. */
#define CONFIG_VARIANT(name, Struct, member, ...)                                                                      \
    .key = (name), .type = CONFIG_TYPE_VARIANT, .offset = offsetof(Struct, member),                                    \
    .size = sizeof(((Struct *)0)->member), __VA_ARGS__
#define CONFIG_CHOICES(...)                                                                                            \
    .choices = (const ConfigChoice[])                                                                                  \
    {                                                                                                                  \
        __VA_ARGS__,                                                                                                   \
        {                                                                                                              \
            0                                                                                                          \
        }                                                                                                              \
    }
#define CONFIG_CHOICE(name, Struct, member, pointer)                                                                   \
    {                                                                                                                  \
        (name), (pointer), offsetof(Struct, member)                                                                    \
    }
#define CONFIG_CHOICE_EMPTY(name)                                                                                      \
    {                                                                                                                  \
        (name), NULL, 0                                                                                                \
    }
/* The keys of another table stand here too, each behind a prefix ("enc_", or "" for none). A key that has a row here
 * does not reach the other table. */
#define CONFIG_REST(prefix, Struct, member, pointer)                                                                   \
    .key = (prefix), .type = CONFIG_TYPE_REST, .offset = offsetof(Struct, member),                                     \
    .size = sizeof(((Struct *)0)->member), .table = (pointer), .value = ""
/* A key of the authors' configs that has one possible value here, or none that matters. */
#define CONFIG_FIXED(name, only, ...) .key = (name), .type = CONFIG_TYPE_FIXED, .value = (only), __VA_ARGS__
#define CONFIG_NO_EFFECT(name, ...) .key = (name), .type = CONFIG_TYPE_NO_EFFECT, .value = "null", __VA_ARGS__

/* Reads the map `node` into the struct `config` (whatever was in it is overwritten). Strict: an unknown key, a value of
 * another type, out of range or left over is one line with file and line, the key, the value and what was expected;
 * nothing is then left to free. `node` may be NULL (all defaults) and can be freed afterwards. */
bool config_bind(const ConfigTable *table, const Node *node, void *config, Error *e);
/* The same; keys are named `path.key` in errors, and are written with a prefix in the map. Either may be "". */
bool config_bind_at(const ConfigTable *table, const Node *node, const char *path, const char *prefix, void *config,
                    Error *e);
void config_free(const ConfigTable *table, void *config); /* strings, lists and nodes; the struct itself is zeroed */

/* Layers: like node_merge, but a layer that changes a `variant` drops what the lower layers said for the other one.
 * Takes both nodes, returns the result. */
Node *config_merge(const ConfigTable *table, Node *base, Node *over);

Node *config_to_node(const ConfigTable *table, const void *config); /* the resolved config, every key; free it */
void config_help(const ConfigTable *table, Str *out);               /* one line a key, as for --help */

/* For resolve; a key may be one of a rest, behind its prefix. config_refuse writes "file:line: path.key is VALUE: ..." (or, for a
 * default, the section's line) and returns false; config_given tells whether the config has the key. */
__attribute__((format(printf, 4, 5))) bool config_refuse(const ConfigPlace *place, const char *key, Error *e,
                                                         const char *format, ...);
bool config_given(const ConfigPlace *place, const char *key);

/* What the row macros are made of. */
#define CONFIG_SIZE_BOOL(lvalue) _Generic((lvalue), bool : sizeof(bool))
#define CONFIG_SIZE_INT(lvalue) _Generic((lvalue), int : sizeof(int), int64_t : sizeof(int64_t))
#define CONFIG_SIZE_NUMBER(lvalue) _Generic((lvalue), float : sizeof(float), double : sizeof(double))
#define CONFIG_SIZE_STRING(lvalue) _Generic((lvalue), char * : sizeof(char *))
#define CONFIG_SIZE_NODE(lvalue) _Generic((lvalue), Node * : sizeof(Node *))
#define CONFIG_AS_BOOL(Struct, member, lvalue)                                                                         \
    .type = CONFIG_TYPE_BOOL, .offset = offsetof(Struct, member), .size = CONFIG_SIZE_BOOL(lvalue)
#define CONFIG_AS_INT(Struct, member, lvalue)                                                                          \
    .type = CONFIG_TYPE_INT, .offset = offsetof(Struct, member), .size = CONFIG_SIZE_INT(lvalue)
#define CONFIG_AS_NUMBER(Struct, member, lvalue)                                                                       \
    .type = CONFIG_TYPE_NUMBER, .offset = offsetof(Struct, member), .size = CONFIG_SIZE_NUMBER(lvalue)
#define CONFIG_AS_STRING(Struct, member, lvalue)                                                                       \
    .type = CONFIG_TYPE_STRING, .offset = offsetof(Struct, member), .size = CONFIG_SIZE_STRING(lvalue)
