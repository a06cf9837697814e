/* The generated set: frozen bytes, all classes alike in number, training and test apart. */
#include "datasets/scratch_folder.h"

#include "datasets/registry.h"

static uint64_t hash_of(DatasetPart part, int64_t *count, int per_class[9])
{
    Error e;
    Dataset *d = dataset_open("shapes", NULL, part, &e);
    assert_non_null(d);
    assert_int_equal(d->classes, 9);
    assert_int_equal(d->width, 24);
    assert_int_equal(d->channels, 3);
    uint64_t h = 0;
    Sample s = {0};
    *count = d->count;
    for (int64_t i = 0; i < d->count; i++) {
        assert_true(dataset_read(d, i, &s, &e));
        h = bytes_hash(h, s.image.pixels, 24 * 24 * 3);
        per_class[s.label]++;
    }
    sample_free(&s);
    dataset_close(d);
    return h;
}

static void test_shapes_are_frozen(void **state)
{
    (void)state;
    int64_t count;
    int train[9] = {0}, test[9] = {0};
    uint64_t of_train = hash_of(PART_TRAIN, &count, train);
    assert_int_equal(count, 6000);
    uint64_t of_test = hash_of(PART_TEST, &count, test);
    assert_int_equal(count, 1500);
    for (int c = 0; c < 9; c++) {
        assert_in_range(train[c], 666, 667);
        assert_in_range(test[c], 166, 167);
    }
    assert_int_equal(of_train, 0x08bb6b629e9f4d6bu);
    assert_int_equal(of_test, 0xa1b3db18afc87227u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes_are_frozen)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
