/* The number types of the project. */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef enum DType { F32, BF16, I64, I32, U8, DTYPE_COUNT } DType; /* U8 is also boolean: 0 or 1 */

static inline size_t dtype_bytes(DType type)
{
    static const size_t bytes[DTYPE_COUNT] = {4, 2, 8, 4, 1};
    return bytes[type];
}

static inline const char *dtype_name(DType type)
{
    static const char *const names[DTYPE_COUNT] = {"float32", "bfloat16", "int64", "int32", "uint8"};
    return names[type];
}

/* bf16 is the upper half of a float; rounding is to nearest, ties to even, NaN stays NaN. */
static inline float bf16_to_float(uint16_t half)
{
    union {
        uint32_t bits;
        float value;
    } u = {(uint32_t)half << 16};
    return u.value;
}

static inline uint16_t bf16_from_float(float value)
{
    union {
        float value;
        uint32_t bits;
    } u = {value};
    if (value != value)
        return (uint16_t)((u.bits >> 16) | 0x40);
    return (uint16_t)((u.bits + 0x7fff + ((u.bits >> 16) & 1)) >> 16);
}
