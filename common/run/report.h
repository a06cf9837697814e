/* report.html: one page that stands alone (no script, nothing loaded from elsewhere), to be read on a phone or printed,
 * light or dark. A page is built from top to bottom out of sections; every text that is handed in is escaped, and bytes
 * that are not UTF-8 become U+FFFD, so that what a model writes or a file name holds can be shown as it is.
 *
 *     Report *r = report_begin("CrossViT on Fashion-MNIST", "crossvit default, 481,076 parameters, 8 epochs");
 *     report_figures(r, figures, 4);
 *     report_section(r, "Training", NULL);
 *     report_curves(r, &loss);
 *     report_curves(r, &accuracy);
 *     bool good = report_write(r, "runs/crossvit/default/report.html", e);
 *     report_free(r);
 */
#pragma once
#include "common/base/error.h"
#include "common/run/machine.h"
#include <stddef.h>
#include <stdint.h>

typedef struct Report Report;

Report *report_begin(const char *title, const char *subtitle);  /* subtitle: one sentence, or NULL */
bool report_write(const Report *r, const char *path, Error *e); /* may be called after every epoch as the page grows */
void report_free(Report *r);                                    /* NULL is fine */

/* The key numbers under the title: few and large. */
typedef struct ReportFigure {
    const char *label; /* "test accuracy" */
    const char *value; /* "91.24" */
    const char *unit;  /* "%", or NULL */
    const char *note;  /* "10,000 images, seen once", or NULL */
} ReportFigure;

void report_figures(Report *r, const ReportFigure *figures, int count);

/* A heading of the page, listed in its navigation; what is added next stands below it. intro: a paragraph, or NULL. */
void report_section(Report *r, const char *heading, const char *intro);

typedef struct ReportSeries {
    const char *name;
    const double *x, *y; /* [count], x ascending; a point that is not finite is left out */
    int count;
} ReportSeries;

/* A line chart. Series of more than some hundred points are drawn as the mean of neighbours in a band from the smallest
 * to the largest. Charts that follow each other stand side by side where the page is wide enough. */
typedef struct ReportChart {
    const char *title;
    const char *x_label; /* "epoch" */
    const ReportSeries *series;
    int series_count; /* at most 6 have colours of their own */
    bool percent;     /* y is a share of 1, shown in % */
    const char *mark; /* the name of a vertical line at mark_x ("best"), or NULL */
    double mark_x;
} ReportChart;

void report_curves(Report *r, const ReportChart *chart);

/* counts [classes, classes]: row = true class, column = predicted class. Up to 20 classes are a table with figures, up
 * to 200 a map; beyond, and beside both, stand the classes that are confused most. */
void report_confusion(Report *r, const char *const *names, const int64_t *counts, int classes);

typedef struct ReportPicture {
    const void *png; /* an encoded PNG (common/data/image_file.h) */
    size_t size;     /* bytes */
    const char *alt; /* what it shows, for who cannot see it: "attention of the small branch" */
} ReportPicture;

typedef enum ReportTone { REPORT_PLAIN, REPORT_GOOD, REPORT_BAD } ReportTone;

/* A card of a gallery: one or several pictures side by side and a caption of two lines. */
typedef struct ReportCard {
    const ReportPicture *pictures;
    int picture_count;
    const char *caption; /* "predicted coat" */
    const char *detail;  /* "is a pullover", or NULL */
    ReportTone tone;     /* the colour of the caption's mark and bar */
    double share;        /* 0 to 1, shown as a bar and in %: a probability; NaN: none */
} ReportCard;

void report_gallery(Report *r, const char *heading, const ReportCard *cards, int count);

/* cells [rows, columns], row by row; columns whose cells are all numbers stand flush right. */
void report_table(Report *r, const char *heading, const char *const *columns, int column_count,
                  const char *const *cells, int row_count);

typedef struct ReportPair {
    const char *key, *value;
} ReportPair;

void report_pairs(Report *r, const char *heading, const ReportPair *pairs, int count); /* a list of what is what */
void report_machine(Report *r, const Machine *m);                                      /* as such a list */
void report_text(Report *r, const char *heading, const char *text); /* prose or a sample of one; line breaks are kept */
void report_code(Report *r, const char *heading, const char *text); /* in a typewriter face, as it is */
void report_yaml(Report *r, const char *heading, const char *text); /* the same with keys and comments told apart */
