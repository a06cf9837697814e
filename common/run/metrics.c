#include "common/run/metrics.h"

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/run/append.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct Metrics {
    AppendFile *file;
    int column_count;
};

static char *header_line(const char *const *columns, int count)
{
    Str s = {0};
    str_add(&s, "step");
    for (int i = 0; i < count; i++) {
        contract(columns[i][0] && !strpbrk(columns[i], ",\"\r\n"), "metrics: '%s' cannot name a column", columns[i]);
        str_add(&s, ",%s", columns[i]);
    }
    str_add(&s, "\n");
    return s.text;
}

/* The length of what stays: the header and the rows up to `step`. A line without its end is one that a kill cut. */
static bool length_to_keep(const char *path, const char *text, const char *header, int64_t step, size_t *keep, Error *e)
{
    if (!str_starts(text, header))
        return error_set(e, "%s:1: the columns are not '%.*s'", path, (int)strcspn(header, "\n"), header);
    const char *line = text + strlen(header), *end;
    for (int number = 2; (end = strchr(line, '\n')); line = end + 1, number++) {
        char *after;
        errno = 0;
        int64_t row = strtoll(line, &after, 10);
        if (after == line || errno || (*after != ',' && *after != '\n'))
            return error_set(e, "%s:%d: does not begin with a step", path, number);
        if (row > step)
            break;
    }
    *keep = (size_t)(line - text);
    return true;
}

static bool cut_back(const char *path, const char *header, int64_t step, Error *e)
{
    size_t size, keep = 0;
    char *text = file_read(path, &size, e);
    if (!text)
        return false;
    bool good;
    if (!length_to_keep(path, text, header, step, &keep, e))
        good = false;
    else if (step < 0 && keep < size)
        good = error_set(e, "%s: holds the rows of another run", path);
    else
        good = keep == size || file_write(path, text, keep, e);
    mem_free(text);
    return good;
}

Metrics *metrics_open(const char *path, const char *const *columns, int count, int64_t step, Error *e)
{
    char *header = header_line(columns, count);
    bool good = file_exists(path) ? cut_back(path, header, step, e) : file_write(path, header, strlen(header), e);
    AppendFile *file = good ? append_open(path, false, e) : NULL;
    mem_free(header);
    if (!file)
        return NULL;
    Metrics *m = mem_new(sizeof *m);
    *m = (Metrics){file, count};
    return m;
}

bool metrics_add(Metrics *m, int64_t step, const double *values, Error *e)
{
    Str line = {0};
    str_add(&line, "%" PRId64, step);
    for (int i = 0; i < m->column_count; i++) {
        if (isnan(values[i]))
            str_add(&line, ",");
        else
            str_add(&line, ",%.9g", values[i]);
    }
    str_add(&line, "\n");
    bool good = append_write(m->file, line.text, line.length, e);
    str_free(&line);
    return good;
}

bool metrics_sync(Metrics *m, Error *e)
{
    return append_sync(m->file, e);
}

void metrics_close(Metrics *m)
{
    if (!m)
        return;
    append_close(m->file);
    mem_free(m);
}

static void read_header(MetricsTable *table, char *line)
{
    ARRAY(char *) names = {0};
    char *rest;
    strtok_r(line, ",", &rest); /* "step" */
    for (char *word; (word = strtok_r(NULL, ",", &rest));)
        *array_add(&names) = str_copy(word);
    table->columns = names.items;
    table->column_count = (int)names.count;
}

static bool read_row(const MetricsTable *table, char *line, int64_t *step, double *values)
{
    char *after;
    *step = strtoll(line, &after, 10);
    if (after == line)
        return false;
    for (int i = 0; i < table->column_count; i++) {
        if (*after != ',')
            return false;
        char *cell = after + 1;
        values[i] = strtod(cell, &after);
        if (after == cell)
            values[i] = NAN;
    }
    return *after == '\0';
}

bool metrics_read(MetricsTable *table, const char *path, Error *e)
{
    *table = (MetricsTable){0};
    char *text = file_read(path, NULL, e);
    if (!text)
        return false;
    ARRAY(int64_t) steps = {0};
    char *line = text, *end = strchr(text, '\n');
    bool good = end && str_starts(text, "step");
    if (!good)
        error_set(e, "%s:1: is not a line of column names that begins with 'step'", path);
    size_t lines = 0;
    for (char *c = text; (c = strchr(c, '\n')); c++)
        lines++;
    for (int number = 1; good && end; number++, line = end + 1, end = strchr(line, '\n')) {
        *end = '\0';
        if (number == 1) {
            read_header(table, line);
            table->values = mem_new((lines * (size_t)table->column_count + 1) * sizeof(double));
            continue;
        }
        int64_t step;
        good = read_row(table, line, &step, table->values + steps.count * (size_t)table->column_count);
        if (good)
            *array_add(&steps) = step;
        else
            error_set(e, "%s:%d: is not a step and %d numbers", path, number, table->column_count);
    }
    table->steps = steps.items;
    table->row_count = (int)steps.count;
    mem_free(text);
    if (!good)
        metrics_table_free(table);
    return good;
}

void metrics_table_free(MetricsTable *table)
{
    names_free(table->columns, table->column_count);
    mem_free(table->steps);
    mem_free(table->values);
    *table = (MetricsTable){0};
}

int metrics_points(const MetricsTable *table, const char *column, double *x, double *y)
{
    int c = 0, count = 0;
    while (c < table->column_count && strcmp(table->columns[c], column))
        c++;
    if (c == table->column_count)
        return 0;
    for (int row = 0; row < table->row_count; row++) {
        double value = table->values[(size_t)row * (size_t)table->column_count + (size_t)c];
        if (isnan(value))
            continue;
        x[count] = (double)table->steps[row];
        y[count++] = value;
    }
    return count;
}
