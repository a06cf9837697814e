/* The test set: at the end of a run, by itself, and what the network said of each image as a file. */
#include "common/hosts/classification/classification.h"

#include "common/base/clock.h"
#include "common/run/readable.h"

#include <stdio.h>
#include <string.h>

static const Classifier *classifier_of(const Job *job)
{
    return job->model->workload_hooks;
}

static void say_result(Job *job, const Tally *tally, double seconds)
{
    const Classifier *classifier = classifier_of(job);
    const EvalConfig *config = job->settings->eval;
    double n = (double)tally->count;
    Readable images = readable_count(tally->count);
    log_line(job->log, "test: top-1 %.2f %%  top-5 %.2f %%  loss %.4f  (%s images, %.0f images/s)",
             100.0 * (double)tally->top1 / n, 100.0 * (double)tally->top5 / n, classification_loss(tally, config->loss),
             images.text, n / seconds);
    for (int p = 0; p < CLASSIFIER_PARTS && classifier->parts[p]; p++)
        if (tally->parts[p] >= 0)
            log_line(job->log, "  the %s branch alone: top-1 %.2f %%", classifier->parts[p],
                     100.0 * classification_part_accuracy(tally, p));
}

static void fill_result(const Job *job, const Tally *tally, Result *r)
{
    const Classifier *classifier = classifier_of(job);
    double percent = 100.0 / (double)tally->count;
    r->count = 0;
    result_add(r, percent * (double)tally->top1, "top1");
    result_add(r, percent * (double)tally->top5, "top5");
    for (int p = 0; p < CLASSIFIER_PARTS && classifier->parts[p]; p++)
        result_add(r, 100.0 * classification_part_accuracy(tally, p), "%s_alone_top1", classifier->parts[p]);
}

/* The test images once more, through the training's random transform. */
static bool test_augmented(Job *job, Dataset *test, Result *result, Error *e)
{
    ImageTransform transform = classification_transform(job->settings->data, true);
    Tally tally = {0};
    if (!classification_evaluate(job, test, &transform, &tally, e))
        return false;
    double top1 = 100.0 * (double)tally.top1 / (double)tally.count;
    log_line(job->log, "  through the training's random transform: top-1 %.2f %%  loss %.4f", top1,
             classification_loss(&tally, ((const EvalConfig *)job->settings->eval)->loss));
    if (result)
        result_add(result, top1, "augmented_top1");
    return true;
}

bool classification_test(Job *job, Dataset *test, Result *result, Error *e)
{
    int64_t classes = classifier_of(job)->classes(job->settings->model);
    ImageTransform transform = classification_transform(job->settings->data, false);
    Tally tally = {.confusion = mem_new((size_t)(classes * classes) * sizeof(int64_t)),
                   .probability = mem_new((size_t)test->count * sizeof(float)),
                   .predicted = mem_new((size_t)test->count * sizeof(int32_t))};
    memset(tally.predicted, 0xff, (size_t)test->count * sizeof *tally.predicted); /* -1 */
    double begun = clock_seconds();
    bool good = classification_evaluate(job, test, &transform, &tally, e);
    if (good && tally.count == 0)
        good = error_set(e, "no test image could be read");
    if (good)
        say_result(job, &tally, clock_seconds() - begun);
    if (good && result)
        fill_result(job, &tally, result);
    if (good && ((const EvalConfig *)job->settings->eval)->augment)
        good = test_augmented(job, test, result, e);
    if (good && result)
        good = classification_report(job, test, &transform, &tally, e);
    mem_free(tally.confusion);
    mem_free(tally.probability);
    mem_free(tally.predicted);
    return good;
}

bool classification_test_alone(Job *job, Error *e)
{
    Dataset *test = classification_test_data(job->settings, e);
    if (!test)
        return false;
    bool good = classification_test(job, test, NULL, e);
    dataset_close(test);
    return good;
}

bool classification_features(Job *job, const char *path, Error *e)
{
    Dataset *test = classification_test_data(job->settings, e);
    if (!test)
        return false;
    int64_t classes = classifier_of(job)->classes(job->settings->model), n = test->count;
    ImageTransform transform = classification_transform(job->settings->data, false);
    Tally tally = {.confusion = mem_new((size_t)(classes * classes) * sizeof *tally.confusion),
                   .logits = mem_new((size_t)(n * classes) * sizeof *tally.logits),
                   .labels = mem_new((size_t)n * sizeof *tally.labels)};
    memset(tally.labels, 0xff, (size_t)n * sizeof *tally.labels); /* -1 */
    const TensorToWrite tensors[] = {{"logits", F32, 2, {n, classes}, tally.logits},
                                     {"labels", I64, 1, {n}, tally.labels}};
    const MetadataEntry metadata[] = {{"model", job->model->name},
                                      {"set", ((const DataConfig *)job->settings->data)->set}};
    bool good = classification_evaluate(job, test, &transform, &tally, e) &&
                safetensors_write(path, tensors, COUNT_OF(tensors), metadata, COUNT_OF(metadata), e);
    if (good)
        log_line(job->log, "written: %s (logits [%lld, %lld], labels)", path, (long long)n, (long long)classes);
    mem_free(tally.confusion);
    mem_free(tally.logits);
    mem_free(tally.labels);
    dataset_close(test);
    return good;
}
