/* The emulator itself: collectives and barriers mean what CUDA says, and a planted fault of every kind that it claims
 * to see is seen. Built twice: as it is (test_cuda_emulation), and with its kernels watched for races
 * (test_cuda_races). */
#include "common/kernels/cuda/number.cuh"
#include "common/kernels/cuda/ptx.cuh"
#include "tests/cuda_emulation/faults.h"

static const Exec exec = {1, NULL, 0, NULL};

/* ---- What CUDA promises */

enum { THREADS = 70, SHUFFLES = 8 }; /* the last warp has 6 lanes */

__global__ void shuffles(float *out)
{
    int t = (int)threadIdx.x, lanes = THREADS - t / WARP * WARP;
    unsigned mask = lanes < WARP ? (1u << lanes) - 1 : ALL_LANES;
    float *mine = out + t * SHUFFLES, x = (float)t;
    mine[0] = __shfl_sync(mask, x, 3);
    mine[1] = __shfl_up_sync(mask, x, 2);
    mine[2] = __shfl_down_sync(mask, x, 2, 4);
    mine[3] = __shfl_xor_sync(mask, x, 1);
    mine[4] = (float)__ballot_sync(mask, t % 3 == 0 && t % WARP < 16);
    mine[5] = (float)__any_sync(mask, t == 40);
    mine[6] = (float)__all_sync(mask, t < 64);
    mine[7] = (float)__shfl_xor_sync(mask, (double)t + 0.5, 1);
}

static void shuffles_move_what_cuda_says(void **)
{
    float got[THREADS][SHUFFLES], *device = device_floats(THREADS * SHUFFLES);
    LAUNCH(shuffles, 1, THREADS, 0, &exec, device);
    cudaMemcpy(got, device, sizeof got, cudaMemcpyDeviceToHost);
    for (int t = 0; t < THREADS; t++) {
        int first = t / WARP * WARP, lane = t % WARP;
        unsigned votes = 0;
        for (int l = 0; l < 16 && first + l < THREADS; l++)
            votes |= (unsigned)((first + l) % 3 == 0) << l;
        float want[SHUFFLES] = {(float)(first + 3),
                                (float)(lane >= 2 ? t - 2 : t),
                                (float)(lane % 4 < 2 ? t + 2 : t),
                                (float)(t ^ 1),
                                (float)votes,
                                (float)(first == WARP),
                                (float)(first < 64),
                                (float)(t ^ 1) + 0.5f};
        if (first == 64 && (lane == 4 || lane == 5)) /* they ask lanes 6 and 7 of their four, which are not there */
            want[2] = got[t][2] = 0;
        for (int i = 0; i < SHUFFLES; i++)
            if (got[t][i] != want[i])
                fail_msg("thread %d, collective %d: %g, not %g", t, i, (double)got[t][i], (double)want[i]);
    }
    cudaFree(device);
}

__global__ void sums(float *out)
{
    DYNAMIC_SHARED(float, tile);
    int t = (int)(threadIdx.x + threadIdx.y * blockDim.x), block = (int)(blockIdx.x + blockIdx.y * gridDim.x);
    tile[t] = (float)t;
    if (__syncthreads_count(t % 5 == 0) != 26)
        return;
    float turned = tile[blockDim.x * blockDim.y - 1 - t];
    if (threadIdx.x >= 16 && threadIdx.y == 3)
        return; /* the barrier below does not wait for who has returned */
    __syncthreads();
    tile[t] = turned;
    __syncthreads();
    if (t == 0)
        out[block] = tile[1] + 1000 * (float)block;
}

__global__ void block_sums(float *out)
{
    out[threadIdx.x] = block_sum((float)threadIdx.x) + block_max(-(float)threadIdx.x) + (float)block_sum(0.5);
}

static void blocks_meet_at_barriers(void **)
{
    float got[96], *device = device_floats(96);
    for (int again = 0; again < 2; again++) { /* forward and backward */
        LAUNCH(sums, dim3(2, 3), dim3(32, 4), 128 * sizeof(float), &exec, device);
        cudaMemcpy(got, device, 6 * sizeof(float), cudaMemcpyDeviceToHost);
        for (int block = 0; block < 6; block++)
            assert_true(got[block] == 126 + 1000 * (float)block);
        LAUNCH(block_sums, 1, 96, 0, &exec, device);
        cudaMemcpy(got, device, sizeof got, cudaMemcpyDeviceToHost);
        for (int t = 0; t < 96; t++)
            assert_true(got[t] == 95 * 96 / 2 + 48);
    }
    LAUNCH(sums, dim3(0, 3), dim3(32, 4), 0, &exec, device);
    cudaFree(device);
}

/* ---- Planted faults */

enum Fault {
    NO_FAULT,
    WAIT_APART,
    RETURN_APART,
    VOTE_APART,
    NOT_IN_MASK,
    FAR_OUTSIDE,
    JUST_OUTSIDE,
    OUTSIDE_DYNAMIC,
    OUTSIDE_STATIC,
    WRITE_WRITE,
    WRITE_READ,
    READ_WRITE,
    WITHIN_WARP,
    SHUFFLE_IS_NO_BARRIER,
    OTHER_BLOCK_WRITES,
    OTHER_BLOCK_READS,
    HALF_WORDS, /* no fault: neighbours of a word */
    ATOMICS,    /* no fault */
    NOT_WRITTEN,
};

enum { FLOATS = 64 };

__global__ void diverge(Fault fault, float *out)
{
    int t = (int)threadIdx.x;
    float x = 0;
    if (fault == WAIT_APART) {
        if (t < 20)
            __syncthreads();
        else
            __syncthreads();
    }
    if (fault == RETURN_APART) {
        if (t < 20)
            x = __shfl_xor_sync(ALL_LANES, x, 1);
        else
            __syncthreads();
    }
    if (fault == VOTE_APART) {
        if (t < 20)
            x = __shfl_xor_sync(ALL_LANES, x, 1);
        else
            x = (float)__any_sync(ALL_LANES, t);
    }
    if (fault == NOT_IN_MASK)
        x = __shfl_xor_sync(0x7fffffffu, x, 1);
    out[t] = x;
}

__global__ void outside(Fault fault, int past, float *out)
{
    DYNAMIC_SHARED(float, dynamic);
    __shared__ float fixed[FLOATS];
    int t = (int)threadIdx.x;
    dynamic[t] = fixed[t] = 1;
    __syncthreads();
    if (t > 0)
        return;
    if (fault == FAR_OUTSIDE)
        out[(int64_t)1 << 28] = 1;
    if (fault == JUST_OUTSIDE)
        out[past] = 1;
    if (fault == OUTSIDE_DYNAMIC)
        dynamic[past] = 1;
    if (fault == OUTSIDE_STATIC)
        fixed[past] = 1;
    out[0] = dynamic[1] + fixed[1];
}

/* With `guarded`, the same accesses with what orders them. */
__global__ void race(Fault fault, bool guarded, float *out)
{
    __shared__ float tile[FLOATS];
    __shared__ uint16_t halves[FLOATS];
    __shared__ int count;
    int t = (int)threadIdx.x, other = t ^ (fault == WITHIN_WARP || fault == SHUFFLE_IS_NO_BARRIER ? 1 : WARP);
    if (fault != NOT_WRITTEN || guarded)
        tile[t] = (float)t;
    if (t == 0)
        count = 0;
    if (fault == WITHIN_WARP && guarded)
        __syncwarp();
    else if (fault == SHUFFLE_IS_NO_BARRIER && !guarded)
        out[t] = __shfl_xor_sync(ALL_LANES, tile[t], 1);
    else if ((fault != WRITE_WRITE && fault != WRITE_READ && fault != WITHIN_WARP) || guarded)
        __syncthreads();
    if (fault == WRITE_WRITE)
        tile[other] = (float)t;
    float x = tile[fault == WRITE_WRITE ? other : fault == NOT_WRITTEN ? t : other];
    if (fault == READ_WRITE) {
        if (guarded)
            __syncthreads();
        tile[t] = x;
    }
    if (fault == HALF_WORDS) {
        halves[t] = (uint16_t)t;
        x += (float)halves[t];
    }
    if (fault == ATOMICS)
        atomicAdd(&count, 1);
    int64_t first = fault >= OTHER_BLOCK_WRITES && fault <= OTHER_BLOCK_READS && !guarded ? 0 : blockIdx.x * FLOATS;
    if (fault == OTHER_BLOCK_READS && blockIdx.x == 1)
        out[2 * FLOATS + t] = out[first + t];
    else
        out[first + t] = x;
}

static void run_diverge(int fault)
{
    LAUNCH(diverge, 1, FLOATS, 0, &exec, (Fault)fault, device_floats(FLOATS));
}

static void run_outside(int fault)
{
    LAUNCH(outside, 1, FLOATS, FLOATS * sizeof(float), &exec, (Fault)fault, FLOATS, device_floats(FLOATS));
}

/* Managed memory, as the tests of the kernels use it. */
static void run_outside_managed(int fault)
{
    void *memory;
    assert_int_equal(cudaMallocManaged(&memory, FLOATS * sizeof(float)), cudaSuccess);
    LAUNCH(outside, 1, FLOATS, FLOATS * sizeof(float), &exec, (Fault)fault, FLOATS, (float *)memory);
    assert_true(*(float *)memory == 2);
    cudaFree(memory);
}

static void run_on_the_hosts_memory(int fault)
{
    float memory[FLOATS];
    LAUNCH(outside, 1, FLOATS, FLOATS * sizeof(float), &exec, (Fault)fault, FLOATS, memory);
}

__global__ void follow(float *const *pointer)
{
    **pointer = 1;
}

static void run_a_hidden_pointer(int)
{
    float x, *pointer = &x, **memory;
    assert_int_equal(cudaMallocManaged((void **)&memory, sizeof *memory), cudaSuccess);
    *memory = pointer;
    LAUNCH(follow, 1, 1, 0, &exec, memory);
}

static void run_in_a_fork(int)
{
    device_floats(FLOATS);
    pid_t child = fork();
    if (child == 0)
        device_floats(FLOATS);
    int status;
    waitpid(child, &status, 0);
    _exit(WEXITSTATUS(status));
}

static void run_race(int fault)
{
    float *memory = device_floats(3 * FLOATS);
    LAUNCH(race, 2, FLOATS, 0, &exec, (Fault)fault, false, memory);
    cudaFree(memory);
}

static void run_guarded(int fault)
{
    float *memory = device_floats(3 * FLOATS);
    LAUNCH(race, 2, FLOATS, 0, &exec, (Fault)fault, true, memory);
    cudaFree(memory);
}

static void run_large_block(int)
{
    LAUNCH(diverge, 1, 1025, 0, &exec, NO_FAULT, device_floats(2000));
}

static void run_large_shared(int)
{
    LAUNCH(outside, 1, FLOATS, 200 << 10, &exec, NO_FAULT, FLOATS, device_floats(FLOATS));
}

static void host_reads(int)
{
    printf("%f\n", *(volatile float *)device_floats(FLOATS));
}

static void copy_the_wrong_way(int)
{
    float x = 0;
    cudaMemcpy(&x, device_floats(1), sizeof x, cudaMemcpyHostToDevice);
}

static void copy_too_much(int)
{
    float x[2];
    cudaMemcpy(x, device_floats(1), sizeof x, cudaMemcpyDeviceToHost);
}

static void free_twice(int)
{
    float *memory = device_floats(1);
    cudaFree(memory);
    cudaFree(memory);
}

static const Planted planted[] = {
    {"barriers at two lines", run_diverge, WAIT_APART, ALL_BUILDS, "divergent barrier"},
    {"a shuffle beside a barrier", run_diverge, RETURN_APART, ALL_BUILDS, "waits in a warp collective"},
    {"a shuffle beside a vote", run_diverge, VOTE_APART, ALL_BUILDS, "divergent warp"},
    {"a lane outside of its mask", run_diverge, NOT_IN_MASK, ALL_BUILDS, "not in its own mask"},
    {"no divergence", run_diverge, NO_FAULT, ALL_BUILDS, NULL},
    {"a large block", run_large_block, NO_FAULT, ALL_BUILDS, "a block of (1025, 1, 1) threads"},
    {"much shared memory", run_large_shared, NO_FAULT, ALL_BUILDS, "204800 bytes of dynamic shared memory"},
    {"far outside", run_outside, FAR_OUTSIDE, PLAIN, "device memory that nobody has"},
    {"just outside", run_outside, JUST_OUTSIDE, WATCHED, "outside of every allocation"},
    {"just outside, by ASan", run_outside, JUST_OUTSIDE, ASAN, "use-after-poison"},
    {"just outside of managed memory", run_outside_managed, JUST_OUTSIDE, WATCHED, "outside of every allocation"},
    {"just outside of it, by ASan", run_outside_managed, JUST_OUTSIDE, ASAN, "heap-buffer-overflow"},
    {"outside of dynamic shared memory", run_outside, OUTSIDE_DYNAMIC, ASAN, "heap-buffer-overflow"},
    {"outside of static shared memory", run_outside, OUTSIDE_STATIC, ASAN, "index 64 out of bounds"},
    {"inside", run_outside, NO_FAULT, ALL_BUILDS, NULL},
    {"inside of managed memory", run_outside_managed, NO_FAULT, ALL_BUILDS, NULL},
    {"the host's memory", run_on_the_hosts_memory, NO_FAULT, ALL_BUILDS, "the host's memory, which a GPU may not see"},
    {"the host's memory, by a pointer in memory", run_a_hidden_pointer, NO_FAULT, WATCHED, "writes 4 bytes at "},
    {"in a forked process", run_in_a_fork, NO_FAULT, ALL_BUILDS, "CUDA was opened before this process was forked"},
    {"the host reads", host_reads, NO_FAULT, PLAIN | WATCHED,
     "the host touched device memory: byte 0 of an allocation of 256"},
    {"a copy the wrong way", copy_the_wrong_way, NO_FAULT, ALL_BUILDS, "is no device memory"},
    {"a copy of too much", copy_too_much, NO_FAULT, ALL_BUILDS, "beyond its allocation"},
    {"freed twice", free_twice, NO_FAULT, ALL_BUILDS, "is no allocation"},
    {"two write", run_race, WRITE_WRITE, WATCHED, "race: writes shared memory"},
    {"one writes, one reads", run_race, WRITE_READ, WATCHED, "race: "},
    {"one reads, one writes", run_race, READ_WRITE, WATCHED, "race: "},
    {"no __syncwarp", run_race, WITHIN_WARP, WATCHED, "race: "},
    {"a shuffle is no barrier", run_race, SHUFFLE_IS_NO_BARRIER, WATCHED, "race: "},
    {"two blocks write", run_race, OTHER_BLOCK_WRITES, WATCHED, "of another block"},
    {"one block reads", run_race, OTHER_BLOCK_READS, WATCHED, "of another block"},
    {"shared memory not written", run_race, NOT_WRITTEN, WATCHED, "has not written"},
    {"neighbours in a word", run_race, HALF_WORDS, ALL_BUILDS, NULL},
    {"atomics", run_race, ATOMICS, ALL_BUILDS, NULL},
    {"ordered: two write", run_guarded, WRITE_WRITE, ALL_BUILDS, NULL},
    {"ordered: one writes", run_guarded, WRITE_READ, ALL_BUILDS, NULL},
    {"ordered: one reads", run_guarded, READ_WRITE, ALL_BUILDS, NULL},
    {"ordered: __syncwarp", run_guarded, WITHIN_WARP, ALL_BUILDS, NULL},
    {"ordered: not by a shuffle", run_guarded, SHUFFLE_IS_NO_BARRIER, ALL_BUILDS, NULL},
    {"ordered: two blocks", run_guarded, OTHER_BLOCK_WRITES, ALL_BUILDS, NULL},
    {"ordered: shared memory", run_guarded, NOT_WRITTEN, ALL_BUILDS, NULL},
};

static void planted_faults_are_found(void **)
{
    check_planted(planted, sizeof planted / sizeof *planted);
}

int main(int arguments, char **argument)
{
    run_planted(planted, arguments, argument);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shuffles_move_what_cuda_says),
        cmocka_unit_test(blocks_meet_at_barriers),
        cmocka_unit_test(planted_faults_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
