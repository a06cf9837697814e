/* Memory of a device, and what is said where the CUDA backend cannot be opened. */
#include "common/kernels/cuda/cuda.h"
#include "support/tape_test.h"

static void bytes_come_and_go(void **state)
{
    (void)state;
    const MemoryKernels *m = &test_backend()->memory;
    const Exec exec = {.threads = 1, .stream = test_backend()->stream};
    uint8_t from[1000], to[1000];
    for (int i = 0; i < COUNT_OF(from); i++)
        from[i] = (uint8_t)(i * 7);
    uint8_t *a = m->take(sizeof from), *b = m->take(sizeof from);
    assert_int_equal((uintptr_t)a % 256, 0);
    m->upload(&exec, a, from, sizeof from);
    m->fill(&exec, b, 9, sizeof from);
    m->copy(&exec, b + 10, a + 20, 100);
    m->wait(&exec);
    m->download(&exec, to, b, sizeof to);
    for (int i = 0; i < COUNT_OF(to); i++)
        assert_int_equal(to[i], i >= 10 && i < 110 ? from[i + 10] : 9);
    Fetch f = {0};
    for (int i = 0; i < 2; i++) { /* the second time it has room */
        m->fetch(&exec, &f, b, sizeof to);
        m->fill(&exec, b, 3, sizeof to); /* too late to be seen */
        m->fetch_wait(&f);
        assert_int_equal(((uint8_t *)f.host)[500], i ? 3 : 9);
    }
    m->fetch_free(&f);
    m->fetch_free(&f);
    m->copy(&exec, NULL, NULL, 0);
    m->give(a);
    m->give(b);
    m->give(NULL);
    assert_int_equal(m->on_host, !testing_cuda());
    assert_true(m->total() > (size_t)1 << 26);
}

static void check_refusal(const char *library, const char *words)
{
    Error e;
    setenv("ZOO_CUDA_LIBRARY", library, 1);
    assert_null(cuda_backend(&e));
    if (!strstr(e.text, words) || strchr(e.text, '\n'))
        fail_msg("\"%s\" is expected in: %s", words, e.text);
}

static void what_cannot_be_opened_is_said(void **state)
{
    (void)state;
    if (testing_cuda())
        skip(); /* it is open */
    check_refusal("/nowhere/libzoo_cuda.so", "there is no /nowhere/libzoo_cuda.so; build it with");
    check_refusal("/etc/passwd", "cannot be loaded");
    check_refusal("libm.so.6", "there is no libm.so.6");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_and_go),
        cmocka_unit_test(what_cannot_be_opened_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
