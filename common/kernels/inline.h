/* What backends share line by line stands in headers of this folder: functions of the host, and, as KERNEL_INLINE, of kernels too. */
#pragma once

#ifdef __CUDACC__
#define KERNEL_INLINE static inline __host__ __device__
#else
#define KERNEL_INLINE static inline
#endif
