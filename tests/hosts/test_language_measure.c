/* Losses against log-softmax done by hand on the model's own logits, the figures against their definitions, and the n-gram
 * baseline's bytes against a map of what the crops cover. */
#include "hosts/tiny_language_model.h"

#include "common/hosts/language_model/baseline.h"
#include "common/hosts/language_model/measure.h"
#include "common/hosts/language_model/ngram.h"

#include <math.h>

enum { TOKENS = 500 };

static uint8_t text[TOKENS];

static Tokens tokens_of_text(void)
{
    Random random = random_at(2, STREAM_DATA, 2, 2);
    for (int i = 0; i < TOKENS; i++)
        text[i] = (uint8_t)random_integer(&random, 12);
    return (Tokens){.count = TOKENS, .vocabulary = 256, .bytes = TOKENS, .words = 100, .token_bytes = 1, .ids = text};
}

/* -log p of the label at place s of ids [length], by a forward of these alone. */
static double loss_of(TinyJob *j, const int64_t *ids, int64_t length, int64_t s, int64_t label, bool *right)
{
    Tape *t = j->job.tape;
    int64_t vocabulary = tiny_shape(j->settings->model).vocabulary;
    Tensor *none = NULL, *logits = tiny_forward(t, j->job.network, tensor_from(t, I64, SHAPE(1, length), ids), &none);
    float *values = mem_new((size_t)(length * vocabulary) * sizeof *values), *row = values + s * vocabulary;
    tensor_read(t, logits, values);
    tape_reset(t);
    double sum = 0;
    *right = true;
    for (int64_t v = 0; v < vocabulary; v++) {
        sum += exp((double)row[v]);
        *right &= row[v] <= row[label];
    }
    double loss = log(sum) - row[label];
    mem_free(values);
    return loss;
}

/* What language_measure should find, sequence by sequence and label by label. */
static void measure_by_hand(TinyJob *j, const Sequences *s, LanguageTally *tally)
{
    LanguageShape shape = tiny_shape(j->settings->model);
    bool of_answers = ((const LanguageTrainConfig *)j->settings->train)->loss == LOSS_OF_ANSWERS;
    int64_t ahead = !shape.shifts, length = s->length - ahead;
    int64_t *ids = mem_new((size_t)s->length * sizeof *ids);
    uint8_t *marks = mem_new((size_t)s->length);
    Random random = {0};
    for (int64_t i = 0; i < s->count; i++) {
        s->read(s, i, &random, ids, marks);
        for (int64_t at = 0; at < length; at++) {
            int64_t label = ids[at + ahead], mark = marks[at + ahead];
            bool right, counts = mark && !(of_answers && mark != MARK_ANSWER) && !(shape.pads && label == 0) &&
                                 at >= shape.given;
            double loss = loss_of(j, ids, length, at, label, &right);
            tally->answers += mark == MARK_ANSWER && at >= shape.given;
            tally->right += mark == MARK_ANSWER && at >= shape.given && right;
            tally->tokens += counts;
            tally->nats += counts ? loss : 0;
            tally->position_nats[at] += counts ? loss : 0;
            tally->position_tokens[at] += counts;
        }
    }
    mem_free(ids);
    mem_free(marks);
}

static void check(const char *yaml, const Sequences *s)
{
    Error e;
    TinyJob j = tiny_job(&tiny_model, yaml);
    double mine[4][64] = {0};
    LanguageTally expected = {.position_nats = mine[0], .position_tokens = mine[1]},
                  found = {.position_nats = mine[2], .position_tokens = mine[3]};
    measure_by_hand(&j, s, &expected);
    if (!language_measure(&j.job, s, &found, &e))
        fail_msg("%s", e.text);
    assert_true(expected.tokens > 0);
    assert_int_equal(found.tokens, expected.tokens);
    assert_int_equal(found.answers, expected.answers);
    assert_int_equal(found.right, expected.right);
    assert_true(fabs(found.nats - expected.nats) < 1e-5 * expected.nats);
    for (int i = 0; i < 64; i++)
        assert_true(mine[1][i] == mine[3][i] && fabs(mine[0][i] - mine[2][i]) <= 1e-5 * mine[0][i]);
    tiny_job_free(&j);
}

static void losses_are_those_of_the_definition(void **state)
{
    (void)state;
    Tokens tokens = tokens_of_text();
    TokenRange all = {&tokens, 0, TOKENS};
    Sequences *ahead = sequences_windows(all, 33, 32, 1, NULL), *same = sequences_windows(all, 32, 32, 0, NULL),
              *overlapping = sequences_windows(all, 33, 5, 1, NULL);
    check("{eval: {batch_size: 4}, data: {threads: 0}}", ahead);
    check("{eval: {batch_size: 3}}", overlapping);
    check("{model: {shifts: yes}}", same);
    check("{model: {shifts: yes, pads: yes}, eval: {batch_size: 1}}", same);
    check("{model: {pads: yes}}", ahead);
    check("{model: {given: 20}}", ahead);
    sequences_close(ahead);
    sequences_close(same);
    sequences_close(overlapping);
}

/* A sequence that asks for its last id, and marks every other one as a token. */
static void read_asking(const Sequences *s, int64_t i, Random *random, int64_t *ids, uint8_t *marks)
{
    (void)random;
    for (int64_t at = 0; at < s->length; at++) {
        ids[at] = (i * 7 + at * at) % 5;
        marks[at] = at + 1 == s->length ? MARK_ANSWER : at % 2 ? MARK_TOKEN : MARK_NONE;
    }
}

static void answers_are_measured_by_themselves(void **state)
{
    (void)state;
    Sequences s = {.count = 9, .length = 13, .vocabulary = 5, .answers = true, .read = read_asking};
    const char *const models[] = {"{vocabulary: 5, shifts: no}", "{vocabulary: 5, shifts: yes}",
                                  "{vocabulary: 5, shifts: yes, pads: yes}", "{vocabulary: 5, given: 5}"};
    for (int i = 0; i < COUNT_OF(models); i++)
        for (int answers = 0; answers < 2; answers++) {
            char *yaml = str_format("{model: %s, train: {loss: %s}, eval: {batch_size: 4}}", models[i],
                                    answers ? "answers" : "all");
            check(yaml, &s);
            free(yaml);
        }
}

static void nothing_to_predict_is_said(void **state)
{
    (void)state;
    Sequences s = {.count = 3, .length = 13, .vocabulary = 5, .read = read_asking};
    TinyJob j = tiny_job(&tiny_model, "{train: {loss: answers}, model: {vocabulary: 12}}");
    LanguageTally tally = {0};
    Error e;
    assert_true(language_measure(&j.job, &s, &tally, &e));
    Tokens tokens = tokens_of_text();
    Sequences *none = sequences_windows((TokenRange){&tokens, 0, TOKENS}, 33, 32, 1, NULL);
    assert_false(language_measure(&j.job, none, &(LanguageTally){0}, &e));
    assert_string_equal(e.text, "there is no token to predict");
    sequences_close(none);
    tiny_job_free(&j);
}

static double figure(const LanguageTally *tally, LanguageKind kind, TokenRatio ratio, const char *name)
{
    LanguageFigure found[LANGUAGE_FIGURES];
    int count = language_figures(tally, kind, ratio, found);
    assert_string_equal(found[0].name, "loss");
    for (int i = 0; i < count; i++)
        if (!strcmp(found[i].name, name))
            return found[i].value;
    return NAN;
}

static void assert_near(double found, double expected)
{
    if (!(fabs(found - expected) < 1e-12 * expected))
        fail_msg("%.17g, not %.17g", found, expected);
}

/* 1,000 nats over 400 tokens that stand for 800 bytes and 160 words. */
static void figures_are_those_of_the_papers(void **state)
{
    (void)state;
    LanguageTally t = {.tokens = 400, .nats = 1000};
    const TokenRatio words = {2, 0.4}, bytes = {1, 0.2}, none = {0};
    assert_near(figure(&t, DATA_OF_TEXT, words, "loss"), 2.5);
    assert_near(figure(&t, DATA_OF_TEXT, words, "bits_per_byte"), 1000 / log(2) / 800);
    assert_near(figure(&t, DATA_OF_TEXT, words, "perplexity"), exp(1000.0 / 400));
    assert_near(figure(&t, DATA_OF_TEXT, words, "word_perplexity"), exp(1000.0 / 160));
    assert_near(figure(&t, DATA_OF_TEXT, bytes, "bits_per_byte"), 1000 / log(2) / 400);
    assert_true(isnan(figure(&t, DATA_OF_TEXT, bytes, "perplexity")));
    assert_true(isnan(figure(&t, DATA_OF_TEXT, words, "bits_per_dim")));
    assert_near(figure(&t, DATA_OF_IMAGES, none, "bits_per_dim"), 2.5 / log(2));
    assert_true(isnan(figure(&t, DATA_OF_IMAGES, none, "bits_per_byte")));
    assert_true(isnan(figure(&t, DATA_GENERATED, none, "accuracy")));
    t.answers = 8;
    t.right = 2;
    assert_near(figure(&t, DATA_GENERATED, none, "accuracy"), 0.25);
}

/* ---- The n-gram baseline */

static double bits_of(const Ngram *n, TokenRange range)
{
    double bits = 0;
    for (int64_t i = 0; i < range.count; i++)
        bits -= log2(ngram_probability(n, text + range.first, i, text[range.first + i]));
    return bits / (double)range.count;
}

static void the_baseline_counts_what_was_trained_on(void **state)
{
    (void)state;
    enum { STEPS = 7, BATCH = 2, LENGTH = 17, TEXT = 400, SEED = 5, ORDER = 3 };
    Tokens train = tokens_of_text(), test = train;
    train.count = TEXT;
    LanguageData d = {
        .kind = DATA_OF_TEXT, .bytes = true, .train_range = {&train, 20, 370}, .test_range = {&test, 410, 90}};
    d.train = sequences_crops(d.train_range, LENGTH, NULL);
    bool seen[TEXT + 1] = {0};
    SequenceLoader *l = sequence_loader_open(
        &(SequenceLoaderOptions){
            .sequences = d.train, .batch_size = BATCH, .shuffle = true, .drop_last = true, .seed = SEED},
        NULL);
    assert_int_equal(sequence_loader_steps(l), 10);
    LanguageBaseline b = language_baseline(&d, ORDER, SEED, STEPS, BATCH);
    for (int step = 0; step < STEPS; step++) {
        const SequenceBatch *batch = sequence_loader_next(l);
        for (int r = 0; r < batch->rows; r++) {
            Random random = sequence_random(SEED, batch->epoch, batch->step * BATCH + r);
            int64_t at = sequences_crop(d.train, &random);
            for (int64_t i = 0; i < LENGTH; i++) {
                assert_int_equal(batch->ids[r * LENGTH + i], text[at + i]);
                seen[at + i] = true;
            }
        }
    }
    Ngram *of_seen = ngram_new(ORDER, 1 << 24), *of_all = ngram_new(ORDER, 1 << 24);
    int64_t bytes = 0;
    for (int64_t i = 0, from = 0; i <= TEXT; i++) {
        bytes += seen[i];
        if (!seen[i] && i > from)
            assert_true(ngram_count(of_seen, text + from, i - from));
        from = seen[i] ? from : i + 1;
    }
    assert_true(ngram_count(of_all, text, TEXT));
    assert_int_equal(b.seen_bytes, bytes);
    assert_int_equal(b.all_bytes, TEXT);
    assert_near(b.seen, bits_of(of_seen, d.test_range));
    assert_near(b.all, bits_of(of_all, d.test_range));
    ngram_free(of_seen);
    ngram_free(of_all);
    sequence_loader_close(l);
    sequences_close(d.train);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_those_of_the_definition),
        cmocka_unit_test(answers_are_measured_by_themselves),
        cmocka_unit_test(nothing_to_predict_is_said),
        cmocka_unit_test(figures_are_those_of_the_papers),
        cmocka_unit_test(the_baseline_counts_what_was_trained_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
