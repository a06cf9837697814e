/* The pool of tensors: places, coalescing, what debug builds write, and that the same requests get the same places. */
#include "common/tensor/pool.h"
#include "support/tape_test.h"

#include <math.h>

/* The region on the host, and the segments of a device's memory (on the CPU the host's, taken as a device's). */
enum { KINDS = 2 };

static Pool *pool_of(int kind)
{
    return kind ? pool_new_on(test_backend()) : pool_new(true);
}

static Exec exec_of_device(void)
{
    return (Exec){.threads = 1, .stream = test_backend()->stream};
}

static void fill_block(int kind, void *block, int byte, size_t bytes)
{
    Exec exec = exec_of_device();
    if (kind)
        test_backend()->memory.fill(&exec, block, (uint8_t)byte, bytes);
    else
        memset(block, byte, bytes);
}

static void check_block(int kind, const void *block, int byte, size_t bytes)
{
    Exec exec = exec_of_device();
    uint8_t *copy = mem_new(bytes);
    if (kind)
        test_backend()->memory.download(&exec, copy, block, bytes);
    else
        memcpy(copy, block, bytes);
    for (size_t b = 0; b < bytes; b++)
        if (copy[b] != (uint8_t)byte)
            fail_msg("block %d was overwritten", byte);
    mem_free(copy);
}

static void check_blocks(int kind, Pool *pool)
{
    enum { BLOCKS = 200 };
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 100000};
    char *block[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        size_t size = sizes[i % COUNT_OF(sizes)];
        block[i] = pool_take(pool, size);
        assert_non_null(block[i]);
        assert_int_equal((uintptr_t)block[i] % 64, 0);
        fill_block(kind, block[i], i, size);
    }
    for (int i = 0; i < BLOCKS; i++)
        check_block(kind, block[i], i, sizes[i % COUNT_OF(sizes)]);
    for (int i = 0; i < BLOCKS; i++)
        pool_give(pool, block[i], sizes[i % COUNT_OF(sizes)]);
    assert_int_equal(pool_used(pool), 0);
    pool_free(pool);
}

static void blocks_are_aligned_and_apart(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++)
        check_blocks(kind, pool_of(kind));
}

/* Neighbours that were given back are one block again, in whatever order they came. */
static void gaps_join(void **state)
{
    (void)state;
    static const int orders[][3] = {{0, 1, 2}, {2, 1, 0}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}};
    for (int o = 0; o < COUNT_OF(orders); o++) {
        Pool *pool = pool_new(true);
        char *block[3];
        for (int i = 0; i < 3; i++)
            block[i] = pool_take(pool, 1000);
        char *last = pool_take(pool, 1000);
        for (int i = 0; i < 3; i++)
            pool_give(pool, block[orders[o][i]], 1000);
        assert_ptr_equal(pool_take(pool, 3000), block[0]);
        pool_give(pool, block[0], 3000);
        pool_give(pool, last, 1000);
        assert_ptr_equal(pool_take(pool, 100000), block[0]); /* nothing is left but the region */
        pool_free(pool);
    }
}

static void the_smallest_gap_that_fits_is_taken(void **state)
{
    (void)state;
    Pool *pool = pool_new(true);
    char *wide = pool_take(pool, 4000);
    pool_take(pool, 64);
    char *narrow_gap = pool_take(pool, 1000);
    pool_take(pool, 64);
    pool_give(pool, wide, 4000);
    pool_give(pool, narrow_gap, 1000);
    assert_ptr_equal(pool_take(pool, 900), narrow_gap);
    assert_ptr_equal(pool_take(pool, 2000), wide);
    pool_free(pool);
}

/* A step's requests and returns, drawn at random; what is live holds its own pattern. */
static void random_step(int kind, Pool *pool, uint32_t seed, void *places[static 400])
{
    enum { SLOTS = 40 };
    Random r = random_at(seed, STREAM_DATA, 1, 0);
    char *live[SLOTS] = {0};
    size_t sizes[SLOTS];
    for (int i = 0; i < 400; i++) {
        int slot = (int)random_integer(&r, SLOTS);
        if (live[slot]) {
            check_block(kind, live[slot], slot, sizes[slot]);
            pool_give(pool, live[slot], sizes[slot]);
        }
        sizes[slot] = (size_t)random_integer(&r, 5000);
        places[i] = live[slot] = pool_take(pool, sizes[slot]);
        fill_block(kind, live[slot], slot, sizes[slot]);
    }
    for (int slot = 0; slot < SLOTS; slot++)
        if (live[slot])
            pool_give(pool, live[slot], sizes[slot]);
    assert_int_equal(pool_used(pool), 0);
}

static void the_same_requests_get_the_same_places(void **state)
{
    (void)state;
    void *first[400], *second[400];
    for (int kind = 0; kind < KINDS; kind++) {
        Pool *pool = pool_of(kind);
        for (uint32_t seed = 0; seed < 20; seed++) {
            random_step(kind, pool, seed, first);
            random_step(kind, pool, seed, second);
            assert_memory_equal(first, second, sizeof first);
        }
        pool_free(pool);
    }
}

/* What does not fit into a segment gets one of its own; two segments never become one block, wherever they lie. */
static void segments_stay_apart(void **state)
{
    (void)state;
    enum { BLOCKS = 3 };
    const size_t large = (size_t)66 << 20;
    Pool *pool = pool_new_on(test_backend());
    char *block[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = pool_take(pool, large);
        assert_non_null(block[i]);
        fill_block(1, block[i], i, 1);
        fill_block(1, block[i] + large - 1, i, 1);
    }
    for (int i = 0; i < BLOCKS; i++) {
        check_block(1, block[i], i, 1);
        check_block(1, block[i] + large - 1, i, 1);
    }
    for (int i = 0; i < BLOCKS; i++)
        pool_give(pool, block[i], large);
    assert_int_equal(pool_used(pool), 0);
    char *whole = pool_take(pool, 2 * large); /* no gap is as long: a new segment */
    for (int i = 0; i < BLOCKS; i++)
        assert_true(whole + 2 * large <= block[i] || block[i] + large <= whole);
    pool_give(pool, whole, 2 * large);
    assert_ptr_equal(pool_take(pool, 2 * large), whole);
    pool_free(pool);
}

static void use_and_peak_are_counted(void **state)
{
    (void)state;
    for (int real = 0; real < 2; real++) {
        Pool *pool = pool_new(real);
        void *a = pool_take(pool, (size_t)1 << 20), *b = pool_take(pool, (size_t)1 << 20);
        assert_in_range(pool_used(pool), 2 << 20, (2 << 20) + 256);
        pool_give(pool, b, (size_t)1 << 20);
        assert_in_range(pool_peak(pool), 2 << 20, (2 << 20) + 256);
        pool_peak_reset(pool);
        assert_int_equal(pool_peak(pool), pool_used(pool));
        assert_in_range(pool_peak(pool), 1 << 20, (1 << 20) + 128);
        pool_give(pool, a, (size_t)1 << 20);
        pool_free(pool);
    }
}

static void too_much_is_null(void **state)
{
    (void)state;
    Pool *pool = pool_new(true), *meta = pool_new(false);
    assert_null(pool_take(pool, (size_t)1 << 50));
    assert_int_equal(pool_used(pool), 0);
    assert_non_null(pool_take(meta, (size_t)1 << 50)); /* places cost nothing */
    pool_free(pool);
    pool_free(meta);
}

static void gives_what_it_never_had(void *argument)
{
    Pool *pool = argument;
    pool_give(pool, (char *)pool_take(pool, 64) + ((size_t)1 << 20), 64);
}

static void a_foreign_block_is_refused(void **state)
{
    (void)state;
    Pool *pool = pool_new(true);
    expect_broken_contract(gives_what_it_never_had, pool, "pool_give");
    pool_free(pool);
}

#if !defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__)
/* Debug builds: NaN before the first write and after the return. (AddressSanitizer guards returned blocks itself.) */
static void debug_builds_poison(void **state)
{
    (void)state;
    Pool *pool = pool_new(true);
    float *block = pool_take(pool, 400);
    for (int i = 0; i < 100; i++) {
        assert_true(isnan(block[i]));
        block[i] = 1;
    }
    pool_give(pool, block, 400);
    for (int i = 0; i < 100; i++)
        assert_true(isnan(block[i]));
    pool_free(pool);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_apart),
        cmocka_unit_test(gaps_join),
        cmocka_unit_test(the_smallest_gap_that_fits_is_taken),
        cmocka_unit_test(the_same_requests_get_the_same_places),
        cmocka_unit_test(segments_stay_apart),
        cmocka_unit_test(use_and_peak_are_counted),
        cmocka_unit_test(too_much_is_null),
        cmocka_unit_test(a_foreign_block_is_refused),
#if !defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__)
        cmocka_unit_test(debug_builds_poison),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
