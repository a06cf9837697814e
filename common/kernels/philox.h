/* Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): four 32-bit words from a
 * 128-bit counter and a 64-bit key, without state.
 *
 * Layout of the project: key = (seed, stream); counter = (element / 4 as 64 bits, site, step); element i of a draw
 * takes word i % 4. */
#pragma once
#include "common/kernels/inline.h"
#include <math.h>
#include <stdint.h>

typedef struct PhiloxDraw {
    uint32_t seed, stream; /* key */
    uint32_t site, step;   /* which draw, and when */
} PhiloxDraw;

KERNEL_INLINE void philox(uint32_t key0, uint32_t key1, uint32_t c[4])
{
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c[1] ^ key0, n2 = (uint32_t)(p0 >> 32) ^ c[3] ^ key1;
        c[1] = (uint32_t)p1;
        c[3] = (uint32_t)p0;
        c[0] = n0;
        c[2] = n2;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

/* The four words of block `block` of a draw (elements 4 block .. 4 block + 3). */
KERNEL_INLINE void philox_block(PhiloxDraw d, uint64_t block, uint32_t words[4])
{
    words[0] = (uint32_t)block;
    words[1] = (uint32_t)(block >> 32);
    words[2] = d.site;
    words[3] = d.step;
    philox(d.seed, d.stream, words);
}

/* 24 bits of a word as a float in [0, 1). */
KERNEL_INLINE float philox_uniform(uint32_t word)
{
    return (float)(word >> 8) * 0x1p-24f;
}

/* Box-Muller: two uniform numbers, u in (0, 1], make one normal number. */
KERNEL_INLINE double box_muller(double u, double v)
{
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v);
}

/* Elements 2j and 2j+1 of a normal draw take words 0,1 and 2,3 of a block, one number of each pair: cosine. */
KERNEL_INLINE float philox_normal(uint32_t word0, uint32_t word1)
{
    return (float)box_muller(((double)word0 + 1.0) * 0x1p-32, (double)word1 * 0x1p-32);
}

/* The number that random_normal (common/tensor/random.h) makes of the elements `element` and the next of a draw. */
KERNEL_INLINE float philox_deviate(PhiloxDraw d, uint64_t element)
{
    uint32_t words[4], in = (uint32_t)(element % 4);
    philox_block(d, element / 4, words);
    double u = 1.0 - (in == 0 ? words[0] : in == 1 ? words[1] : in == 2 ? words[2] : words[3]) * 0x1p-32;
    if (in == 3)
        philox_block(d, element / 4 + 1, words);
    return (float)box_muller(u, (in == 0 ? words[1] : in == 1 ? words[2] : in == 2 ? words[3] : words[0]) * 0x1p-32);
}
