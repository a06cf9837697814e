/* What the reports of all runs share: the title, the curves of metrics.csv, and how it was made. A workload puts what it
 * alone can show between them. */
#pragma once
#include "common/run/metrics.h"
#include "common/run/model.h"
#include "common/run/report.h"

/* "CrossViT on fashion-mnist", and config, arm and seed below it. */
Report *run_report_begin(const Job *job, const char *set);

/* metrics.csv of the run. */
bool run_report_metrics(const Job *job, MetricsTable *table, Error *e);

/* A chart of two columns, training's and validation's (a column that the file lacks is left out), by epoch or by step. */
typedef struct RunChart {
    const char *title, *training, *validation;
    bool percent, by_step;
} RunChart;

void run_report_chart(Report *r, const MetricsTable *table, const RunChart *chart);

/* Config and machine; then the page is <run>/report.html. */
bool run_report_finish(Report *r, const Job *job, Error *e);
