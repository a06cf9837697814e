/* Caches: what streams keep and give back, and attention over a text that grows, which is that over the whole text. */
#include "common/attention/cache.h"
#include "common/attention/windowed.h"
#include "support/tape_test.h"

#include <math.h>

enum { ROWS = 2, TOKENS = 61, HEADS = 4, WIDTH = 6, VALUES = 5, CLIP = 9 };

/* How many tokens arrive at a time. */
static const int64_t pieces[] = {13, 1, 1, 7, 1, 25, 3, 1, 1, 8};

/* Runs `look` after each piece of x [ROWS,TOKENS,2,3] has arrived in `name`; `end`: tokens that are there. */
static void feed(Tape *t, Cache *c, const char *name, Tensor *x,
                 void (*look)(Tape *, const Cache *, Tensor *, int64_t end))
{
    for (int64_t i = 0, at = 0; i < COUNT_OF(pieces); at += pieces[i++]) {
        cache_append(t, c, name, narrow(t, x, 1, at, pieces[i]));
        look(t, c, x, at + pieces[i]);
    }
}

static void assert_same(Tape *t, Tensor *a, Tensor *b)
{
    float *expected = floats_of(t, b);
    assert_true(shape_equal(a->shape, b->shape));
    assert_floats(t, a, expected);
    mem_free(expected);
}

static void last_are_there(Tape *t, const Cache *c, Tensor *x, int64_t end)
{
    assert_int_equal(cache_seen(c, "x"), end);
    for (int64_t n = 1; n <= MIN(end, c->room); n += 3)
        assert_same(t, cache_last(t, c, "x", n), narrow(t, x, 1, end - n, n));
}

static void streams_keep_the_last_tokens(void **state)
{
    (void)state;
    const CacheStream streams[] = {{.name = "other", .heads = 1, .width = 1}, {.name = "x", .heads = 2, .width = 3}};
    for (int64_t room = 25; room <= 64; room += 13) { /* 25, 38, 51, 64 */
        Tape *t = test_tape(1);
        States *owner = states_new();
        Tensor *x = random_tensor(t, "x", SHAPE(ROWS, TOKENS, 2, 3));
        Cache ring = cache_new(owner, CACHE_RING, ROWS, room, 2, streams);
        Cache all = cache_new(owner, CACHE_APPEND, ROWS, TOKENS, 2, streams);
        states_allocate(owner, test_backend());
        feed(t, &ring, "x", x, last_are_there);
        feed(t, &all, "x", x, last_are_there);
        assert_int_equal(cache_seen(&all, "other"), 0);
        tape_free(t);
        states_free(owner);
    }
}

/* ---- Attention */

typedef struct Text {
    Tape *tape;
    Tensor *q, *k, *v; /* v has a token of zeros */
    RelativeTables tables;
} Text;

static Text text_new(int64_t kv_heads)
{
    Tape *t = test_tape(2);
    Text x = {.tape = t,
              .q = random_tensor(t, "q", SHAPE(ROWS, TOKENS, HEADS, WIDTH)),
              .k = random_tensor(t, "k", SHAPE(ROWS, TOKENS, kv_heads, WIDTH)),
              .v = random_tensor(t, "v", SHAPE(ROWS, TOKENS, kv_heads, VALUES)),
              .tables = {random_tensor(t, "R_k", SHAPE(2 * CLIP + 1, WIDTH)),
                         random_tensor(t, "R_v", SHAPE(2 * CLIP + 1, VALUES))}};
    op_zero(t, narrow(t, x.v, 1, 17, 1));
    return x;
}

/* The window's attention over all of it, the last block filled up. */
static Tensor *of_the_whole_text(const Text *x, const Windowed *w)
{
    Tape *t = x->tape;
    int64_t behind = (w->block - TOKENS % w->block) % w->block;
    Tensor *y =
        windowed_attention(t, w, pad(t, x->q, 1, 0, behind), pad(t, x->k, 1, 0, behind), pad(t, x->v, 1, 0, behind));
    return contiguous(t, narrow(t, y, 1, 0, TOKENS));
}

static Tensor *as_it_grows(const Text *x, const Windowed *w, Cache *past)
{
    Tape *t = x->tape;
    Tensor *parts[COUNT_OF(pieces)];
    for (int64_t i = 0, at = 0; i < COUNT_OF(pieces); at += pieces[i++])
        parts[i] = windowed_extend(t, w, past, narrow(t, x->q, 1, at, pieces[i]), narrow(t, x->k, 1, at, pieces[i]),
                                   narrow(t, x->v, 1, at, pieces[i]));
    return concat(t, 1, COUNT_OF(pieces), parts);
}

static void assert_near(Tape *t, Tensor *a, Tensor *b)
{
    float *left = floats_of(t, a), *right = floats_of(t, b);
    assert_true(shape_equal(a->shape, b->shape));
    for (int64_t i = 0; i < tensor_count(a); i++)
        if (!(fabsf(left[i] - right[i]) <= 2e-6f))
            fail_msg("element %ld: %.9g and %.9g", (long)i, (double)left[i], (double)right[i]);
    mem_free(left), mem_free(right);
}

static void windows_of_a_text_that_grows(void **state)
{
    (void)state;
    const Windowed windows[] = {
        {.block = 8, .back = 1, .causal = true, .hide_zeros = true, .blocked = BLOCKED_1E9},
        {.block = 5, .back = 3, .causal = true, .outside = -1, .blocked = BLOCKED_FINITE_MIN},
        {.block = 16, .back = 0, .causal = true, .scale = 0.7f},
        {.block = 64, .back = 0, .causal = true, .hide_zeros = true, .blocked = BLOCKED_1E9}, /* dense */
        {.block = 1, .back = 4, .causal = true},
    };
    for (int i = 0; i < 3 * COUNT_OF(windows); i++) {
        int64_t kv_heads = i % 3 == 2 ? 2 : HEADS; /* tables are for heads of their own */
        Text x = text_new(kv_heads);
        Windowed w = windows[i / 3];
        if (i % 3 == 1)
            w.relative = x.tables;
        States *owner = states_new();
        Cache past = windowed_cache(&w, owner, ROWS, kv_heads, WIDTH, VALUES);
        states_allocate(owner, test_backend());
        assert_near(x.tape, as_it_grows(&x, &w, &past), of_the_whole_text(&x, &w));
        tape_free(x.tape);
        states_free(owner);
    }
}

/* Tokens of a text cost its window, not its length: no memory is asked for as it grows. */
static void memory_does_not_grow(void **state)
{
    (void)state;
    const Windowed w = {.block = 8, .back = 1, .causal = true};
    Text x = text_new(HEADS);
    States *owner = states_new();
    Cache past = windowed_cache(&w, owner, ROWS, HEADS, WIDTH, VALUES);
    states_allocate(owner, test_backend());
    size_t before = pool_used(tape_pool(x.tape));
    for (int64_t at = 0; at < TOKENS; at++) {
        Scope s = scope_open(x.tape);
        windowed_extend(x.tape, &w, &past, narrow(x.tape, x.q, 1, at, 1), narrow(x.tape, x.k, 1, at, 1),
                        narrow(x.tape, x.v, 1, at, 1));
        scope_close_n(x.tape, s, NULL, 0);
        assert_int_equal(pool_used(tape_pool(x.tape)), before);
    }
    tape_free(x.tape);
    states_free(owner);
}

/* ---- What must not be */

typedef struct Broken {
    CacheKind kind;
    bool frozen;
    const char *stream;
    int64_t tokens;
} Broken;

static void append(void *argument)
{
    const Broken *b = argument;
    States *owner = states_new();
    Cache c = cache_new(owner, b->kind, 1, 4, 1, (CacheStream[]){{.name = "x", .heads = 1, .width = 1}});
    states_allocate(owner, test_backend());
    Tape *t = test_tape(1);
    cache_append(t, &c, "x", random_tensor(t, "first", SHAPE(1, 3, 1, 1)));
    if (b->frozen)
        cache_freeze(&c);
    cache_last(t, &c, "x", 3);
    cache_append(t, &c, b->stream, random_tensor(t, "x", SHAPE(1, b->tokens, 1, 1)));
}

static void contracts(void **state)
{
    (void)state;
    expect_broken_contract(append, &(Broken){CACHE_APPEND, true, "x", 1}, "a frozen cache takes in no more x");
    expect_broken_contract(append, &(Broken){CACHE_APPEND, false, "x", 2}, "[1, 2, 1, 1] behind 3 of 4");
    expect_broken_contract(append, &(Broken){CACHE_RING, false, "x", 5}, "[1, 5, 1, 1] with room for 4");
    expect_broken_contract(append, &(Broken){CACHE_RING, false, "y", 1}, "no stream named y");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_keep_the_last_tokens),
        cmocka_unit_test(windows_of_a_text_that_grows),
        cmocka_unit_test(memory_does_not_grow),
        cmocka_unit_test(contracts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
