/* The generated sets: frozen bytes, all classes alike in number, training and test apart. */
#include "datasets/scratch_folder.h"

#include "datasets/registry.h"

typedef struct Frozen {
    const char *set;
    int classes, side;
    int64_t counts[2];  /* training, test */
    uint64_t hashes[2]; /* of all pixels */
} Frozen;

static void assert_part(const Frozen *f, DatasetPart part)
{
    Error e;
    Dataset *d = dataset_open(f->set, NULL, part, &e);
    assert_non_null(d);
    assert_int_equal(d->classes, f->classes);
    assert_int_equal(d->width, f->side);
    assert_int_equal(d->channels, 3);
    assert_int_equal(d->count, f->counts[part]);
    uint64_t h = 0;
    int64_t per_class[16] = {0};
    Sample s = {0};
    for (int64_t i = 0; i < d->count; i++) {
        assert_true(dataset_read(d, i, &s, &e));
        h = bytes_hash(h, s.image.pixels, (size_t)(f->side * f->side * 3));
        per_class[s.label]++;
    }
    for (int c = 0; c < f->classes; c++)
        assert_in_range(per_class[c], d->count / f->classes, d->count / f->classes + 1);
    assert_int_equal(h, f->hashes[part]);
    sample_free(&s);
    dataset_close(d);
}

static void test_generated_sets_are_frozen(void **state)
{
    (void)state;
    static const Frozen sets[] = {
        {"shapes", 9, 24, {6000, 1500}, {0x08bb6b629e9f4d6bu, 0xa1b3db18afc87227u}},
        {"pairs", 10, 16, {9000, 2000}, {0x88ed03586064a828u, 0xc2023dbfdce3d1f7u}},
    };
    for (int i = 0; i < COUNT_OF(sets); i++)
        for (DatasetPart part = PART_TRAIN; part <= PART_TEST; part++)
            assert_part(&sets[i], part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_generated_sets_are_frozen)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
