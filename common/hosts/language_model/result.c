#include "common/hosts/language_model/result.h"

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/hosts/language_model/generate.h"
#include "common/run/readable.h"

#include <math.h>
#include <string.h>

/* ---- Samples */

static bool keep_sample(const Job *job, int64_t step, const Str *text, Error *e)
{
    char *folder = path_join(job->run, "samples"), *path = str_format("%s/%09lld.txt", folder, (long long)step);
    bool good = folder_make(folder, e) && file_write(path, text->text ? text->text : "", text->length, e);
    mem_free(folder);
    mem_free(path);
    return good;
}

bool language_sample(Job *job, const LanguageData *d, int64_t step, Error *e)
{
    const LanguageTrainConfig *c = job->settings->train;
    if (d->kind != DATA_OF_TEXT || !c->sample_length)
        return true;
    LanguageSampling how = language_sampling(job);
    Str text = {0};
    bool good = language_generate_text(job, d->tokenizer, &how, c->sample_prompt, c->sample_length, &text, NULL, e);
    if (good && text.text)
        log_line(job->log, "sample after %lld steps:\n%s", (long long)step, text.text);
    good = good && keep_sample(job, step, &text, e);
    str_free(&text);
    return good;
}

/* ---- The test part */

static bool test(Job *job, const LanguageData *d, LanguageTally *tally, Result *result, Error *e)
{
    LanguageFigure figures[LANGUAGE_FIGURES];
    double begun = clock_seconds();
    if (!language_measure(job, d->test, tally, e))
        return false;
    Str line = {0};
    int count = language_figures(tally, d->kind, d->test_ratio, figures);
    for (int i = 0; i < count; i++) {
        str_add(&line, "%s %.4f  ", figures[i].name, figures[i].value);
        if (result)
            result_add(result, (figures[i].share ? 100 : 1) * figures[i].value, "%s", figures[i].name);
    }
    Readable tokens = readable_count(tally->tokens);
    log_line(job->log, "test: %s(%s tokens, %.0f tokens/s)", line.text, tokens.text,
             (double)tally->tokens / (clock_seconds() - begun));
    str_free(&line);
    return true;
}

static void say_baseline(Job *job, const LanguageBaseline *b, Result *result)
{
    Readable seen = readable_count(b->seen_bytes), all = readable_count(b->all_bytes);
    if (isnan(b->seen) || isnan(b->all))
        log_line(job->log, "an n-gram model of order %d takes more than a quarter of the memory and is left out",
                 b->order);
    else
        log_line(job->log,
                 "an n-gram model of order %d: bits_per_byte %.4f (counted on the %s bytes trained on), %.4f "
                 "(on all %s)",
                 b->order, b->seen, seen.text, b->all, all.text);
    result_add(result, b->seen, "ngram_seen_bits_per_byte");
    result_add(result, b->all, "ngram_all_bits_per_byte");
}

static bool with_baseline(Job *job, const LanguageData *d, int64_t steps, const LanguageTally *tally, Result *result,
                          Error *e)
{
    const LanguageTrainConfig *train = job->settings->train;
    const LanguageEvalConfig *eval = job->settings->eval;
    if (!d->bytes || !eval->ngram)
        return language_report(job, d, tally, NULL, e);
    LanguageBaseline b = language_baseline(d, eval->ngram, (uint32_t)job->settings->run.seed, steps, train->batch_size);
    say_baseline(job, &b, result);
    return language_report(job, d, tally, &b, e);
}

bool language_finish(Job *job, const LanguageData *d, int64_t steps, Result *result, Error *e)
{
    size_t length = (size_t)d->length;
    LanguageTally tally = {.position_nats = mem_new(length * sizeof(double)),
                           .position_tokens = mem_new(length * sizeof(double))};
    bool good = test(job, d, &tally, result, e) && with_baseline(job, d, steps, &tally, result, e);
    mem_free(tally.position_nats);
    mem_free(tally.position_tokens);
    return good;
}

bool language_evaluate(Job *job, Error *e)
{
    LanguageData d;
    LanguageTally tally = {0};
    if (!language_data_open(&d, job, false, e))
        return false;
    bool good = test(job, &d, &tally, NULL, e);
    language_data_close(&d);
    return good;
}

bool language_features(Job *job, const char *path, Error *e)
{
    LanguageData d;
    if (!language_data_open(&d, job, false, e))
        return false;
    int64_t n = d.test->count, length = d.length;
    LanguageTally tally = {.losses = mem_new((size_t)(n * length) * sizeof(float)),
                           .ids = mem_new((size_t)(n * length) * sizeof(int64_t))};
    const TensorToWrite tensors[] = {{"losses", F32, 2, {n, length}, tally.losses},
                                     {"labels", I64, 2, {n, length}, tally.ids}};
    const MetadataEntry metadata[] = {{"model", job->model->name},
                                      {"set", ((const LanguageDataConfig *)job->settings->data)->set}};
    bool good = test(job, &d, &tally, NULL, e) &&
                safetensors_write(path, tensors, COUNT_OF(tensors), metadata, COUNT_OF(metadata), e);
    if (good)
        log_line(job->log, "written: %s (losses [%lld, %lld], labels)", path, (long long)n, (long long)length);
    mem_free(tally.losses);
    mem_free(tally.ids);
    language_data_close(&d);
    return good;
}
