/* report.html of a classifier. */
#include "common/hosts/classification/classification.h"

#include "common/base/clock.h"
#include "common/data/image_file.h"
#include "common/run/picture.h"
#include "common/run/readable.h"
#include "common/run/run_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 9, MAPS = 4, PICTURE_SIDE = 112 };

/* ---- Key numbers and curves */

static void add_figures(Report *r, const Job *job, const Tally *tally)
{
    double n = (double)tally->count, seconds = clock_seconds() - job->started;
    char top1[32], top5[32], note[64];
    snprintf(top1, sizeof top1, "%.2f", 100.0 * (double)tally->top1 / n);
    snprintf(top5, sizeof top5, "%.2f", 100.0 * (double)tally->top5 / n);
    Readable images = readable_count(tally->count), parameters = readable_count(params_elements(job->params)),
             took = readable_seconds(seconds);
    snprintf(note, sizeof note, "%s images, seen once", images.text);
    const ReportFigure figures[] = {
        {"test accuracy", top1, "%", note},
        {"top-5", top5, "%", NULL},
        {"parameters", parameters.text, NULL, NULL},
        {"this process ran", took.text, NULL, NULL},
    };
    report_figures(r, figures, COUNT_OF(figures));
}

static bool add_curves(Report *r, const Job *job, Error *e)
{
    MetricsTable m;
    if (!run_report_metrics(job, &m, e))
        return false;
    run_report_chart(r, &m, &(RunChart){.title = "Loss", .training = "train_loss", .validation = "val_loss"});
    run_report_chart(
        r, &m,
        &(RunChart){.title = "Accuracy", .training = "train_accuracy", .validation = "val_accuracy", .percent = true});
    metrics_table_free(&m);
    return true;
}

/* ---- Galleries */

typedef struct Gallery {
    Job *job;
    Dataset *test;
    const ImageTransform *transform;
    const Tally *tally;
    Sample sample;
    TransformScratch scratch;
} Gallery;

typedef struct Card {
    Str png[1 + MAPS];
    ReportPicture pictures[1 + MAPS];
    char alt[1 + MAPS][64], caption[128], detail[128];
} Card;

static bool add_picture(Card *card, ReportCard *out, const Image *image, const char *alt, Error *e)
{
    int i = out->picture_count;
    if (!image_encode_png(image, &card->png[i], e))
        return false;
    snprintf(card->alt[i], sizeof card->alt[i], "%s", alt);
    card->pictures[i] = (ReportPicture){card->png[i].text, card->png[i].length, card->alt[i]};
    out->picture_count++;
    return true;
}

/* The image as the network got it, and its attention maps laid over it. */
static bool draw(Gallery *g, Card *card, ReportCard *out, Error *e)
{
    const Classifier *c = g->job->model->workload_hooks;
    int channels = g->sample.image.channels, side = g->transform->size;
    Random none = {0};
    Image plain = {0}, large = {0}, overlaid = {0};
    image_reshape(&plain, side, side, channels);
    bool good = transform_apply(g->transform, &g->sample.image, &none, &g->scratch, plain.pixels, NULL, e);
    if (good) {
        picture_magnify(&large, &plain, MAX(1, PICTURE_SIDE / side));
        good = add_picture(card, out, &large, "the image", e);
    }
    AttentionMap maps[MAPS];
    int count = 0;
    if (good && c->attention) {
        Region before = region_open(g->job->tape, EVAL, NO_GRAD);
        Tensor *x = transform_images(g->job->tape, g->transform, 1, channels, plain.pixels, NULL);
        count = c->attention(g->job->tape, g->job->network, x, maps, MAPS);
        tape_reset(g->job->tape);
        region_close(g->job->tape, before);
    }
    for (int i = 0; i < count; i++) {
        if (good) {
            picture_overlay(&overlaid, &large, maps[i].weights, maps[i].height, maps[i].width, 0.6f);
            good = add_picture(card, out, &overlaid, maps[i].name, e);
        }
        mem_free(maps[i].weights);
    }
    image_free(&plain);
    image_free(&large);
    image_free(&overlaid);
    return good;
}

static bool make_card(Gallery *g, int64_t index, Card *card, ReportCard *out, Error *e)
{
    if (!dataset_read(g->test, index, &g->sample, e))
        return false;
    const char *truth = g->test->class_names[g->sample.label];
    int32_t predicted = g->tally->predicted[index];
    const char *guess = predicted < g->test->classes ? g->test->class_names[predicted] : "?";
    bool right = predicted == g->sample.label;
    *out = (ReportCard){.pictures = card->pictures,
                        .caption = card->caption,
                        .detail = card->detail,
                        .tone = right ? REPORT_GOOD : REPORT_BAD,
                        .share = g->tally->probability[index]};
    snprintf(card->caption, sizeof card->caption, "%s", truth);
    snprintf(card->detail, sizeof card->detail, right ? "predicted %s" : "taken for %s", guess);
    return draw(g, card, out, e);
}

static bool add_gallery(Report *r, Gallery *g, const char *heading, const int64_t *indices, int count, Error *e)
{
    Card *cards = mem_new((size_t)count * sizeof *cards);
    ReportCard *out = mem_new((size_t)count * sizeof *out);
    bool good = true;
    for (int i = 0; good && i < count; i++)
        good = make_card(g, indices[i], &cards[i], &out[i], e);
    if (good)
        report_gallery(r, heading, out, count);
    for (int i = 0; i < count; i++)
        for (int j = 0; j <= MAPS; j++)
            str_free(&cards[i].png[j]);
    mem_free(cards);
    mem_free(out);
    return good;
}

/* The `count` samples with the smallest probability of their true class, the smallest first; returns how many there are. */
static int find_worst(const Tally *tally, int64_t samples, int64_t *out, int count)
{
    for (int i = 0; i < count; i++) {
        int64_t worst = -1;
        for (int64_t s = 0; s < samples; s++) {
            bool taken = false;
            for (int j = 0; j < i; j++)
                taken |= out[j] == s;
            if (!taken && tally->predicted[s] >= 0 && (worst < 0 || tally->probability[s] < tally->probability[worst]))
                worst = s;
        }
        if (worst < 0)
            return i;
        out[i] = worst;
    }
    return count;
}

/* Of each of the first classes the sample that the network is surest of; returns how many classes have one. */
static int find_surest(const Tally *tally, int64_t samples, int64_t *out, int count)
{
    int found = 0;
    for (int c = 0; c < count; c++) {
        int64_t best = -1;
        for (int64_t s = 0; s < samples; s++)
            if (tally->predicted[s] == c && (best < 0 || tally->probability[s] > tally->probability[best]))
                best = s;
        if (best >= 0)
            out[found++] = best;
    }
    return found;
}

static bool add_galleries(Report *r, Gallery *g, Error *e)
{
    int count = (int)MIN((int64_t)SHOWN, g->test->count);
    int64_t indices[SHOWN];
    report_section(r, "Test images",
                   "The bar is the probability that the network gave to the true class. Beside each image "
                   "lies what its class token attends to, where the model has one.");
    count = find_worst(g->tally, g->test->count, indices, count);
    if (!add_gallery(r, g, "The worst", indices, count, e))
        return false;
    count = find_surest(g->tally, g->test->count, indices, MIN(SHOWN, g->test->classes));
    return add_gallery(r, g, "The best: of each class the surest", indices, count, e);
}

bool classification_report(Job *job, Dataset *test, const ImageTransform *transform, const Tally *tally, Error *e)
{
    const DataConfig *d = job->settings->data;
    Report *r = run_report_begin(job, d->set);
    add_figures(r, job, tally);
    report_section(r, "Training", NULL);
    bool good = add_curves(r, job, e);
    if (good) {
        report_section(r, "What is taken for what", NULL);
        report_confusion(r, (const char *const *)test->class_names, tally->confusion, test->classes);
        Gallery g = {.job = job, .test = test, .transform = transform, .tally = tally};
        good = add_galleries(r, &g, e);
        sample_free(&g.sample);
        transform_scratch_free(&g.scratch);
    }
    good = good && run_report_finish(r, job, e);
    report_free(r);
    return good;
}
