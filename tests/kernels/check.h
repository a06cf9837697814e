/* What the tests of the kernel families share: a table of cases that is held against the family's struct, every level of
 * this machine, 1, 2 and 3 threads compared byte for byte, and matrices whose gaps between rows are watched. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/memory.h"
#include "common/kernels/backend.h"
#include "support/largest_error.h"
#include "support/levels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* One run of a case at a level and with a number of threads. */
typedef struct Trial {
    const Backend *backend;
    Exec exec;
    uint32_t random;
    unsigned char *record; /* every byte that the kernels wrote */
    size_t recorded;
} Trial;

typedef struct Case {
    const char *kernel; /* "family.kernel" */
    size_t offset;      /* of the entry in Backend */
    void (*run)(Trial *);
} Case;

/* A matrix with `gap` elements after each row and before the first, which no kernel may touch. */
typedef struct Matrix {
    Rows rows;
    int64_t count, cols, gap;
    void *memory;
    size_t bytes;
} Matrix;

enum { GAP_BYTE = 0xA5 };

static inline Matrix matrix_new(int64_t count, int64_t cols, int64_t gap, DType type)
{
    Matrix m = {.count = count, .cols = cols, .gap = gap};
    m.bytes = (size_t)(count * (cols + gap) + gap) * dtype_bytes(type);
    m.memory = operand_new(m.bytes + 1);
    memset(m.memory, GAP_BYTE, m.bytes);
    m.rows = (Rows){(char *)m.memory + (size_t)gap * dtype_bytes(type), cols + gap, type};
    return m;
}

static inline double matrix_get(const Matrix *m, int64_t r, int64_t c)
{
    int64_t at = r * m->rows.stride + c;
    return m->rows.type == F32 ? ((const float *)m->rows.data)[at]
                               : bf16_to_float(((const uint16_t *)m->rows.data)[at]);
}

static inline void matrix_set(Matrix *m, int64_t r, int64_t c, double value)
{
    int64_t at = r * m->rows.stride + c;
    if (m->rows.type == F32)
        ((float *)m->rows.data)[at] = (float)value;
    else
        ((uint16_t *)m->rows.data)[at] = bf16_from_float((float)value);
}

static inline double trial_random(Trial *t, double low, double high)
{
    t->random = t->random * 1664525u + 1013904223u;
    return low + (high - low) * (double)(t->random >> 8) * 0x1p-24;
}

/* Random values; the last row repeats the first, so that equal rows can be seen to give equal rows. */
static inline Matrix matrix_random(Trial *t, int64_t count, int64_t cols, int64_t gap, DType type, double low,
                                   double high)
{
    Matrix m = matrix_new(count, cols, gap, type);
    for (int64_t r = 0; r < count; r++)
        for (int64_t c = 0; c < cols; c++)
            matrix_set(&m, r, c, r == count - 1 && r > 0 ? matrix_get(&m, 0, c) : trial_random(t, low, high));
    return m;
}

static inline Matrix matrix_copy(const Matrix *m)
{
    Matrix copy = *m;
    copy.memory = operand_copy(m->memory, m->bytes + 1);
    copy.rows.data = (char *)copy.memory + ((char *)m->rows.data - (char *)m->memory);
    return copy;
}

static inline void matrix_free(Matrix *m)
{
    operand_free(m->memory);
}

static inline void record_bytes(Trial *t, const void *bytes, size_t count)
{
    t->record = mem_resize(t->record, t->recorded + count + 1);
    memcpy(t->record + t->recorded, bytes, count);
    t->recorded += count;
}

/* To be called after a kernel wrote m: keeps its bytes, and looks at the gaps. */
static inline void record_matrix(Trial *t, const Matrix *m)
{
    size_t element = dtype_bytes(m->rows.type);
    const unsigned char *byte = m->memory;
    for (int64_t r = 0; r <= m->count; r++) {
        for (size_t i = 0; i < (size_t)m->gap * element; i++)
            if (byte[i] != GAP_BYTE)
                fail_msg("byte %zu of the gap before row %ld was written", i, (long)r);
        byte += (size_t)(m->gap + m->cols) * element;
    }
    record_bytes(t, m->memory, m->bytes);
}

static inline void check_last_row_is_first(const Matrix *m)
{
    size_t element = dtype_bytes(m->rows.type);
    const char *last = (const char *)m->rows.data + (size_t)((m->count - 1) * m->rows.stride) * element;
    if (m->count > 1)
        assert_memory_equal(m->rows.data, last, (size_t)m->cols * element);
}

static inline void check_near(double got, double want, double tolerance, const char *what, int64_t r, int64_t c)
{
    error_seen(fabs(got - want), tolerance, what);
    if (!(fabs(got - want) <= tolerance) && !(isnan(got) && isnan(want)) && got != want)
        fail_msg("%s at %ld, %ld: %.9g, not %.9g (%.2g more than allowed)", what, (long)r, (long)c, got, want,
                 fabs(got - want) - tolerance);
}

/* The type's own rounding beside what the kernel may lose. */
static inline double rounding(DType type, double value)
{
    return type == BF16 ? fabs(value) * 0x1p-8 + 1e-30 : fabs(value) * 0x1p-23;
}

static inline void *scratch_new(Trial *t, size_t bytes)
{
    t->exec.scratch = operand_new(bytes);
    t->exec.scratch_bytes = bytes;
    return memset(t->exec.scratch, 0xff, bytes); /* NaN */
}

/* Rows to hold against the reference: none for more threads than one, whose bytes are compared with those of one. */
static inline int64_t checked_rows(const Trial *t, int64_t rows)
{
    return t->exec.threads == 1 ? rows : 0;
}

typedef struct Shape {
    int64_t rows, cols;
} Shape;

/* None, one, odd, a little more than a vector or a block, and enough for several threads. */
static const Shape check_shapes[] = {{0, 5},  {3, 0},    {1, 1},    {2, 3},   {5, 16},    {7, 33},
                                     {3, 96}, {2, 1024}, {3, 2051}, {33, 31}, {400, 131}, {2111, 40}};

/* The types and gaps under which a case runs: all fp32 side by side, strided, bf16 in, bf16 out. */
typedef struct Layout {
    DType in, out;
    int64_t gap;
    bool add;
} Layout;

static const Layout check_layouts[] = {
    {F32, F32, 0, false}, {F32, F32, 3, true}, {BF16, F32, 1, false}, {F32, BF16, 0, true}, {BF16, BF16, 5, false}};

/* Calls body(trial, shape, layout) for all of them; the large shapes, there for the threads, for every second layout. */
static inline void each_layout(Trial *t, void (*body)(Trial *, Shape, Layout))
{
    for (int s = 0; s < COUNT_OF(check_shapes); s++) {
        bool large = check_shapes[s].rows > 100;
        for (int l = 0; l < COUNT_OF(check_layouts) && !(large && testing_once()); l += large ? 2 : 1)
            body(t, check_shapes[s], check_layouts[l]);
    }
}

/* An entry of Backend. */
static inline bool entry_missing(const Backend *backend, size_t offset)
{
    void (*function)(void);
    memcpy(&function, (const char *)backend + offset, sizeof function);
    return !function;
}

/* Every case at every level of this machine, with the same bytes for 1, 2 and 3 threads. (On a GPU the number of threads means
 * nothing, but a second and third run gives the same bytes too; the emulated one runs its blocks in another order.) */
static inline void check_cases(const Case *cases, int count)
{
    for (Level level = {0}; next_level(&level);) {
        for (int c = 0; c < count; c++) {
            Exec exec = {.threads = 1, .stream = level.backend->stream};
            Trial one = {.backend = level.backend, .exec = exec, .random = 1};
            cases[c].run(&one);
            assert_true(one.recorded > 0);
            for (int threads = 2; threads <= (testing_once() ? 1 : 3); threads++) {
                exec.threads = threads;
                Trial more = {.backend = level.backend, .exec = exec, .random = 1};
                cases[c].run(&more);
                assert_int_equal(more.recorded, one.recorded);
                if (memcmp(more.record, one.record, one.recorded) != 0)
                    fail_msg("%s at level %s: %d threads give other bytes than one", cases[c].kernel, level.name,
                             threads);
                mem_free(more.record);
            }
            mem_free(one.record);
        }
    }
}

/* The family at `offset` of Backend: every pointer of its struct has a case, and every level fills it. */
static inline void check_complete(const Case *cases, int count, size_t offset, size_t bytes)
{
    for (size_t entry = offset; entry < offset + bytes; entry += sizeof(void (*)(void))) {
        bool found = false;
        for (int c = 0; c < count; c++)
            found = found || cases[c].offset == entry;
        if (!found)
            fail_msg("entry %zu of the struct has no case in this test", (entry - offset) / sizeof(void (*)(void)));
        for (Level level = {0}; next_level(&level);)
            if (entry_missing(level.backend, entry))
                fail_msg("level %s lacks entry %zu of the struct", level.name,
                         (entry - offset) / sizeof(void (*)(void)));
    }
}

/* A call that breaks a kernel's contract ends its process with exit code 1. */
static inline void check_refused(void (*call)(Trial *))
{
    pid_t child = fork();
    if (child == 0) {
        unsetenv("ZOO_ABORT");
        child_begins();
        close(STDERR_FILENO);
        Trial t = {.backend = cpu_backend_at("plain"), .exec = {.threads = 1}};
        call(&t);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
}

#define CASE(family, kernel, run)                                                                                      \
    {                                                                                                                  \
#family "." #kernel, offsetof(Backend, family.kernel), run                                                     \
    }

/* The main of a family's test: `cases` is its table. */
#define CHECK_FAMILY(family)                                                                                           \
    static void every_entry_has_a_case(void **state)                                                                   \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        check_complete(cases, COUNT_OF(cases), offsetof(Backend, family), sizeof(((Backend *)NULL)->family));          \
    }                                                                                                                  \
    static void every_case_at_every_level(void **state)                                                                \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        check_cases(cases, COUNT_OF(cases));                                                                           \
    }
