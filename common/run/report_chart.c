/* Line charts. The lines are an SVG that is stretched to whatever room there is (strokes keep their width); labels,
 * dots and what hovering shows are HTML placed in percent, so that letters keep their size on a phone. */
#include "common/base/memory.h"
#include "common/run/report_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_POINTS = 240, MOST_COLUMNS = 100, WIDTH = 1000, HEIGHT = 1000 };

/* One point that is drawn: of one point of the series, or of several neighbours. */
typedef struct Point {
    double x, y, low, high;
} Point;

typedef struct Line {
    const char *name;
    Point *points;
    int count;
    bool band; /* points stand for several */
} Line;

/* An axis from low to high with a tick at each multiple of step. */
typedef struct Axis {
    double low, high, step;
} Axis;

typedef struct Plot {
    const ReportChart *chart;
    Line *lines; /* [chart->series_count] */
    Axis x, y;
    bool whole; /* every x is a whole number: there is no epoch 1.5 */
} Plot;

static int finite_points(const ReportSeries *series, double scale, Point *out)
{
    int count = 0;
    for (int i = 0; i < series->count; i++) {
        double y = scale * series->y[i];
        if (isfinite(series->x[i]) && isfinite(y))
            out[count++] = (Point){series->x[i], y, y, y};
    }
    return count;
}

/* Neighbours become one point, so that a long run's curve has a few hundred. */
static int thin_out(Point *points, int count, int most)
{
    for (int i = 0; i < most; i++) {
        int from = (int)((int64_t)i * count / most), to = (int)((int64_t)(i + 1) * count / most);
        Point sum = {.low = INFINITY, .high = -INFINITY};
        for (int j = from; j < to; j++) {
            sum.x += points[j].x / (to - from);
            sum.y += points[j].y / (to - from);
            sum.low = fmin(sum.low, points[j].low);
            sum.high = fmax(sum.high, points[j].high);
        }
        points[i] = sum;
    }
    return most;
}

static Line make_line(const ReportSeries *series, double scale)
{
    Line line = {.name = series->name, .points = mem_new((size_t)(series->count + 1) * sizeof(Point))};
    line.count = finite_points(series, scale, line.points);
    line.band = line.count > MOST_POINTS;
    if (line.band)
        line.count = thin_out(line.points, line.count, MOST_POINTS);
    return line;
}

/* The step of 1, 2 or 5 times a power of ten that gives about `wanted` ticks. */
static double tick_step(double range, int wanted)
{
    double rough = range / wanted, power = pow(10, floor(log10(rough))), digit = rough / power;
    return power * (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10);
}

/* A range as wide as its values; values that are all equal stand in the middle of one that is not empty. */
static Axis axis_around(double low, double high, int wanted)
{
    if (low > high)
        low = 0, high = 1; /* nothing to draw */
    if (high - low <= 1e-12 * fmax(fabs(low), fabs(high)) || high == low) {
        double room = low == 0 ? 1 : 0.1 * fabs(low);
        low -= room;
        high += room;
    }
    return (Axis){low, high, tick_step(high - low, wanted)};
}

static void find_axes(Plot *p)
{
    double left = INFINITY, right = -INFINITY, bottom = INFINITY, top = -INFINITY;
    p->whole = true;
    for (int s = 0; s < p->chart->series_count; s++) {
        for (int i = 0; i < p->lines[s].count; i++) {
            Point at = p->lines[s].points[i];
            left = fmin(left, at.x), right = fmax(right, at.x);
            bottom = fmin(bottom, at.y), top = fmax(top, at.y);
            p->whole = p->whole && (at.x == floor(at.x) || p->lines[s].band);
        }
    }
    p->x = axis_around(left, right, 6);
    if (p->whole)
        p->x.step = fmax(p->x.step, 1);
    p->y = axis_around(bottom, top, 5);
    p->y.low = floor(p->y.low / p->y.step + 1e-9) * p->y.step;
    p->y.high = ceil(p->y.high / p->y.step - 1e-9) * p->y.step;
}

static double share_x(const Plot *p, double x)
{
    return (x - p->x.low) / (p->x.high - p->x.low);
}

static double share_y(const Plot *p, double y)
{
    return (y - p->y.low) / (p->y.high - p->y.low);
}

static void tick_text(Str *out, double value, double step)
{
    int decimals = (int)fmax(0, ceil(-log10(step) - 1e-9));
    if (fabs(value) < step * 1e-6)
        value = 0; /* and not -0 */
    if (step >= 1000 && value != 0)
        str_add(out, "%g&#8201;k", value / 1000);
    else if (decimals > 6)
        str_add(out, "%.3g", value);
    else
        str_add(out, "%.*f", decimals, value);
}

static void ticks_add(Str *out, const Axis *axis, const char *class, const char *side, const char *unit)
{
    str_add(out, "<div class=\"%s\" aria-hidden=\"true\">", class);
    long first = (long)ceil(axis->low / axis->step - 1e-9), last = (long)floor(axis->high / axis->step + 1e-9);
    for (long i = first; i <= last; i++) {
        double value = (double)i * axis->step;
        str_add(out, "<span style=\"%s:%.2f%%\">", side, 100 * (value - axis->low) / (axis->high - axis->low));
        tick_text(out, value, axis->step);
        str_add(out, "%s</span>", unit);
    }
    str_add(out, "</div>\n");
}

static void grid_add(Str *out, const Plot *p)
{
    str_add(out, "<path class=\"grid\" d=\"");
    long first = lround(p->y.low / p->y.step), last = lround(p->y.high / p->y.step);
    for (long i = first; i <= last; i++)
        str_add(out, "M0 %.1fH%d", HEIGHT * (1 - share_y(p, (double)i * p->y.step)), WIDTH);
    str_add(out, "\"/>\n");
    if (p->chart->mark)
        str_add(out, "<path class=\"mark\" d=\"M%.1f 0V%d\"/>\n", WIDTH * share_x(p, p->chart->mark_x), HEIGHT);
}

static void coordinates(Str *out, const Plot *p, double x, double y)
{
    str_add(out, "%.1f %.1f", WIDTH * share_x(p, x), HEIGHT * (1 - share_y(p, y)));
}

static void band_add(Str *out, const Plot *p, const Line *line, int color)
{
    str_add(out, "<path class=\"band c%d\" d=\"M", color);
    for (int i = 0; i < line->count; i++) {
        str_add(out, i ? "L" : "");
        coordinates(out, p, line->points[i].x, line->points[i].high);
    }
    for (int i = line->count; i-- > 0;) {
        str_add(out, "L");
        coordinates(out, p, line->points[i].x, line->points[i].low);
    }
    str_add(out, "Z\"/>\n");
}

static void line_add(Str *out, const Plot *p, const Line *line, int color)
{
    if (!line->count)
        return;
    str_add(out, "<path class=\"line c%d\" d=\"M", color);
    for (int i = 0; i < line->count; i++) {
        str_add(out, i ? "L" : "");
        coordinates(out, p, line->points[i].x, line->points[i].y);
    }
    /* A stroke of no length with round ends is a dot, and stays round in a stretched picture. */
    Point end = line->points[line->count - 1];
    str_add(out, "\"/>\n<path class=\"end c%d\" d=\"M", color);
    coordinates(out, p, end.x, end.y);
    str_add(out, "h0\"/>\n");
}

static void value_add(Str *out, const Plot *p, double value)
{
    if (p->chart->percent)
        str_add(out, "%.2f&#8201;%%", value);
    else
        str_add(out, "%.4g", value);
}

static int color_of(int series)
{
    return series % 6 + 1;
}

static void legend_add(Str *out, const Plot *p)
{
    str_add(out, "<figcaption><b>");
    html_add(out, p->chart->title);
    str_add(out, "</b><span class=\"legend\">");
    for (int s = 0; s < p->chart->series_count; s++) {
        const Line *line = &p->lines[s];
        str_add(out, "<span><i class=\"c%d\"></i>", color_of(s));
        html_add(out, line->name);
        if (line->count) {
            str_add(out, " <b>");
            value_add(out, p, line->points[line->count - 1].y);
            str_add(out, "</b>");
        }
        str_add(out, "</span>");
    }
    str_add(out, "</span></figcaption>\n");
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The x positions where hovering shows values: those of the points, or evenly spread ones if these are too many. */
static double *find_columns(const Plot *p, int *count)
{
    int all = 0, distinct = 0;
    for (int s = 0; s < p->chart->series_count; s++)
        all += p->lines[s].count;
    double *x = mem_new((size_t)MAX(all, MOST_COLUMNS) * sizeof *x);
    all = 0;
    for (int s = 0; s < p->chart->series_count; s++)
        for (int i = 0; i < p->lines[s].count; i++)
            x[all++] = p->lines[s].points[i].x;
    qsort(x, (size_t)all, sizeof *x, ascending);
    for (int i = 0; i < all; i++)
        if (distinct == 0 || x[i] > x[distinct - 1])
            x[distinct++] = x[i];
    if (distinct > MOST_COLUMNS) {
        for (int i = 0; i < MOST_COLUMNS; i++)
            x[i] = p->x.low + (p->x.high - p->x.low) * (i + 0.5) / MOST_COLUMNS;
        distinct = MOST_COLUMNS;
    }
    *count = distinct;
    return x;
}

/* The point of a line nearest to x within [left, right], or NULL. */
static const Point *nearest_point(const Line *line, double left, double x, double right)
{
    const Point *best = NULL;
    for (int i = 0; i < line->count; i++) {
        const Point *at = &line->points[i];
        if (at->x >= left && at->x <= right && (!best || fabs(at->x - x) < fabs(best->x - x)))
            best = at;
    }
    return best;
}

/* A strip of the plot that, under the pointer, shows a rule, a dot on each line, and the values there. */
static void column_add(Str *out, const Plot *p, double left, double x, double right)
{
    double width = right - left;
    Str tip = {0}, dots = {0};
    for (int s = 0; s < p->chart->series_count; s++) {
        const Point *at = nearest_point(&p->lines[s], left, x, right);
        if (!at)
            continue;
        str_add(&dots, "<i class=\"c%d\" style=\"left:%.1f%%;bottom:%.2f%%\"></i>", color_of(s),
                100 * (at->x - left) / width, 100 * share_y(p, at->y));
        str_add(&tip, "<span><i class=\"c%d\"></i>", color_of(s));
        html_add(&tip, p->lines[s].name);
        str_add(&tip, " <b>");
        value_add(&tip, p, at->y);
        str_add(&tip, "</b></span>");
    }
    if (tip.text) {
        str_add(out,
                "<div class=\"at%s\" style=\"left:%.3f%%;width:%.3f%%;--x:%.1f%%\"><u></u>%s<div class=\"tip\"><em>",
                share_x(p, x) > 0.5 ? " flip" : "", 100 * share_x(p, left), 100 * width / (p->x.high - p->x.low),
                100 * (x - left) / width, dots.text);
        html_add(out, p->chart->x_label);
        str_add(out, " %.6g</em>%s</div></div>\n", p->whole ? round(x) : x, tip.text);
    }
    str_free(&tip);
    str_free(&dots);
}

static void columns_add(Str *out, const Plot *p)
{
    int count;
    double *x = find_columns(p, &count);
    for (int i = 0; i < count; i++) {
        double left = i ? 0.5 * (x[i - 1] + x[i]) : p->x.low,
               right = i + 1 < count ? 0.5 * (x[i] + x[i + 1]) : p->x.high;
        column_add(out, p, left, x[i], right);
    }
    mem_free(x);
}

static void lines_add(Str *out, const Plot *p)
{
    str_add(out, "<svg viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    html_add(out, p->chart->title);
    str_add(out, "\">\n");
    grid_add(out, p);
    for (int s = 0; s < p->chart->series_count; s++)
        if (p->lines[s].band)
            band_add(out, p, &p->lines[s], color_of(s));
    for (int s = 0; s < p->chart->series_count; s++)
        line_add(out, p, &p->lines[s], color_of(s));
    str_add(out, "</svg>\n");
}

void chart_add(Str *out, const ReportChart *chart)
{
    Plot p = {.chart = chart, .lines = mem_new((size_t)chart->series_count * sizeof(Line))};
    for (int s = 0; s < chart->series_count; s++)
        p.lines[s] = make_line(&chart->series[s], chart->percent ? 100 : 1);
    find_axes(&p);
    str_add(out, "<figure class=\"chart\">\n");
    legend_add(out, &p);
    str_add(out, "<div class=\"frame\">");
    ticks_add(out, &p.y, "ys", "bottom", chart->percent ? "&#8201;%" : "");
    str_add(out, "<div class=\"plot\">");
    lines_add(out, &p);
    if (chart->mark) {
        str_add(out, "<span class=\"mark\" style=\"left:%.2f%%\">", 100 * share_x(&p, chart->mark_x));
        html_add(out, chart->mark);
        str_add(out, "</span>");
    }
    columns_add(out, &p);
    str_add(out, "</div>\n");
    ticks_add(out, &p.x, "xs", "left", "");
    str_add(out, "</div><div class=\"xlabel\">");
    html_add(out, chart->x_label);
    str_add(out, "</div></figure>\n");
    for (int s = 0; s < chart->series_count; s++)
        mem_free(p.lines[s].points);
    mem_free(p.lines);
}
