/* report.html of a language model. */
#include "common/hosts/language_model/result.h"

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/run/readable.h"
#include "common/run/run_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_SAMPLES = 8 };

/* "bits_per_byte" as people read it; free it. */
static char *words_of(const char *name)
{
    char *words = str_copy(name);
    for (char *c = words; *c; c++)
        *c = *c == '_' ? ' ' : *c;
    return words;
}

static void add_figures(Report *r, const Job *job, const LanguageData *d, const LanguageTally *tally)
{
    LanguageFigure found[LANGUAGE_FIGURES];
    ReportFigure shown[LANGUAGE_FIGURES + 2];
    char values[LANGUAGE_FIGURES][32], note[64], *labels[LANGUAGE_FIGURES];
    Readable tokens = readable_count(tally->tokens), parameters = readable_count(params_elements(job->params)),
             took = readable_seconds(clock_seconds() - job->started);
    int figures = language_figures(tally, d->kind, d->test_ratio, found), count = figures;
    snprintf(note, sizeof note, "%s tokens, each once", tokens.text);
    for (int i = 0; i < figures; i++) {
        bool share = found[i].share;
        snprintf(values[i], sizeof values[i], share ? "%.2f" : "%.4g", share ? 100 * found[i].value : found[i].value);
        labels[i] = words_of(found[i].name);
        shown[i] = (ReportFigure){labels[i], values[i], share ? "%" : NULL, i == 0 ? note : NULL};
    }
    shown[count++] = (ReportFigure){"parameters", parameters.text, NULL, NULL};
    shown[count++] = (ReportFigure){"this process ran", took.text, NULL, NULL};
    report_figures(r, shown, count);
    for (int i = 0; i < figures; i++)
        free(labels[i]);
}

static bool add_curves(Report *r, const Job *job, const LanguageData *d, const LanguageTally *tally, Error *e)
{
    LanguageFigure found[LANGUAGE_FIGURES];
    MetricsTable m;
    if (!run_report_metrics(job, &m, e))
        return false;
    run_report_chart(r, &m,
                     &(RunChart){.title = "Loss", .training = "train_loss", .validation = "val_loss", .by_step = true});
    if (language_figures(tally, d->kind, d->test_ratio, found) > 1) {
        char *training = str_format("train_%s", found[1].name), *validation = str_format("val_%s", found[1].name);
        char *title = words_of(found[1].name);
        run_report_chart(r, &m,
                         &(RunChart){.title = title,
                                     .training = training,
                                     .validation = validation,
                                     .percent = found[1].share,
                                     .by_step = true});
        free(title);
        free(training);
        free(validation);
    }
    metrics_table_free(&m);
    return true;
}

/* The mean loss at each place of a sequence: what context is worth. */
static void add_positions(Report *r, const LanguageData *d, const LanguageTally *tally)
{
    size_t length = (size_t)d->length;
    double *x = mem_new(2 * length * sizeof *x), *y = x + length;
    int count = 0;
    for (int64_t s = 0; s < d->length; s++)
        if (tally->position_tokens[s] > 0) {
            x[count] = (double)s + 1;
            y[count++] = tally->position_nats[s] / tally->position_tokens[s];
        }
    const ReportSeries series = {"test", x, y, count};
    report_curves(
        r, &(ReportChart){
               .title = "Loss by place in the sequence", .x_label = "token", .series = &series, .series_count = 1});
    mem_free(x);
}

static void add_baseline(Report *r, const LanguageTally *tally, const LanguageBaseline *b)
{
    char model[32], seen[32], all[32], seen_on[64], all_on[64];
    Readable seen_bytes = readable_count(b->seen_bytes), all_bytes = readable_count(b->all_bytes);
    snprintf(model, sizeof model, "%.4f", tally->nats / (double)tally->tokens / M_LN2);
    snprintf(seen, sizeof seen, "%.4f", b->seen);
    snprintf(all, sizeof all, "%.4f", b->all);
    snprintf(seen_on, sizeof seen_on, "n-grams of order %d, %s bytes", b->order, seen_bytes.text);
    snprintf(all_on, sizeof all_on, "n-grams of order %d, %s bytes", b->order, all_bytes.text);
    report_table(r, "Beside n-grams (interpolated Witten-Bell): counted on what the model trained on, and on all",
                 (const char *const[]){"model", "bits per byte"}, 2,
                 (const char *const[]){"this one", model, seen_on, seen, all_on, all}, 3);
}

/* The samples that were drawn as the training went: the first, the last, and some between. */
static bool add_samples(Report *r, const Job *job, Error *e)
{
    char *folder = path_join(job->run, "samples"), **names;
    int count;
    if (!folder_exists(folder)) {
        free(folder);
        return true;
    }
    bool good = folder_list(folder, &names, &count, e);
    if (good) {
        int shown = MIN(count, SHOWN_SAMPLES);
        report_section(r, "What it wrote", "Text drawn from the model as it learned.");
        for (int i = 0; good && i < shown; i++) {
            const char *name = names[shown > 1 ? i * (count - 1) / (shown - 1) : 0];
            char *path = path_join(folder, name), *text = file_read(path, NULL, e);
            char *heading = str_format("After %lld steps", strtoll(name, NULL, 10));
            if ((good = text != NULL))
                report_text(r, heading, text);
            free(heading);
            free(text);
            free(path);
        }
        names_free(names, count);
    }
    free(folder);
    return good;
}

bool language_report(Job *job, const LanguageData *d, const LanguageTally *tally, const LanguageBaseline *baseline,
                     Error *e)
{
    Report *r = run_report_begin(job, ((const LanguageDataConfig *)job->settings->data)->set);
    add_figures(r, job, d, tally);
    report_section(r, "Training", NULL);
    bool good = add_curves(r, job, d, tally, e);
    if (good) {
        report_section(r, "The test part", NULL);
        add_positions(r, d, tally);
        if (baseline)
            add_baseline(r, tally, baseline);
        good = add_samples(r, job, e) && run_report_finish(r, job, e);
    }
    report_free(r);
    return good;
}
