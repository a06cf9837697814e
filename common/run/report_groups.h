/* Groups of things in report.html: who of a row of tokens belongs to which cluster, expert or segment, and who sees whom.
 * Each group has a colour of its own, the same in every block of a page. */
#pragma once
#include "common/run/report.h"

typedef struct ReportToken {
    const char *text; /* white space and line breaks are kept */
    int group;        /* -1: none */
    bool faint;       /* the group's colour as a line below it alone */
    const char *note; /* shown where the reader points at it, or NULL */
} ReportToken;

/* Running text out of tokens. */
void report_tokens(Report *r, const char *heading, const ReportToken *tokens, int count);

/* How large each group is: values [groups], with the note that stands behind each (or NULL). */
void report_group_sizes(Report *r, const char *heading, const double *values, const char *const *notes, int groups);

/* A square map of pairs: groups[row * side + column] is the pair's group, -1: none. */
typedef struct ReportPairMap {
    const char *caption, *alt;
    const int16_t *groups; /* [side, side] */
    int side;
} ReportPairMap;

/* Maps side by side. */
void report_pair_maps(Report *r, const char *heading, const ReportPairMap *maps, int count);
