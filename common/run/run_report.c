#include "common/run/run_report.h"

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/run/readable.h"

#include <stdio.h>
#include <stdlib.h>

Report *run_report_begin(const Job *job, const char *set)
{
    const Settings *s = job->settings;
    char *title = str_format("%s on %s", job->model->title, set);
    char *subtitle = str_format("config %s%s%s, seed %lld", s->config_name, s->arm ? ", arm " : "",
                                s->arm ? s->arm : "", (long long)s->run.seed);
    Report *r = report_begin(title, subtitle);
    free(title);
    free(subtitle);
    return r;
}

bool run_report_metrics(const Job *job, MetricsTable *table, Error *e)
{
    char *path = path_join(job->run, "metrics.csv");
    bool good = metrics_read(table, path, e);
    free(path);
    return good;
}

/* Steps x [count] to epochs: both are in every row. */
static void steps_to_epochs(const MetricsTable *table, double *x, int count, double *steps, double *epochs)
{
    int known = metrics_points(table, "epoch", steps, epochs);
    for (int j = 0; j < count; j++)
        for (int k = 0; k < known; k++)
            if (steps[k] == x[j]) {
                x[j] = epochs[k];
                break;
            }
}

void run_report_chart(Report *r, const MetricsTable *table, const RunChart *chart)
{
    size_t rows = (size_t)table->row_count;
    double *points = mem_new(6 * rows * sizeof *points), *scratch = points + 4 * rows;
    const char *const columns[] = {chart->training, chart->validation}, *const names[] = {"training", "validation"};
    ReportSeries series[2];
    for (int i = 0; i < 2; i++) {
        double *x = points + (size_t)(2 * i) * rows, *y = x + rows;
        int count = metrics_points(table, columns[i], x, y);
        if (!chart->by_step)
            steps_to_epochs(table, x, count, scratch, scratch + rows);
        series[i] = (ReportSeries){names[i], x, y, count};
    }
    report_curves(r, &(ReportChart){.title = chart->title,
                                    .x_label = chart->by_step ? "step" : "epoch",
                                    .series = series,
                                    .series_count = 2,
                                    .percent = chart->percent});
    mem_free(points);
}

static void add_config(Report *r, const Job *job)
{
    Str yaml = {0};
    Node *resolved = settings_resolved(job->settings);
    node_write_yaml(resolved, &yaml);
    node_free(resolved);
    report_yaml(r, "Config", yaml.text);
    str_free(&yaml);
}

bool run_report_finish(Report *r, const Job *job, Error *e)
{
    report_section(r, "How it was made", NULL);
    add_config(r, job);
    Machine m = machine_describe(cpu_backend_level());
    char cores[64];
    Readable memory = readable_bytes((double)m.memory);
    snprintf(cores, sizeof cores, "%d usable, kernels for %s", m.usable, m.level);
    report_pairs(r, "Machine",
                 (const ReportPair[]){{"processor", m.cpu},
                                      {"processors", cores},
                                      {"memory", memory.text},
                                      {"system", m.system},
                                      {"compiler", m.compiler}},
                 5);
    char *path = path_join(job->run, "report.html");
    bool good = report_write(r, path, e);
    if (good)
        log_line(job->log, "report: %s", path);
    free(path);
    return good;
}
