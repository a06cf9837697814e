#include "bench/side/side.h"

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/tensor/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double PEAK_MILLISECONDS = 20, BANDWIDTH_MILLISECONDS = 100;

void side_fill(const char *name, int64_t count, float scale, DType type, void *out)
{
    Random random = random_at(0, STREAM_DATA, random_site(name), 0);
    for (int64_t i = 0; i < count; i++) {
        float value = (float)random_between(&random, -scale, scale);
        if (type == BF16)
            ((uint16_t *)out)[i] = bf16_from_float(value);
        else
            ((float *)out)[i] = value;
    }
}

TensorToWrite side_to_write(const char *name, const Tensor *x)
{
    TensorToWrite w = {.name = name, .type = x->type, .rank = x->shape.rank, .data = x->data};
    memcpy(w.shape, x->shape.dim, sizeof w.shape);
    return w;
}

/* ---- Words */

const char *words_text(Words *w, const char *key, const char *otherwise)
{
    size_t length = strlen(key);
    for (int i = 0; i < w->count; i++) {
        if (strncmp(w->items[i], key, length) == 0 && w->items[i][length] == '=') {
            w->used[i] = true;
            return w->items[i] + length + 1;
        }
    }
    return otherwise;
}

int64_t words_int(Words *w, const char *key, int64_t otherwise)
{
    const char *text = words_text(w, key, NULL);
    if (!text)
        return otherwise;
    char *end;
    long long value = strtoll(text, &end, 10);
    return *text && !*end && value >= 0 ? value : -1;
}

bool words_flag(Words *w, const char *key)
{
    return strcmp(words_text(w, key, "no"), "yes") == 0;
}

bool words_precision(Words *w, const Backend *backend, DType *type, Error *e)
{
    const char *text = words_text(w, "precision", "fp32");
    *type = strcmp(text, "bf16") == 0 ? BF16 : F32;
    if (*type == F32 && strcmp(text, "fp32"))
        return error_set(e, "expected precision=fp32|bf16, not %s", text);
    return *type == F32 || backend->bf16 || error_set(e, "precision=bf16 needs a CPU with AVX512_BF16");
}

static bool all_used(const Words *w, Error *e)
{
    for (int i = 0; i < w->count; i++)
        if (!w->used[i])
            return error_set(e, "this side knows no %s", w->items[i]);
    return true;
}

/* ---- The loop */

typedef struct Side {
    Prepare *prepare;
    Case now;
    bool open;
    char *folder;
} Side;

static void close_case(Side *s)
{
    if (s->open)
        s->now.close(s->now.own);
    mem_free(s->folder);
    s->folder = NULL;
    s->open = false;
}

static bool prepare_case(Side *s, char **words, int count, Error *e)
{
    if (count < 1)
        return error_set(e, "prepare: expected a folder");
    close_case(s);
    Words w = {.items = words + 1, .used = mem_new((size_t)count * sizeof(bool)), .count = count - 1};
    s->now = (Case){0};
    s->folder = str_copy(words[0]);
    char *inputs = path_join(s->folder, "inputs.safetensors");
    s->open = folder_make(s->folder, e) && s->prepare(&s->now, &w, inputs, e);
    bool good = s->open && all_used(&w, e);
    if (good)
        printf("ready flop=%.9g bytes=%.9g items=%lld\n", s->now.flop, s->now.bytes, (long long)s->now.items);
    else
        close_case(s);
    free(inputs);
    mem_free(w.used);
    return good;
}

static bool check_case(Side *s, Error *e)
{
    char *path = path_join(s->folder, "ours.safetensors");
    bool good = s->now.check(s->now.own, path, e);
    free(path);
    if (good)
        puts("done");
    return good;
}

static bool take_turn(Side *s, double seconds)
{
    double begun = clock_seconds(), passed;
    int64_t count = 0;
    do {
        s->now.operation(s->now.own);
        count++;
        passed = clock_seconds() - begun;
    } while (passed < seconds);
    printf("turn %.9g %lld\n", passed / (double)count, (long long)count);
    return true;
}

/* VmHWM: the most that ever was resident. */
static int64_t peak_resident(void)
{
    long long kilobytes = 0;
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmHWM: %lld kB", &kilobytes) == 1)
            break;
    if (status)
        fclose(status);
    return kilobytes * 1024;
}

static bool say_memory(const Side *s)
{
    size_t tensors = s->now.tape ? pool_peak(tape_pool(s->now.tape)) : 0;
    printf("memory %lld %zu\n", (long long)peak_resident(), tensors);
    return true;
}

static bool obey(Side *s, char **words, int count, Error *e)
{
    static const char *const on_a_case[] = {"check", "turn", "memory"};
    const char *command = count ? words[0] : "";
    int threads = s->open ? s->now.threads : 1;
    if (strcmp(command, "peak") == 0) {
        printf("peak %.6g\n", peak_gflops(threads, PEAK_MILLISECONDS));
        return true;
    }
    if (strcmp(command, "bandwidth") == 0) {
        printf("bandwidth %.6g\n", memory_bandwidth(threads, BANDWIDTH_MILLISECONDS));
        return true;
    }
    if (strcmp(command, "prepare") == 0)
        return prepare_case(s, words + 1, count - 1, e);
    int which = 0;
    while (which < COUNT_OF(on_a_case) && strcmp(command, on_a_case[which]))
        which++;
    if (which == COUNT_OF(on_a_case))
        return error_set(e, "unknown command '%s'; prepare, check, turn, peak, bandwidth and memory are known",
                         command);
    if (!s->open)
        return error_set(e, "%s: nothing is prepared", command);
    if (which == 0)
        return check_case(s, e);
    return which == 1 ? take_turn(s, count > 1 ? atof(words[1]) : 0) : say_memory(s);
}

int side_main(Prepare *prepare)
{
    enum { MOST_WORDS = 64 };
    Side s = {.prepare = prepare};
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        char *words[MOST_WORDS], *rest = NULL;
        int count = 0;
        for (char *word = strtok_r(line, " \n", &rest); word && count < MOST_WORDS; word = strtok_r(NULL, " \n", &rest))
            words[count++] = word;
        Error e;
        if (!obey(&s, words, count, &e))
            printf("error %s\n", e.text);
        fflush(stdout);
    }
    close_case(&s);
    free(line);
    return 0;
}
