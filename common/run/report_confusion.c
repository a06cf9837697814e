/* Confusion matrices: a table with figures for few classes, a map for many, and the mistakes made most often. */
#include "common/base/memory.h"
#include "common/run/readable.h"
#include "common/run/report_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_WITH_FIGURES = 20, MOST_MAPPED = 200, MISTAKES_LISTED = 8 };

typedef struct Matrix {
    const char *const *names;
    const int64_t *counts;
    int classes;
    int64_t *row_sums; /* images of each class */
} Matrix;

static int64_t count_at(const Matrix *m, int row, int column)
{
    return m->counts[(int64_t)row * m->classes + column];
}

static double share_at(const Matrix *m, int row, int column)
{
    return m->row_sums[row] ? (double)count_at(m, row, column) / (double)m->row_sums[row] : 0;
}

static void sentence_add(Str *out, const Matrix *m, int row, int column)
{
    html_add(out, m->names[row]);
    str_add(out, row == column ? " recognised: " : " taken for ");
    if (row != column) {
        html_add(out, m->names[column]);
        str_add(out, ": ");
    }
    str_add(out, "%s of %s", readable_count(count_at(m, row, column)).text, readable_count(m->row_sums[row]).text);
}

/* Even a rare mistake must be seen beside a diagonal of 95 %: the colour goes with the square root of the share. */
static double depth(double share)
{
    return sqrt(share);
}

static void figures_add(Str *out, const Matrix *m)
{
    int letters = 0; /* of the longest name: the slanted headings need room for it */
    for (int c = 0; c < m->classes; c++)
        letters = MAX(letters, (int)strlen(m->names[c]));
    str_add(out, "<div class=\"scroll\"><table class=\"confusion\" style=\"--letters:%d\">\n<thead><tr><td></td>",
            letters);
    for (int c = 0; c < m->classes; c++) {
        str_add(out, "<th scope=\"col\"><span>");
        html_add(out, m->names[c]);
        str_add(out, "</span></th>");
    }
    str_add(out, "</tr></thead>\n<tbody>\n");
    for (int row = 0; row < m->classes; row++) {
        str_add(out, "<tr><th scope=\"row\">");
        html_add(out, m->names[row]);
        str_add(out, "</th>");
        for (int c = 0; c < m->classes; c++) {
            double share = share_at(m, row, c);
            str_add(out, "<td class=\"%s%s\" style=\"--v:%.3f\" title=\"", row == c ? "hit" : "miss",
                    share > 0.35 ? " deep" : "", depth(share));
            sentence_add(out, m, row, c);
            str_add(out, "\">");
            if (count_at(m, row, c))
                str_add(out, "%" PRId64, count_at(m, row, c));
            str_add(out, "</td>");
        }
        str_add(out, "</tr>\n");
    }
    str_add(out, "</tbody></table></div>\n");
}

static void map_add(Str *out, const Matrix *m)
{
    str_add(out, "<svg class=\"map\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Confusion matrix\">\n", m->classes,
            m->classes);
    for (int row = 0; row < m->classes; row++) {
        for (int c = 0; c < m->classes; c++) {
            if (!count_at(m, row, c))
                continue;
            str_add(out, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"1\" height=\"1\" fill-opacity=\"%.3f\"><title>",
                    row == c ? "hit" : "miss", c, row, depth(share_at(m, row, c)));
            sentence_add(out, m, row, c);
            str_add(out, "</title></rect>\n");
        }
    }
    str_add(out, "</svg>\n");
}

typedef struct Mistake {
    int row, column;
    int64_t count;
} Mistake;

/* The largest counts off the diagonal, largest first; of equal ones the first in the matrix. */
static int find_mistakes(const Matrix *m, Mistake *most, int wanted)
{
    int found = 0;
    for (int row = 0; row < m->classes; row++) {
        for (int c = 0; c < m->classes; c++) {
            Mistake this = {row, c, count_at(m, row, c)};
            if (row == c || this.count == 0 || (found == wanted && this.count <= most[found - 1].count))
                continue;
            int at = found < wanted ? found++ : found - 1;
            for (; at > 0 && most[at - 1].count < this.count; at--)
                most[at] = most[at - 1];
            most[at] = this;
        }
    }
    return found;
}

static void mistakes_add(Str *out, const Matrix *m)
{
    Mistake most[MISTAKES_LISTED];
    int found = find_mistakes(m, most, MISTAKES_LISTED);
    str_add(out, "<div class=\"mistakes\"><h3>Confused most often</h3>\n");
    str_add(out, found ? "<ol>\n" : "<p>No image was taken for another class.</p>\n");
    for (int i = 0; i < found; i++) {
        str_add(out, "<li><span><b>");
        html_add(out, m->names[most[i].row]);
        str_add(out, "</b> taken for <b>");
        html_add(out, m->names[most[i].column]);
        str_add(out,
                "</b></span><span class=\"value\">%s<small> of %s</small></span><i style=\"--w:%.1f%%\"></i></li>\n",
                readable_count(most[i].count).text, readable_count(m->row_sums[most[i].row]).text,
                100.0 * (double)most[i].count / (double)most[0].count);
    }
    str_add(out, found ? "</ol></div>\n" : "</div>\n");
}

void confusion_add(Str *out, const char *const *names, const int64_t *counts, int classes)
{
    Matrix m = {names, counts, classes, mem_new((size_t)classes * sizeof(int64_t))};
    for (int row = 0; row < classes; row++)
        for (int c = 0; c < classes; c++)
            m.row_sums[row] += count_at(&m, row, c);
    str_add(out, "<div class=\"beside\">\n");
    if (classes <= MOST_MAPPED) {
        str_add(out, "<figure class=\"matrix\">");
        if (classes <= MOST_WITH_FIGURES)
            figures_add(out, &m);
        else
            map_add(out, &m);
        str_add(out, "<figcaption>Rows: true class. Columns: predicted class.</figcaption></figure>\n");
    }
    mistakes_add(out, &m);
    str_add(out, "</div>\n");
    mem_free(m.row_sums);
}
