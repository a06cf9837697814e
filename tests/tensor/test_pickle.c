/* The restricted pickle reader: every opcode that is read, every one that is refused by name, and hostile streams. */
#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/tensor/pickle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static const PickleGlobal allowed[] = {{"shop", "Thing", PICKLE_OBJECT, 7}, {"shop", "colour", PICKLE_GLOBAL, 8}};

/* A pickle, and the bytes it points into: a copy of the exact size, so that AddressSanitizer sees a read beyond it. */
static struct {
    Pickle *pickle;
    char *bytes;
} last;

static void forget(void)
{
    pickle_free(last.pickle);
    mem_free(last.bytes);
    last.pickle = NULL;
    last.bytes = NULL;
}

static bool try_to_read(const char *bytes, size_t size, Error *e)
{
    size_t used = 0;
    forget();
    last.bytes = mem_copy(bytes, size);
    last.pickle = pickle_read(last.bytes, size, allowed, COUNT_OF(allowed), &used, e);
    assert_true(!last.pickle || used == size);
    return last.pickle;
}

static PickleValue *read_good(const char *bytes, size_t size)
{
    Error e = {""};
    if (!try_to_read(bytes, size, &e))
        fail_msg("%s", e.text);
    return pickle_root(last.pickle);
}

static void check_refused(const char *bytes, size_t size, const char *words)
{
    Error e = {""};
    if (try_to_read(bytes, size, &e))
        fail_msg("read, although: %s", words);
    if (!strstr(e.text, words))
        fail_msg("'%s' does not say '%s'", e.text, words);
    forget();
}

/* Opcodes between PROTO 2 and STOP. */
#define READ(opcodes) read_good("\x80\2" opcodes ".", sizeof("\x80\2" opcodes ".") - 1)
#define REFUSED(opcodes, words) check_refused("\x80\2" opcodes ".", sizeof("\x80\2" opcodes ".") - 1, words)

static void check_int(const PickleValue *value, int64_t expected)
{
    assert_int_equal(value->kind, PICKLE_INT);
    assert_true(value->integer == expected);
}

static void check_list(const PickleValue *value, PickleKind kind, size_t count)
{
    assert_int_equal(value->kind, kind);
    assert_int_equal(value->list.count, count);
}

static void check_text(const PickleValue *value, PickleKind kind, const char *expected, size_t length)
{
    assert_int_equal(value->kind, kind);
    assert_int_equal(value->text.length, length);
    assert_memory_equal(value->text.bytes, expected, length);
}

static void numbers(void **state)
{
    (void)state;
    check_int(READ("K\xff"), 255);
    check_int(READ("M\1\2"), 513);
    check_int(READ("J\xfe\xff\xff\xff"), -2);
    check_int(READ("\x8a\0"), 0);
    check_int(READ("\x8a\1\x80"), -128);
    check_int(READ("\x8a\2\xff\0"), 255);
    check_int(READ("\x8a\10\0\0\0\0\0\0\0\x80"), INT64_MIN);
    check_int(READ("\x8b\2\0\0\0\0\1"), 256);
    check_text(READ("\x8a\11\0\0\0\0\0\0\0\0\1"), PICKLE_BIG_INT, "\0\0\0\0\0\0\0\0\1", 9);
    assert_true(READ("G\x3f\xf8\0\0\0\0\0\0")->real == 1.5);
    assert_int_equal(READ("N")->kind, PICKLE_NONE);
    assert_true(READ("\x88")->kind == PICKLE_BOOL && pickle_root(last.pickle)->integer == 1);
    assert_true(READ("\x89")->kind == PICKLE_BOOL && pickle_root(last.pickle)->integer == 0);
}

static void texts(void **state)
{
    (void)state;
    check_text(READ("U\3abc"), PICKLE_STR, "abc", 3);
    check_text(READ("T\3\0\0\0abc"), PICKLE_STR, "abc", 3);
    check_text(READ("\x8c\3abc"), PICKLE_STR, "abc", 3);
    check_text(READ("X\3\0\0\0abc"), PICKLE_STR, "abc", 3);
    check_text(READ("\x8d\3\0\0\0\0\0\0\0abc"), PICKLE_STR, "abc", 3);
    check_text(READ("C\2a\0"), PICKLE_BYTES, "a\0", 2);
    check_text(READ("B\2\0\0\0a\0"), PICKLE_BYTES, "a\0", 2);
    check_text(READ("\x8e\2\0\0\0\0\0\0\0a\0"), PICKLE_BYTES, "a\0", 2);
    check_text(READ("\x96\2\0\0\0\0\0\0\0a\0"), PICKLE_BYTES, "a\0", 2);
    check_text(READ("c_codecs\nencode\nX\4\0\0\0a\xc3\xbf\1X\6\0\0\0latin1\x86R"), PICKLE_BYTES, "a\xff\1", 3);
    check_text(READ("c__builtin__\nbytes\n)R"), PICKLE_BYTES, "", 0);
    REFUSED("c_codecs\nencode\nX\3\0\0\0\xe2\x82\xacX\6\0\0\0latin1\x86R",
            "calls '_codecs.encode' in a way that is not");
    REFUSED("c_codecs\nencode\nX\1\0\0\0aX\5\0\0\0utf-8\x86R", "calls '_codecs.encode' in a way that is not");
}

static void containers(void **state)
{
    (void)state;
    check_list(READ("]"), PICKLE_LIST, 0);
    check_list(READ("]K\1a"), PICKLE_LIST, 1);
    check_list(READ("](K\1K\2e"), PICKLE_LIST, 2);
    check_list(READ(")"), PICKLE_TUPLE, 0);
    check_list(READ("K\1\x85"), PICKLE_TUPLE, 1);
    check_list(READ("K\1K\2\x86"), PICKLE_TUPLE, 2);
    check_list(READ("K\1K\2K\3\x87"), PICKLE_TUPLE, 3);
    check_int(READ("(K\1K\2K\3K\4t")->list.items[3], 4);
    check_list(READ("\x8f(K\1K\2\x90"), PICKLE_SET, 2);
    check_list(READ("(K\1K\2\x91"), PICKLE_SET, 2);
    check_list(READ("c__builtin__\nset\n](K\1K\2e\x85R"), PICKLE_SET, 2);
    check_list(READ("cbuiltins\nfrozenset\n)R"), PICKLE_SET, 0);
    const PickleValue *dict = READ("}U\1aK\1s(U\1bK\2U\1aK\3u");
    check_list(dict, PICKLE_DICT, 6);
    check_int(pickle_get(dict, "a"), 3); /* the last one, as Python has it */
    check_int(pickle_get(dict, "b"), 2);
    assert_null(pickle_get(dict, "c"));
    dict = READ("ccollections\nOrderedDict\n]]U\1aaK\1aa\x85R}U\1xK\2sb"); /* Python 2, and attributes */
    check_list(dict, PICKLE_DICT, 2);
    check_int(pickle_get(dict, "a"), 1);
}

static void stack_and_memo(void **state)
{
    (void)state;
    check_int(READ("K\1K\2"
                   "0"),
              1);
    check_int(READ("K\1(K\2K\3"
                   "1"),
              1);
    const PickleValue *pair = READ("]2\x86");
    assert_ptr_equal(pair->list.items[0], pair->list.items[1]);
    check_int(READ("K\7q\5"
                   "0h\5"),
              7);
    check_int(READ("K\7r\0\1\0\0"
                   "0j\0\1\0\0"),
              7);
    check_int(READ("K\7\x94K\10\x94"
                   "00h\0"),
              7);
    check_int(READ("\x95\2\0\0\0\0\0\0\0K\1"), 1);
    const PickleValue *loop = READ("]q\0h\0a"); /* a list that holds itself */
    assert_ptr_equal(loop->list.items[0], loop);
}

static void objects_are_inert(void **state)
{
    (void)state;
    const PickleValue *thing = READ("cshop\nThing\nK\1\x85RU\1sb");
    assert_int_equal(thing->kind, PICKLE_OBJECT);
    assert_int_equal(thing->object.global->tag, 7);
    check_list(thing->object.arguments, PICKLE_TUPLE, 1);
    assert_true(pickle_is_str(thing->object.state, "s"));
    assert_null(READ("cshop\nThing\n)\x81")->object.state);
    assert_int_equal(READ("U\4shopU\6colour\x93")->global->tag, 8);
    assert_int_equal(READ("K\5QK\6Q\x86")->kind, PICKLE_TUPLE);
    assert_int_equal(pickle_persistent_count(last.pickle), 2);
    check_int(pickle_persistent(last.pickle, 1)->persistent.id, 6);
    REFUSED("cshop\ncolour\n)R", "calls 'shop.colour' in a way that is not read");
    REFUSED("K\1)R", "REDUCE at byte 5 calls what is no global");
    REFUSED("cshop\nThing\n]R", "calls what is no global, or without a tuple");
    REFUSED("]Nb", "BUILD at byte 4 gives a state to a plain value");
}

static void globals_are_refused_by_name(void **state)
{
    (void)state;
    REFUSED("cos\nsystem\nU\2ls\x85R", "the pickle's global 'os.system' (byte 2) is refused");
    REFUSED("U\10builtinsU\4eval\x93", "global 'builtins.eval' (byte 18) is refused");
    REFUSED("cshop\nThing.__init__\n", "global 'shop.Thing.__init__'");
    REFUSED("K\1K\2\x93", "is not named by two strings");
    REFUSED("cos\nsystem", "GLOBAL at byte 2 is cut off");
}

static void opcodes_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        unsigned char opcode;
        const char *name;
    } cases[] = {{'F', "FLOAT"},      {'I', "INT"},          {'L', "LONG"},
                 {'S', "STRING"},     {'V', "UNICODE"},      {'P', "PERSID"},
                 {'d', "DICT"},       {'g', "GET"},          {'i', "INST"},
                 {'l', "LIST"},       {'o', "OBJ"},          {'p', "PUT"},
                 {0x82, "EXT1"},      {0x83, "EXT2"},        {0x84, "EXT4"},
                 {0x92, "NEWOBJ_EX"}, {0x97, "NEXT_BUFFER"}, {0x98, "READONLY_BUFFER"}};
    for (int i = 0; i < COUNT_OF(cases); i++) {
        char bytes[] = {'\x80', 2, (char)cases[i].opcode, '.'};
        char *words = str_format("the pickle's %s at byte 2 is refused", cases[i].name);
        check_refused(bytes, sizeof bytes, words);
        mem_free(words);
    }
    REFUSED("\xff", "byte 2 (0xff) is no opcode");
    check_refused("\x80\1N.", 4, "protocol is 1; 2 to 5 are read");
    check_refused("\x80\6N.", 4, "protocol is 6; 2 to 5 are read");
    check_refused("(lp0\n.", 6, "no pickle of protocol 2 to 5 begins here");
}

static void misused_opcodes_are_refused(void **state)
{
    (void)state;
    REFUSED("", "stops at byte 2 with 0 values");
    REFUSED("NN", "stops at byte 4 with 2 values");
    REFUSED("N(", "stops at byte 4");
    REFUSED("N(0", "POP at byte 4 takes more values than there are");
    REFUSED("1", "POP_MARK at byte 2 needs a mark");
    REFUSED("2", "DUP at byte 2 takes more");
    REFUSED("K\1\x86", "TUPLE2 at byte 4 takes more");
    REFUSED("(K\1e", "APPENDS at byte 5 takes more");
    REFUSED("]e", "APPENDS at byte 3 needs a mark");
    REFUSED("}K\1a", "APPEND at byte 5 fills another kind of value");
    REFUSED("](u", "SETITEMS at byte 4 fills another kind of value");
    REFUSED("}(K\1u", "SETITEMS at byte 6 has a key without a value");
    REFUSED("h\0", "BINGET at byte 2 asks for what was not stored");
    REFUSED("Nq\3"
            "0h\2",
            "BINGET at byte 6 asks for what was not stored");
    REFUSED("q\0", "BINPUT at byte 2 takes more");
    REFUSED("Nr\xff\xff\xff\xff", "LONG_BINPUT at byte 3 stores under too large a number");
    REFUSED("\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "BINUNICODE8 at byte 2 is cut off");
    REFUSED("\x8b\xff\xff\xff\xff", "LONG4 at byte 2 is cut off");
    REFUSED("ccollections\nOrderedDict\n]K\1a\x85R", "calls 'collections.OrderedDict' in a way that is not read");
}

static void a_cut_pickle_is_refused_at_every_byte(void **state)
{
    (void)state;
    static const char whole[] =
        "\x80\4\x95\1\0\0\0\0\0\0\0](K\1M\1\0J\1\0\0\0\x8a\1\1G\0\0\0\0\0\0\0\0X\1\0\0\0aC\1aq\0"
        "h\0cshop\nThing\n)RNb}U\1aNse.";
    Error e;
    assert_true(try_to_read(whole, sizeof whole - 1, &e));
    for (size_t n = 0; n < sizeof whole - 1; n++)
        check_refused(whole, n, " pickle");
}

/* Few bytes that would ask for much memory or a deep stack of calls. */
static void bombs_are_bounded(void **state)
{
    (void)state;
    Error e = {""};
    Str bomb = {0};
    str_add_bytes(&bomb, "\x80\2N", 3);
    for (int i = 0; i < PICKLE_MAX_STEPS; i++)
        str_add_bytes(&bomb, "\x85", 1); /* a tuple of a tuple of ... */
    str_add_bytes(&bomb, ".", 1);
    check_refused(bomb.text, bomb.length, "takes more than 4194304 steps");
    bomb.text[1000000] = '.';
    assert_true(try_to_read(bomb.text, 1000001, &e));
    forget();
    str_clear(&bomb); /* a list of 10,000 items made into a set 10,000 times */
    str_add_bytes(&bomb, "\x80\2c__builtin__\nset\nq\1](", 23);
    for (int i = 0; i < 10000; i++)
        str_add_bytes(&bomb, "N", 1);
    str_add_bytes(&bomb, "e\x85q\0", 4);
    for (int i = 0; i < 10000; i++)
        str_add_bytes(&bomb, "h\1h\0R0", 6);
    str_add_bytes(&bomb, "\x86.", 2);
    check_refused(bomb.text, bomb.length, "takes more than 4194304 steps");
    str_free(&bomb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(texts),
        cmocka_unit_test(containers),
        cmocka_unit_test(stack_and_memo),
        cmocka_unit_test(objects_are_inert),
        cmocka_unit_test(globals_are_refused_by_name),
        cmocka_unit_test(opcodes_are_refused_by_name),
        cmocka_unit_test(misused_opcodes_are_refused),
        cmocka_unit_test(a_cut_pickle_is_refused_at_every_byte),
        cmocka_unit_test(bombs_are_bounded),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    forget();
    return failed;
}
