/* Races of a block's threads: recorded only in the library that is compiled with ZOO_CUDA_RACES, whose kernels call
 * __tsan_read4 and its like for every access (race.cc). */
#pragma once
#include <stddef.h>

#ifdef ZOO_CUDA_RACES
void race_launch_begins(void);
void race_block_begins(void);
void race_block_ordered(void);                    /* a block barrier: all before it comes before all after it */
void race_warp_ordered(int warp, unsigned lanes); /* the same between these lanes */
void race_access(const void *address, size_t bytes,
                 bool write); /* by the running thread, in a function that is not a kernel's */
#else
static inline void race_launch_begins(void)
{
}
static inline void race_block_begins(void)
{
}
static inline void race_block_ordered(void)
{
}
static inline void race_warp_ordered(int, unsigned)
{
}
static inline void race_access(const void *, size_t, bool)
{
}
#endif
