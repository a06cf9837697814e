/* Conversions of stored numbers: all 65,536 halves and all small types, exact limits, rounding, refusals. */
#include "common/base/memory.h"
#include "common/tensor/stored_type.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void check_same(float ours, double expected, unsigned bits)
{
    if (isnan(expected) ? !isnan(ours) : (double)ours != expected || !signbit(ours) != !signbit(expected))
        fail_msg("0x%x became %.9g, not %.9g", bits, (double)ours, expected);
}

/* The value of a small float by its definition, one power of two at a time. */
static double by_definition(unsigned bits, int exponent_bits, int mantissa_bits)
{
    int bias = (1 << (exponent_bits - 1)) - 1, exponent = (int)(bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
    double value = exponent ? 1 : 0;
    for (int i = 0; i < mantissa_bits; i++)
        if (bits >> (mantissa_bits - 1 - i) & 1)
            value += pow(2, -1 - i);
    value *= pow(2, (exponent ? exponent : 1) - bias);
    return bits >> (exponent_bits + mantissa_bits) ? -value : value;
}

static void every_half_becomes_its_float(void **state)
{
    (void)state;
    uint16_t in[65536];
    float out[65536];
    int64_t bad;
    for (unsigned i = 0; i < 65536; i++)
        in[i] = (uint16_t)i;
    assert_true(stored_convert(STORED_F16, in, 65536, F32, out, &bad));
    for (unsigned i = 0; i < 65536; i++) {
        bool special = (i & 0x7c00) == 0x7c00;
        double infinity = i & 0x8000 ? -INFINITY : INFINITY;
        check_same(out[i], special ? (i & 0x3ff ? NAN : infinity) : by_definition(i, 5, 10), i);
    }
    assert_true(stored_convert(STORED_BF16, in, 65536, F32, out, &bad));
    for (unsigned i = 0; i < 65536; i++)
        check_same(out[i], (double)bf16_to_float((uint16_t)i), i);
}

static void every_eighth_becomes_its_float(void **state)
{
    (void)state;
    uint8_t in[256];
    float e5m2[256], e4m3[256];
    int64_t bad;
    for (unsigned i = 0; i < 256; i++)
        in[i] = (uint8_t)i;
    assert_true(stored_convert(STORED_F8_E5M2, in, 256, F32, e5m2, &bad));
    assert_true(stored_convert(STORED_F8_E4M3, in, 256, F32, e4m3, &bad));
    for (unsigned i = 0; i < 256; i++) {
        bool special = (i & 0x7c) == 0x7c;
        double infinity = i & 0x80 ? -INFINITY : INFINITY;
        check_same(e5m2[i], special ? (i & 3 ? NAN : infinity) : by_definition(i, 5, 2), i);
        check_same(e4m3[i], (i & 0x7f) == 0x7f ? NAN : by_definition(i, 4, 3), i);
    }
}

static bool convert_one(StoredType from, const void *in, DType to, void *out)
{
    int64_t bad = -1;
    bool good = stored_convert(from, in, 1, to, out, &bad);
    assert_true(good || bad == 0);
    return good;
}

static void integers_fit_exactly_or_not_at_all(void **state)
{
    (void)state;
    static const struct {
        int64_t value;
        bool i32, u8, f32, bf16;
    } cases[] = {{0, true, true, true, true},
                 {255, true, true, true, true},
                 {256, true, false, true, true},
                 {257, true, false, true, false},
                 {-1, true, false, true, true},
                 {(1 << 24) + 1, true, false, false, false},
                 {INT32_MAX, true, false, false, false},
                 {INT32_MIN, true, false, true, true},
                 {INT64_C(1) << 31, false, false, true, true},
                 {INT64_MAX, false, false, false, false},
                 {INT64_MIN, false, false, true, true}};
    for (int i = 0; i < COUNT_OF(cases); i++) {
        int64_t out = 0;
        const void *in = &cases[i].value;
        assert_true(convert_one(STORED_I64, in, I64, &out) && out == cases[i].value);
        assert_int_equal(convert_one(STORED_I64, in, I32, &out), cases[i].i32);
        assert_int_equal(convert_one(STORED_I64, in, U8, &out), cases[i].u8);
        assert_int_equal(convert_one(STORED_I64, in, F32, &out), cases[i].f32);
        assert_int_equal(convert_one(STORED_I64, in, BF16, &out), cases[i].bf16);
    }
    uint64_t high = UINT64_C(1) << 63;
    int64_t out;
    assert_false(convert_one(STORED_U64, &high, I64, &out));
    assert_false(convert_one(STORED_BOOL, &(uint8_t){2}, U8, &out));
}

static void floats_round_and_do_not_overflow(void **state)
{
    (void)state;
    float f32;
    uint16_t bf16;
    double in = 1 + 0x1p-24 + 0x1p-40;
    assert_true(convert_one(STORED_F64, &in, F32, &f32) && f32 == 1 + 0x1p-23f);
    in = 1e39;
    assert_false(convert_one(STORED_F64, &in, F32, &f32));
    in = (double)-INFINITY;
    assert_true(convert_one(STORED_F64, &in, F32, &f32) && f32 == -INFINITY);
    float largest = 0x1.fffffep127f;
    assert_false(convert_one(STORED_F32, &largest, BF16, &bf16));
    float tie = 1 + 0x1p-8f;
    assert_true(convert_one(STORED_F32, &tie, BF16, &bf16) && bf16 == 0x3f80);
    assert_false(convert_one(STORED_F32, &tie, I64, &(int64_t){0}));
}

static void a_bad_element_is_named_in_any_block(void **state)
{
    (void)state;
    enum { N = 2000 };
    int16_t *in = mem_new(N * sizeof *in);
    uint8_t out[N];
    int64_t bad;
    char text[32];
    in[1700] = -3;
    assert_false(stored_convert(STORED_I16, in, N, U8, out, &bad));
    assert_int_equal(bad, 1700);
    stored_describe(STORED_I16, &in[bad], text);
    assert_string_equal(text, "-3");
    stored_describe(STORED_U64, &(uint64_t){UINT64_MAX}, text);
    assert_string_equal(text, "18446744073709551615");
    assert_true(stored_convert(STORED_I16, in, 1700, U8, out, &bad));
    mem_free(in);
}

static void elements_may_lie_unaligned(void **state)
{
    (void)state;
    char bytes[1 + 3 * sizeof(double)];
    double in[] = {1.5, -2, 1e10};
    float out[3];
    int64_t bad;
    memcpy(bytes + 1, in, sizeof in);
    assert_true(stored_convert(STORED_F64, bytes + 1, 3, F32, out, &bad));
    assert_true(out[0] == 1.5f && out[1] == -2 && out[2] == 1e10f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_becomes_its_float),        cmocka_unit_test(every_eighth_becomes_its_float),
        cmocka_unit_test(integers_fit_exactly_or_not_at_all),  cmocka_unit_test(floats_round_and_do_not_overflow),
        cmocka_unit_test(a_bad_element_is_named_in_any_block), cmocka_unit_test(elements_may_lie_unaligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
