/* Batches are a function of (seed, epoch, step): not of threads, of what was prefetched, or of where a run started. */
#include "common/base/str.h"
#include "common/data/loader.h"
#include "common/data/order.h"
#include "support/tape_test.h"

#include <stdatomic.h>

enum { COUNT = 103, SIDE = 5 };

/* Every allocation of the process is counted (not where a sanitizer has taken malloc's place). */
#ifndef __SANITIZE_ADDRESS__
#define COUNTS_ALLOCATIONS 1
static atomic_long allocations;
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);

void *malloc(size_t bytes)
{
    allocations++;
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    allocations++;
    return __libc_calloc(count, bytes);
}

void *realloc(void *old, size_t bytes)
{
    allocations++;
    return __libc_realloc(old, bytes);
}
#endif

/* Sample i: every pixel is i, label i % 7; `broken` samples cannot be read. */
typedef struct Counting {
    const int *broken;
    int broken_count;
} Counting;

static bool counting_read(const Dataset *d, int64_t i, Sample *sample, Error *e)
{
    const Counting *own = d->own;
    for (int b = 0; b < own->broken_count; b++)
        if (own->broken[b] == i)
            return error_set(e, "sample-%d: broken", (int)i);
    image_reshape(&sample->image, SIDE, SIDE, 1);
    memset(sample->image.pixels, (int)i, SIDE * SIDE);
    sample->label = i % 7;
    return true;
}

static void counting_close(Dataset *d)
{
    mem_free(d->own);
}

static Dataset *counting(const int *broken, int broken_count)
{
    Dataset *d = dataset_new(7, NULL);
    d->count = COUNT;
    d->width = d->height = SIDE;
    d->channels = 1;
    d->read = counting_read;
    d->close = counting_close;
    d->own = mem_copy(&(Counting){broken, broken_count}, sizeof(Counting));
    return d;
}

static LoaderOptions options_for(Dataset *d)
{
    return (LoaderOptions){
        .dataset = d,
        .transform = {.size = SIDE,
                      .train = true,
                      .crop = CROP_PADDED,
                      .padding = 1,
                      .flip = 0.5,
                      .erasing = {0.5, 0.02, 0.3, 0.3},
                      .mean = {0.25, 0.25, 0.25},
                      .deviation = {0.5, 0.5, 0.5}},
        .batch_size = 10,
        .shuffle = true,
        .seed = 3,
    };
}

/* A running hash of everything in the next `batches` batches. */
static uint64_t hash_of(Loader *l, int batches)
{
    uint64_t h = 0;
    for (int i = 0; i < batches; i++) {
        Error e;
        const Batch *b = loader_next(l, &e);
        assert_non_null(b);
        h = bytes_hash(h, &b->epoch, sizeof b->epoch);
        h = bytes_hash(h, &b->step, sizeof b->step);
        h = bytes_hash(h, b->pixels, (size_t)b->rows * SIDE * SIDE);
        h = bytes_hash(h, b->erasures, (size_t)b->rows * sizeof *b->erasures);
        h = bytes_hash(h, b->labels, (size_t)b->rows * sizeof(int64_t));
        h = bytes_hash(h, b->indices, (size_t)b->rows * sizeof(int64_t));
        Random r = b->random;
        double u = random_uniform(&r);
        h = bytes_hash(h, &u, sizeof u);
    }
    return h;
}

static void test_thread_count_does_not_show(void **state)
{
    (void)state;
    uint64_t first = 0;
    for (int threads = 0; threads <= 3; threads++) {
        Dataset *d = counting(NULL, 0);
        LoaderOptions o = options_for(d);
        o.threads = threads;
        o.ahead = 1 + threads;
        Loader *l = loader_open(&o, NULL);
        assert_non_null(l);
        uint64_t h = hash_of(l, 25);
        loader_close(l);
        dataset_close(d);
        first = threads ? first : h;
        assert_int_equal(h, first);
    }
}

static void test_resume_at_any_step(void **state)
{
    (void)state;
    Dataset *d = counting(NULL, 0);
    LoaderOptions o = options_for(d);
    o.threads = 2;
    Loader *l = loader_open(&o, NULL);
    assert_int_equal(loader_steps(l), 11);
    hash_of(l, 13);
    uint64_t rest = hash_of(l, 12);
    loader_start(l, 1, 2);
    assert_int_equal(hash_of(l, 12), rest);
    loader_close(l);
    dataset_close(d);
}

static void test_an_epoch_visits_every_sample_once(void **state)
{
    (void)state;
    Dataset *d = counting(NULL, 0);
    LoaderOptions o = options_for(d);
    o.threads = 1;
    o.epochs = 2;
    Loader *l = loader_open(&o, NULL);
    int64_t orders[2][COUNT];
    for (int epoch = 0; epoch < 2; epoch++) {
        int seen[COUNT] = {0}, n = 0;
        for (int s = 0; s < loader_steps(l); s++) {
            const Batch *b = loader_next(l, NULL);
            assert_int_equal(b->epoch, epoch);
            assert_int_equal(b->rows, s == 10 ? 3 : 10);
            for (int r = 0; r < b->rows; r++) {
                assert_int_equal(b->labels[r], b->indices[r] % 7);
                seen[b->indices[r]]++;
                orders[epoch][n++] = b->indices[r];
            }
        }
        for (int i = 0; i < COUNT; i++)
            assert_int_equal(seen[i], 1);
    }
    assert_memory_not_equal(orders[0], orders[1], sizeof orders[0]);
    loader_close(l);
    o.drop_last = true;
    l = loader_open(&o, NULL);
    assert_int_equal(loader_steps(l), 10);
    loader_close(l);
    dataset_close(d);
}

/* Ranks share a batch: each row is somewhere once, a row's partner in the reversed batch is its partner in the reversed
 * share, and what is made of a row does not show how many ranks there are. */
static void test_ranks_share_a_batch(void **state)
{
    (void)state;
    enum { ROWS = 24, PIXELS = SIDE * SIDE };
    Dataset *d = counting(NULL, 0);
    LoaderOptions o = options_for(d);
    o.batch_size = ROWS;
    o.drop_last = true;
    uint8_t whole[ROWS * PIXELS];
    Erasure erased[ROWS];
    for (int ranks = 1; ranks <= 4; ranks *= 2) {
        bool made[ROWS] = {false};
        for (int rank = 0; rank < ranks; rank++) {
            o.rank = rank;
            o.ranks = ranks;
            Loader *l = loader_open(&o, NULL);
            assert_int_equal(loader_steps(l), COUNT / ROWS);
            loader_next(l, NULL);
            const Batch *b = loader_next(l, NULL);
            assert_int_equal(b->rows, ROWS / ranks);
            for (int r = 0; r < b->rows; r++) {
                int64_t row = order_batch_row(ROWS, rank, ranks, r);
                assert_false(made[row]);
                made[row] = true;
                assert_int_equal(order_batch_row(ROWS, rank, ranks, b->rows - 1 - r), ROWS - 1 - row);
                if (ranks == 1) {
                    memcpy(whole + row * PIXELS, b->pixels + r * PIXELS, PIXELS);
                    erased[row] = b->erasures[r];
                }
                assert_memory_equal(b->pixels + r * PIXELS, whole + row * PIXELS, PIXELS);
                assert_memory_equal(&b->erasures[r], &erased[row], sizeof *erased);
            }
            loader_close(l);
        }
        for (int row = 0; row < ROWS; row++)
            assert_true(made[row]);
    }
    dataset_close(d);
}

/* Where the rows are not so many pairs, a share is rows that follow each other. */
static void test_ranks_share_single_rows(void **state)
{
    (void)state;
    for (int rank = 0; rank < 3; rank++)
        for (int64_t r = 0; r < 3; r++)
            assert_int_equal(order_batch_row(9, rank, 3, r), 3 * rank + r);
    assert_int_equal(order_batch_row(4, 2, 4, 0), 2);
}

static bool inside(const Box *b, int y, int x)
{
    return y >= b->top && y < b->top + b->height && x >= b->left && x < b->left + b->width;
}

static void test_images_are_padded_normalised_and_erased(void **state)
{
    (void)state;
    Dataset *d = counting(NULL, 0);
    LoaderOptions o = options_for(d);
    Loader *l = loader_open(&o, NULL);
    Tape *t = test_tape(1);
    const Batch *b = loader_next(l, NULL);
    float *values = floats_of(t, batch_images(t, b));
    int padded = 0, erased = 0;
    for (int r = 0; r < b->rows; r++)
        for (int i = 0; i < SIDE * SIDE; i++) {
            uint8_t byte = b->pixels[r * SIDE * SIDE + i];
            float v = values[r * SIDE * SIDE + i], plain = ((float)byte / 255.0f - 0.25f) / 0.5f;
            bool gone = inside(&b->erasures[r].box, i / SIDE, i % SIDE);
            assert_true(byte == b->indices[r] || byte == 0);
            assert_true((v == plain) == !gone);
            padded += byte == 0;
            erased += gone;
        }
    assert_true(padded > 0 && erased > 0);
    mem_free(values);
    tape_free(t);
    loader_close(l);
    o.transform.train = false;
    l = loader_open(&o, NULL);
    assert_null(loader_next(l, NULL)->erasures);
    loader_close(l);
    dataset_close(d);
}

static void test_errors_come_in_order(void **state)
{
    (void)state;
    static const int broken[] = {37, 12};
    Dataset *d = counting(broken, 2);
    LoaderOptions o = options_for(d);
    o.shuffle = false;
    o.threads = 3;
    Loader *l = loader_open(&o, NULL);
    for (int s = 0; s < loader_steps(l); s++) {
        Error e = {""};
        const Batch *b = loader_next(l, &e);
        if (s == 1 || s == 3) {
            assert_null(b);
            assert_string_equal(e.text, s == 1 ? "sample-12: broken" : "sample-37: broken");
        } else {
            assert_non_null(b);
        }
    }
    loader_close(l);
    dataset_close(d);
}

static void test_corrupt_samples_replaced_or_left_out(void **state)
{
    (void)state;
    static const int broken[] = {12, 13};
    Dataset *d = counting(broken, 2);
    LoaderOptions o = options_for(d);
    o.shuffle = false;
    o.on_corrupt = CORRUPT_REPLACE;
    Loader *l = loader_open(&o, NULL);
    loader_next(l, NULL);
    const Batch *b = loader_next(l, NULL);
    assert_int_equal(b->rows, 10);
    assert_int_equal(b->corrupt, 2);
    assert_string_equal(b->corrupt_line.text, "sample-12: broken");
    assert_int_equal(b->indices[2], 14);
    assert_int_equal(b->indices[3], 14);
    assert_int_equal(b->labels[3], 0);
    assert_int_equal(loader_next(l, NULL)->corrupt, 0);
    loader_close(l);

    o.on_corrupt = CORRUPT_LEAVE_OUT;
    l = loader_open(&o, NULL);
    loader_next(l, NULL);
    b = loader_next(l, NULL);
    assert_int_equal(b->rows, 8);
    assert_int_equal(b->corrupt, 2);
    for (int r = 0; r < 8; r++) {
        assert_int_equal(b->indices[r], r < 2 ? 10 + r : 12 + r);
        assert_int_equal(b->labels[r], b->indices[r] % 7);
        assert_int_equal(b->pixels[r * SIDE * SIDE + SIDE * 2 + 2], b->indices[r]);
    }
    loader_close(l);
    dataset_close(d);
}

static void test_no_allocation_once_warm(void **state)
{
    (void)state;
#ifndef COUNTS_ALLOCATIONS
    skip();
#else
    Dataset *d = counting(NULL, 0);
    LoaderOptions o = options_for(d);
    o.threads = 2;
    o.transform.crop = CROP_RESIZED;
    o.transform.scale[0] = o.transform.scale[1] = 0.5;
    o.transform.ratio[0] = o.transform.ratio[1] = 1;
    o.transform.size = 16;
    o.transform.randaugment = (RandAugment){.ops = 2, .magnitude = 9, .probability = 1};
    o.transform.erasing = (RandomErasing){0.5, 0.02, 0.3, 0.3};
    Loader *l = loader_open(&o, NULL);
    for (int i = 0; i < 200; i++)
        assert_non_null(loader_next(l, NULL));
    long before = allocations;
    for (int i = 0; i < 200; i++)
        assert_non_null(loader_next(l, NULL));
    assert_int_equal(allocations - before, 0);
    loader_close(l);
    dataset_close(d);
#endif
}

static void test_wrong_options_are_one_line(void **state)
{
    (void)state;
    Dataset *d = counting(NULL, 0);
    Error e;
    LoaderOptions o = options_for(d);
    o.batch_size = 0;
    assert_null(loader_open(&o, &e));
    assert_string_equal(e.text, "batch size 0, expected at least 1");
    o = options_for(d);
    o.batch_size = 104;
    o.drop_last = true;
    assert_null(loader_open(&o, &e));
    assert_string_equal(e.text, "the data set has 103 samples, fewer than a batch of 104");
    o = options_for(d);
    o.transform.size = 8;
    assert_null(loader_open(&o, &e));
    assert_string_equal(e.text, "the image is 5 x 5 with 1 pixels of padding: no 8 x 8 window fits");
    o = options_for(d);
    o.repeats = 3;
    assert_null(loader_open(&o, &e));
    assert_non_null(strstr(e.text, "multiples of 256"));
    o = options_for(d);
    o.drop_last = true;
    o.ranks = 4;
    assert_null(loader_open(&o, &e));
    assert_string_equal(e.text,
                        "train.batch_size is 10, expected a multiple of 8 for 4 ranks: each takes pairs of rows");
    o.batch_size = 16; /* 103 = 6 * 16 + 7 */
    o.drop_last = false;
    assert_null(loader_open(&o, &e));
    assert_string_equal(e.text, "the last batch of an epoch has 7 samples, expected a multiple of 8 for 4 ranks: use "
                                "train.drop_last=yes");
    dataset_close(d);
}

static void test_hold_out(void **state)
{
    (void)state;
    Dataset *d = counting(NULL, 0), *rest, *held, *rest2, *held2;
    Error e;
    assert_true(dataset_hold_out(d, 0.25, 5, &rest, &held, &e));
    assert_true(dataset_hold_out(d, 26, 5, &rest2, &held2, &e));
    assert_int_equal(held->count, 26);
    assert_int_equal(rest->count, 77);
    int seen[COUNT] = {0};
    Sample s = {0}, s2 = {0};
    for (int i = 0; i < COUNT; i++) {
        bool in_held = i < 26;
        assert_true(dataset_read(in_held ? held : rest, in_held ? i : i - 26, &s, &e));
        assert_true(dataset_read(in_held ? held2 : rest2, in_held ? i : i - 26, &s2, &e));
        assert_int_equal(s.image.pixels[0], s2.image.pixels[0]);
        seen[s.image.pixels[0]]++;
    }
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(seen[i], 1);
    sample_free(&s);
    sample_free(&s2);
    dataset_close(rest);
    dataset_close(held);
    dataset_close(rest2);
    dataset_close(held2);
    assert_false(dataset_hold_out(d, 0, 5, &rest, &held, &e));
    assert_false(dataset_hold_out(d, 103, 5, &rest, &held, &e));
    dataset_close(d);
}

/* The sites of draws about a whole epoch lie above every position, so no sample shares their numbers. */
static void test_named_sites_are_no_positions(void **state)
{
    (void)state;
    static const char *const names[] = {"order", "batch", "hold out"};
    for (int i = 0; i < COUNT_OF(names); i++)
        assert_true(random_site(names[i]) > 100000000u);
}

static void test_repeated_augmentation_epoch(void **state)
{
    (void)state;
    OrderOptions o = {.count = 600, .shuffle = true, .repeats = 3, .seed = 1};
    int64_t permutation[600], order[600];
    assert_int_equal(order_length(&o), 512);
    order_epoch(&o, 4, permutation, order);
    for (int i = 0; i < 512; i++)
        assert_int_equal(order[i], permutation[i / 3]);
    /* 7 ranks of 600 * 3: 258 each when padded, floor(512 / 7) = 73 of them kept. */
    assert_int_equal(repeated_augmentation(permutation, 600, 3, 7, 2, order), 73);
    assert_int_equal(order[0], permutation[0]);
    assert_int_equal(order[1], permutation[3]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thread_count_does_not_show),
        cmocka_unit_test(test_resume_at_any_step),
        cmocka_unit_test(test_an_epoch_visits_every_sample_once),
        cmocka_unit_test(test_ranks_share_a_batch),
        cmocka_unit_test(test_ranks_share_single_rows),
        cmocka_unit_test(test_images_are_padded_normalised_and_erased),
        cmocka_unit_test(test_errors_come_in_order),
        cmocka_unit_test(test_corrupt_samples_replaced_or_left_out),
        cmocka_unit_test(test_no_allocation_once_warm),
        cmocka_unit_test(test_wrong_options_are_one_line),
        cmocka_unit_test(test_hold_out),
        cmocka_unit_test(test_named_sites_are_no_positions),
        cmocka_unit_test(test_repeated_augmentation_epoch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
