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

/* ---- Steps: from the third on a GPU starts each as a graph */

enum { COUNT = 1000, STEPS = 7, MANY = 70, LARGE = (2 << 20) + 64 };

typedef struct Places {
    const Backend *backend;
    Exec exec;
    float *x, *y, *large; /* on the device */
    Fetch fetch[2];
} Places;

static Places take_places(int64_t large)
{
    const Backend *b = test_backend();
    Places p = {.backend = b, .exec = {.threads = 1, .stream = b->stream}};
    p.x = b->memory.take(COUNT * sizeof *p.x);
    p.y = b->memory.take(COUNT * sizeof *p.y);
    p.large = b->memory.take((size_t)large);
    return p;
}

static void give_places(Places *p)
{
    const MemoryKernels *m = &p->backend->memory;
    m->fetch_free(&p->fetch[0]);
    m->fetch_free(&p->fetch[1]);
    m->give(p->x);
    m->give(p->y);
    m->give(p->large);
}

/* x = value; y += factor x, over n of them; y is fetched. */
static void give_work(Places *p, float value, float factor, int64_t n, Fetch *fetch)
{
    const MemoryKernels *m = &p->backend->memory;
    float values[COUNT];
    for (int i = 0; i < COUNT; i++)
        values[i] = value;
    m->upload(&p->exec, p->x, values, sizeof values);
    memset(values, 0, sizeof values); /* it may be reused */
    p->backend->elementwise.scale(&p->exec, 1, n, factor, (Rows){p->x, n, F32}, true, (Rows){p->y, n, F32});
    m->fetch(&p->exec, fetch, p->y, COUNT * sizeof(float));
}

static void check_fetched(Places *p, Fetch *fetch, float want)
{
    p->backend->memory.fetch_wait(fetch);
    for (int i = 0; i < COUNT; i++)
        if (((float *)fetch->host)[i] != want)
            fail_msg("value %d is %g, not %g", i, (double)((float *)fetch->host)[i], (double)want);
}

/* The result of each is looked at when the next has been given. */
static void steps_follow_each_other(void **state)
{
    (void)state;
    Places p = take_places(0);
    const MemoryKernels *m = &p.backend->memory;
    m->fill(&p.exec, p.y, 0, COUNT * sizeof *p.y);
    float sum = 0;
    for (int i = 0; i < STEPS; i++) {
        m->step(STEP_BEGINS);
        give_work(&p, (float)i, (float)(i + 2), COUNT, &p.fetch[i % 2]);
        m->step(STEP_ENDS);
        if (i > 0)
            check_fetched(&p, &p.fetch[(i - 1) % 2], sum);
        sum += (float)(i * (i + 2));
    }
    check_fetched(&p, &p.fetch[(STEPS - 1) % 2], sum);
    give_places(&p);
}

/* In the middle of a step: a download, a fetch that is waited for, a pause, more memory, and nothing at all. */
static void steps_are_interrupted(void **state)
{
    (void)state;
    Places p = take_places(0);
    const MemoryKernels *m = &p.backend->memory;
    m->fill(&p.exec, p.y, 0, COUNT * sizeof *p.y);
    float sum = 0, seen;
    for (int i = 0; i < 6 * STEPS; i++) {
        m->step(STEP_BEGINS);
        for (int part = 0; part < 3; part++) {
            give_work(&p, (float)(i + part), 0.5f, COUNT, &p.fetch[0]);
            sum += 0.5f * (float)(i + part);
            if ((i + part) % 6 == 0)
                m->step(STEP_PAUSES);
            if ((i + part) % 6 == 1 || i == 5)
                check_fetched(&p, &p.fetch[0], sum);
            if ((i + part) % 6 == 2 || i % STEPS == 4)
                m->download(&p.exec, &seen, p.y + COUNT - 1, sizeof seen);
            if ((i + part) % 6 == 3)
                m->wait(&p.exec);
            if (i % STEPS == 3 && part == 1)
                m->give(m->take(100));
            if (((i + part) % 6 == 2 || i % STEPS == 4) && seen != sum)
                fail_msg("step %d part %d: %g, not %g", i, part, (double)seen, (double)sum);
            if ((i + part) % 6 == 0)
                m->step(STEP_GOES_ON);
        }
        m->step(STEP_ENDS);
    }
    check_fetched(&p, &p.fetch[0], sum);
    give_places(&p);
}

/* Other sizes; more uploads than there is pinned memory for at a time. */
static void steps_change(void **state)
{
    (void)state;
    Places p = take_places((int64_t)MANY * LARGE);
    const MemoryKernels *m = &p.backend->memory;
    uint8_t *large = malloc(LARGE), *back = malloc(LARGE);
    m->fill(&p.exec, p.y, 0, COUNT * sizeof *p.y);
    float first = 0;
    for (int i = 0; i < STEPS; i++) {
        m->step(STEP_BEGINS);
        for (int j = 0; j < (i < 4 ? 2 : MANY); j++) {
            memset(large, i + j, LARGE);
            m->upload(&p.exec, (char *)p.large + (size_t)j * LARGE, large, LARGE);
        }
        give_work(&p, 1, (float)i, COUNT - 100 * i, &p.fetch[0]);
        m->step(STEP_ENDS);
        first += (float)i;
    }
    m->fetch_wait(&p.fetch[0]);
    assert_true(((float *)p.fetch[0].host)[0] == first);
    assert_true(((float *)p.fetch[0].host)[COUNT - 1] == 0); /* only the first step, by 0, came so far */
    for (int j = 0; j < MANY; j++) {
        m->download(&p.exec, back, (char *)p.large + (size_t)j * LARGE, LARGE);
        memset(large, STEPS - 1 + j, LARGE);
        assert_memory_equal(large, back, LARGE);
    }
    free(large);
    free(back);
    give_places(&p);
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
        cmocka_unit_test(steps_follow_each_other),
        cmocka_unit_test(steps_are_interrupted),
        cmocka_unit_test(steps_change),
        cmocka_unit_test(what_cannot_be_opened_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
