#include "common/tensor/stored_type.h"

#include "common/base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = 512 }; /* elements converted at a time, through double or int64 */

static const struct {
    const char *name;
    unsigned char bytes;
    bool is_float;
} types[STORED_TYPE_COUNT] = {
    [STORED_BOOL] = {"BOOL", 1, false}, [STORED_U8] = {"U8", 1, false},          [STORED_I8] = {"I8", 1, false},
    [STORED_I16] = {"I16", 2, false},   [STORED_F8_E5M2] = {"F8_E5M2", 1, true}, [STORED_F16] = {"F16", 2, true},
    [STORED_U16] = {"U16", 2, false},   [STORED_F8_E4M3] = {"F8_E4M3", 1, true}, [STORED_BF16] = {"BF16", 2, true},
    [STORED_I32] = {"I32", 4, false},   [STORED_U32] = {"U32", 4, false},        [STORED_F32] = {"F32", 4, true},
    [STORED_F64] = {"F64", 8, true},    [STORED_I64] = {"I64", 8, false},        [STORED_U64] = {"U64", 8, false},
};

const char *stored_type_name(StoredType type)
{
    return types[type].name;
}

size_t stored_type_bytes(StoredType type)
{
    return types[type].bytes;
}

bool stored_type_is_float(StoredType type)
{
    return types[type].is_float;
}

bool stored_type_find(const char *name, StoredType *type)
{
    for (int i = 0; i < STORED_TYPE_COUNT; i++) {
        if (!strcmp(types[i].name, name)) {
            *type = (StoredType)i;
            return true;
        }
    }
    return false;
}

StoredType stored_type_of(DType type)
{
    static const StoredType stored[DTYPE_COUNT] = {
        [F32] = STORED_F32, [BF16] = STORED_BF16, [I64] = STORED_I64, [I32] = STORED_I32, [U8] = STORED_U8};
    return stored[type];
}

/* 2^n of a normal double, by its exponent bits: ldexp would be most of the time that reading F16 takes. */
static double power_of_two(int n)
{
    union {
        uint64_t bits;
        double value;
    } u = {(uint64_t)(n + 1023) << 52};
    return u.value;
}

/* The value of a small IEEE-like float: sign, exponent bits with their bias, mantissa bits. Infinities and NaN are the
 * caller's. Exponent 0 means the power of exponent 1 without the leading one. */
static double small_float(unsigned bits, int exponent_bits, int mantissa_bits, int bias)
{
    unsigned mantissa = bits & ((1u << mantissa_bits) - 1);
    int exponent = (int)(bits >> mantissa_bits & ((1u << exponent_bits) - 1));
    unsigned leading = exponent ? 1u << mantissa_bits : 0;
    double size = (mantissa + leading) * power_of_two(MAX(exponent, 1) - bias - mantissa_bits);
    return bits >> (exponent_bits + mantissa_bits) ? -size : size;
}

static double half_to_double(uint16_t bits)
{
    if ((bits & 0x7c00) != 0x7c00)
        return small_float(bits, 5, 10, 15);
    double special = bits & 0x3ff ? NAN : INFINITY;
    return bits & 0x8000 ? -special : special;
}

/* E4M3 as machine learning uses it (Micikevicius et al., "FP8 formats for deep learning", 2022): no infinities, NaN only
 * where all exponent and mantissa bits are set. */
static double e4m3_to_double(uint8_t bits)
{
    if ((bits & 0x7f) != 0x7f)
        return small_float(bits, 4, 3, 7);
    return bits & 0x80 ? -NAN : NAN;
}

/* out[i] = expression, for each unaligned x of the given type. */
#define LOAD(Type, expression)                                                                                         \
    for (int64_t i = 0; i < n; i++) {                                                                                  \
        Type x;                                                                                                        \
        memcpy(&x, (const unsigned char *)in + (size_t)i * sizeof x, sizeof x);                                        \
        out[i] = expression;                                                                                           \
    }                                                                                                                  \
    break

static void load_floats(StoredType from, const void *in, int64_t n, double *out)
{
    switch (from) {
    case STORED_F64:
        LOAD(double, x);
    case STORED_F32:
        LOAD(float, x);
    case STORED_BF16:
        LOAD(uint16_t, bf16_to_float(x));
    case STORED_F16:
        LOAD(uint16_t, half_to_double(x));
    case STORED_F8_E5M2: /* the upper half of an F16 */
        LOAD(uint8_t, half_to_double((uint16_t)(x << 8)));
    default:
        LOAD(uint8_t, e4m3_to_double(x));
    }
}

/* Elements that int64 cannot hold, and booleans that are none, become *bad. */
static bool load_integers(StoredType from, const void *in, int64_t n, int64_t *out, int64_t *bad)
{
    switch (from) {
    case STORED_I64:
    case STORED_U64:
        LOAD(int64_t, x);
    case STORED_I32:
        LOAD(int32_t, x);
    case STORED_U32:
        LOAD(uint32_t, x);
    case STORED_I16:
        LOAD(int16_t, x);
    case STORED_U16:
        LOAD(uint16_t, x);
    case STORED_I8:
        LOAD(int8_t, x);
    default: /* U8, BOOL */
        LOAD(uint8_t, x);
    }
    for (int64_t i = 0; i < n; i++) {
        if ((from == STORED_U64 && out[i] < 0) || (from == STORED_BOOL && out[i] > 1)) {
            *bad = i;
            return false;
        }
    }
    return true;
}

static bool store_floats(const double *in, int64_t n, DType to, void *out, int64_t *bad)
{
    for (int64_t i = 0; i < n; i++) {
        float x = (float)in[i];
        if (to == BF16) {
            ((uint16_t *)out)[i] = bf16_from_float(x);
            x = bf16_to_float(((uint16_t *)out)[i]);
        } else {
            ((float *)out)[i] = x;
        }
        if (isinf(x) && !isinf(in[i])) {
            *bad = i;
            return false;
        }
    }
    return true;
}

/* x became the float v: is it the same number? (v is never below -2^63.) */
static bool is_exact(float v, int64_t x)
{
    return v < 0x1p63f && (int64_t)v == x;
}

/* Writes one integer; false if the target does not hold exactly this value. */
static bool store_integer(int64_t x, DType to, void *out, int64_t i)
{
    switch (to) {
    case I64:
        ((int64_t *)out)[i] = x;
        return true;
    case I32:
        ((int32_t *)out)[i] = (int32_t)x;
        return x == (int32_t)x;
    case U8:
        ((uint8_t *)out)[i] = (uint8_t)x;
        return x == (uint8_t)x;
    case BF16:
        ((uint16_t *)out)[i] = bf16_from_float((float)x);
        return is_exact(bf16_to_float(((uint16_t *)out)[i]), x);
    default:
        ((float *)out)[i] = (float)x;
        return is_exact((float)x, x);
    }
}

static bool convert_block(StoredType from, const void *in, int64_t n, DType to, void *out, int64_t *bad)
{
    if (types[from].is_float) {
        double floats[BLOCK];
        load_floats(from, in, n, floats);
        return store_floats(floats, n, to, out, bad);
    }
    int64_t integers[BLOCK];
    if (!load_integers(from, in, n, integers, bad))
        return false;
    for (int64_t i = 0; i < n; i++) {
        if (!store_integer(integers[i], to, out, i)) {
            *bad = i;
            return false;
        }
    }
    return true;
}

bool stored_convert(StoredType from, const void *in, int64_t n, DType to, void *out, int64_t *bad)
{
    if (from == stored_type_of(to)) {
        if (n)
            memcpy(out, in, (size_t)n * dtype_bytes(to));
        return true;
    }
    if (types[from].is_float && to != F32 && to != BF16) {
        *bad = 0;
        return false;
    }
    for (int64_t done = 0; done < n; done += BLOCK) {
        const unsigned char *block = (const unsigned char *)in + (size_t)done * types[from].bytes;
        if (!convert_block(from, block, MIN(n - done, BLOCK), to, (char *)out + (size_t)done * dtype_bytes(to), bad)) {
            *bad += done;
            return false;
        }
    }
    return true;
}

void stored_describe(StoredType type, const void *in, char text[32])
{
    double real;
    int64_t integer, bad;
    if (types[type].is_float) {
        load_floats(type, in, 1, &real);
        snprintf(text, 32, "%.9g", real);
    } else if (load_integers(type, in, 1, &integer, &bad) || type == STORED_BOOL) {
        snprintf(text, 32, "%lld", (long long)integer);
    } else {
        snprintf(text, 32, "%llu", (unsigned long long)integer);
    }
}
