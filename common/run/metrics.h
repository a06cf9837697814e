/* metrics.csv: a line of names, then one row a report, first column `step`. Numbers are written with %.9g, which gives
 * every float back exactly; what a row does not know (NaN) is an empty cell. */
#pragma once
#include "common/base/error.h"
#include <stdint.h>

typedef struct Metrics Metrics;

/* Opens the file for a run that goes on after `step`: rows of later steps, and a last line that a kill left half, are
 * cut away (written beside, synced, renamed). A new run passes step -1 and must find no file, or one without rows that
 * it may lose. Columns are those after `step`; a file with other columns is an error. */
Metrics *metrics_open(const char *path, const char *const *columns, int count, int64_t step, Error *e);

bool metrics_add(Metrics *m, int64_t step, const double *values, Error *e); /* values[count of columns] */
bool metrics_sync(Metrics *m, Error *e); /* rows so far reach the disk: before a checkpoint is made */
void metrics_close(Metrics *m);

/* The whole file in memory, for reports. values is [rows][columns]; an empty cell is NaN. */
typedef struct MetricsTable {
    char **columns; /* without `step` */
    int column_count;
    int64_t *steps;
    double *values;
    int row_count;
} MetricsTable;

bool metrics_read(MetricsTable *table, const char *path, Error *e);
void metrics_table_free(MetricsTable *table);

/* The points of one column that are not empty: x[i] = step, y[i] = value. Returns how many, at most row_count; 0 if
 * there is no such column. x and y have room for row_count. */
int metrics_points(const MetricsTable *table, const char *column, double *x, double *y);
