/* What the files of the report share; not for others. */
#pragma once
#include "common/base/str.h"
#include "common/run/report_groups.h"

/* Appends text with & < > " ' escaped; control characters that HTML forbids and broken UTF-8 become U+FFFD. */
void html_add(Str *out, const char *text);

/* Appends a chart (report_chart.c) or a confusion matrix (report_confusion.c) as a block of its own. */
void chart_add(Str *out, const ReportChart *chart);
void confusion_add(Str *out, const char *const *names, const int64_t *counts, int classes);

/* Tokens, sizes and pairs of groups (report_groups.c) likewise. */
void tokens_add(Str *out, const ReportToken *tokens, int count);
void group_sizes_add(Str *out, const double *values, const char *const *notes, int groups);
void pair_maps_add(Str *out, const ReportPairMap *maps, int count);
