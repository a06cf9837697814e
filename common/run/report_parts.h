/* What the files of the report share; not for others. */
#pragma once
#include "common/base/str.h"
#include "common/run/report.h"

/* Appends text with & < > " ' escaped; control characters that HTML forbids and broken UTF-8 become U+FFFD. */
void html_add(Str *out, const char *text);

/* Appends a chart (report_chart.c) or a confusion matrix (report_confusion.c) as a block of its own. */
void chart_add(Str *out, const ReportChart *chart);
void confusion_add(Str *out, const char *const *names, const int64_t *counts, int classes);
