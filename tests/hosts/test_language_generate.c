/* Generation: what the model sees, with a cache and without one, and text that is whole at every moment. */
#include "hosts/tiny_language_model.h"

#include "common/data/utf8.h"
#include "common/hosts/language_model/generate.h"

static Model cached_model(void)
{
    Model m = tiny_model;
    m.workload_hooks = &tiny_cached_hooks;
    return m;
}

typedef struct Heard {
    int64_t ids[512], count;
} Heard;

static void hear(void *user, int64_t token)
{
    Heard *h = user;
    h->ids[h->count++] = token;
}

static Heard generated(TinyJob *j, LanguageSampling how, const int64_t *prompt, int64_t count, int64_t length)
{
    Heard h = {0};
    language_generate(&j->job, &how, prompt, count, length, hear, &h);
    assert_int_equal(h.count, length);
    return h;
}

static const LanguageSampling greedy = {.top_p = 1}, free_choice = {.temperature = 1, .top_p = 1, .seed = 3};

/* The most probable token behind ids [count], by a forward of those that the window holds. */
static int64_t most_probable(TinyJob *j, const int64_t *ids, int64_t count)
{
    LanguageShape shape = tiny_shape(j->settings->model);
    Tape *t = j->job.tape;
    int64_t seen = MIN(count, shape.window - shape.shifts), length = seen + shape.shifts, best = shape.pads;
    int64_t in[64] = {0};
    memcpy(in, ids + count - seen, (size_t)seen * sizeof *in);
    Tensor *none = NULL, *x = tensor_from(t, I64, SHAPE(1, length), in);
    float *logits = mem_new((size_t)(length * shape.vocabulary) * sizeof *logits);
    tensor_read(t, tiny_forward(t, j->job.network, x, &none), logits);
    tape_reset(t);
    const float *row = logits + (length - 1) * shape.vocabulary;
    for (int64_t v = shape.pads; v < shape.vocabulary; v++)
        if (row[v] > row[best])
            best = v;
    mem_free(logits);
    return best;
}

static void each_token_is_of_what_the_window_holds(void **state)
{
    (void)state;
    const char *const models[] = {"{model: {vocabulary: 40, window: 12}}",
                                  "{model: {vocabulary: 40, window: 12, shifts: yes, pads: yes}}"};
    for (int m = 0; m < COUNT_OF(models); m++) {
        TinyJob j = tiny_job(&tiny_model, models[m]);
        int64_t ids[64] = {5, 3, 9};
        Heard h = generated(&j, greedy, ids, 3, 30);
        for (int i = 0; i < 30; i++) {
            assert_int_equal(h.ids[i], most_probable(&j, ids, 3 + i));
            ids[3 + i] = h.ids[i];
        }
        tiny_job_free(&j);
    }
}

static void draws_follow_the_seed(void **state)
{
    (void)state;
    TinyJob j = tiny_job(&tiny_model, "{model: {vocabulary: 40, shifts: yes, pads: yes}}");
    LanguageSampling other = free_choice;
    other.seed = 4;
    Heard a = generated(&j, free_choice, NULL, 0, 200), b = generated(&j, free_choice, NULL, 0, 100),
          c = generated(&j, other, NULL, 0, 200);
    assert_memory_equal(a.ids, b.ids, 100 * sizeof a.ids[0]);
    assert_memory_not_equal(a.ids, c.ids, sizeof a.ids);
    LanguageSampling narrow = free_choice;
    narrow.vocabulary = 7;
    Heard few = generated(&j, narrow, NULL, 0, 200);
    for (int i = 0; i < 200; i++) {
        assert_in_range(a.ids[i], 1, 39); /* 0 is padding */
        assert_in_range(few.ids[i], 1, 6);
    }
    tiny_job_free(&j);
}

static void a_cache_changes_nothing(void **state)
{
    (void)state;
    Model model = cached_model();
    for (int shifts = 0; shifts < 2; shifts++) {
        char *yaml = str_format("{model: {vocabulary: 40, window: 20, shifts: %s}}", shifts ? "yes" : "no");
        TinyJob with = tiny_job(&model, yaml), without = tiny_job(&tiny_model, yaml);
        const int64_t prompt[] = {7, 8, 9, 7, 8};
        if (shifts) {
            Heard a = generated(&with, free_choice, NULL, 0, 40), b = generated(&without, free_choice, NULL, 0, 40);
            assert_memory_equal(a.ids, b.ids, sizeof a.ids);
        }
        tiny_extended = 0;
        Heard a = generated(&with, free_choice, prompt, 5, 40), b = generated(&without, free_choice, prompt, 5, 40);
        assert_memory_equal(a.ids, b.ids, sizeof a.ids);
        assert_int_equal(tiny_extended, 20 - shifts); /* each id once, until the window was full */
        LanguageSampling again = free_choice;
        again.recompute = true;
        Heard c = generated(&with, again, prompt, 5, 40);
        assert_memory_equal(a.ids, c.ids, sizeof a.ids);
        assert_int_equal(tiny_extended, 20 - shifts); /* no cache was asked for */
        tiny_job_free(&with);
        tiny_job_free(&without);
        free(yaml);
    }
}

/* ---- Text */

static void bytes_become_whole_characters(void **state)
{
    Error e;
    char *path = path_join(*state, "stream");
    TinyJob j = tiny_job(&tiny_model, "{}");
    Tokenizer *bytes = tokenizer_open("bytes", &e);
    FILE *stream = fopen(path, "w+");
    Str text = {0};
    assert_true(language_generate_text(&j.job, bytes, &free_choice, "caf\xc3\xa9 ", 400, &text, stream, &e));
    assert_true(text.length > 400 && str_starts(text.text, "caf\xc3\xa9 "));
    assert_true(utf8_valid(text.text, text.length)); /* of random bytes */
    for (size_t i = 0; i < text.length; i++)
        assert_true((unsigned char)text.text[i] >= ' ' || text.text[i] == '\n' || text.text[i] == '\t');
    fclose(stream);
    assert_file(path, text.text);
    Str again = {0};
    assert_true(language_generate_text(&j.job, bytes, &free_choice, "caf\xc3\xa9 ", 400, &again, NULL, &e));
    assert_string_equal(again.text, text.text); /* written at once or bit by bit */
    str_free(&text);
    str_free(&again);
    tokenizer_close(bytes);
    tiny_job_free(&j);
    free(path);
}

static void a_prompt_must_fit_the_model(void **state)
{
    (void)state;
    Error e;
    Str text = {0};
    TinyJob j = tiny_job(&tiny_model, "{model: {vocabulary: 100}}");
    Tokenizer *bytes = tokenizer_open("bytes", &e);
    assert_false(language_generate_text(&j.job, bytes, &greedy, "xyz", 4, &text, NULL, &e));
    assert_string_equal(e.text, "the prompt holds id 120, but model.vocabulary is 100");
    assert_false(language_generate_text(&j.job, bytes, &greedy, "", 4, &text, NULL, &e));
    assert_string_equal(e.text, "the prompt is empty, and the model needs something to go on with");
    assert_int_equal(text.length, 0);
    tokenizer_close(bytes);
    tiny_job_free(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_token_is_of_what_the_window_holds),
        cmocka_unit_test(draws_follow_the_seed),
        cmocka_unit_test(a_cache_changes_nothing),
        SCRATCH_TEST(bytes_become_whole_characters),
        cmocka_unit_test(a_prompt_must_fit_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
