#include "common/run/report.h"

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/run/readable.h"
#include "common/run/report_parts.h"
#include "common/run/report_style.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct Report {
    Str title, header, navigation, body;
    int sections;
    bool in_section, in_charts; /* what is open at the end of body */
};

Report *report_begin(const char *title, const char *subtitle)
{
    Report *r = mem_new(sizeof *r);
    html_add(&r->title, title);
    str_add(&r->header, "<h1>%s</h1>\n", r->title.text ? r->title.text : "");
    if (subtitle) {
        str_add(&r->header, "<p class=\"subtitle\">");
        html_add(&r->header, subtitle);
        str_add(&r->header, "</p>\n");
    }
    return r;
}

void report_free(Report *r)
{
    if (!r)
        return;
    str_free(&r->title);
    str_free(&r->header);
    str_free(&r->navigation);
    str_free(&r->body);
    mem_free(r);
}

bool report_write(const Report *r, const char *path, Error *e)
{
    Str page = {0};
    str_add(&page, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                   "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                   "<meta name=\"color-scheme\" content=\"light dark\">\n");
    str_add(&page, "<title>%s</title>\n<style>\n%s</style>\n</head>\n<body>\n", r->title.text ? r->title.text : "",
            REPORT_STYLE);
    str_add(&page, "<header>\n%s</header>\n", r->header.text);
    if (r->sections > 1)
        str_add(&page, "<nav aria-label=\"Sections\">\n%s</nav>\n", r->navigation.text);
    str_add(&page, "<main>\n%s%s%s</main>\n</body>\n</html>\n", r->body.text ? r->body.text : "",
            r->in_charts ? "</div>\n" : "", r->in_section ? "</section>\n" : "");
    bool good = file_write(path, page.text, page.length, e);
    str_free(&page);
    return good;
}

/* Where a new block of the body goes: a row of charts ends before it. */
static Str *block(Report *r)
{
    if (r->in_charts)
        str_add(&r->body, "</div>\n");
    r->in_charts = false;
    return &r->body;
}

static void element(Str *out, const char *tag, const char *class, const char *text)
{
    if (class)
        str_add(out, "<%s class=\"%s\">", tag, class);
    else
        str_add(out, "<%s>", tag);
    html_add(out, text);
    str_add(out, "</%s>", tag);
}

static void heading(Str *out, const char *text)
{
    if (!text)
        return;
    element(out, "h3", NULL, text);
    str_add(out, "\n");
}

void report_figures(Report *r, const ReportFigure *figures, int count)
{
    Str *out = &r->header;
    str_add(out, "<dl class=\"figures\">\n");
    for (int i = 0; i < count; i++) {
        str_add(out, "<div>");
        element(out, "dt", NULL, figures[i].label);
        str_add(out, "<dd>");
        element(out, "b", NULL, figures[i].value);
        if (figures[i].unit)
            element(out, "span", "unit", figures[i].unit);
        if (figures[i].note)
            element(out, "small", NULL, figures[i].note);
        str_add(out, "</dd></div>\n");
    }
    str_add(out, "</dl>\n");
}

void report_section(Report *r, const char *title, const char *intro)
{
    Str *out = block(r);
    if (r->in_section)
        str_add(out, "</section>\n");
    r->in_section = true;
    r->sections++;
    str_add(out, "<section id=\"s%d\">\n", r->sections);
    element(out, "h2", NULL, title);
    if (intro)
        element(out, "p", "intro", intro);
    str_add(out, "\n");
    str_add(&r->navigation, "<a href=\"#s%d\">", r->sections);
    html_add(&r->navigation, title);
    str_add(&r->navigation, "</a>\n");
}

void report_curves(Report *r, const ReportChart *chart)
{
    if (!r->in_charts)
        str_add(&r->body, "<div class=\"charts\">\n");
    r->in_charts = true;
    chart_add(&r->body, chart);
}

void report_confusion(Report *r, const char *const *names, const int64_t *counts, int classes)
{
    confusion_add(block(r), names, counts, classes);
}

static void base64_add(Str *out, const unsigned char *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        size_t left = MIN(size - i, 3);
        uint32_t three = (uint32_t)bytes[i] << 16;
        three |= left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
        three |= left > 2 ? bytes[i + 2] : 0;
        char four[4] = {digits[three >> 18], digits[three >> 12 & 63], left > 1 ? digits[three >> 6 & 63] : '=',
                        left > 2 ? digits[three & 63] : '='};
        str_add_bytes(out, four, sizeof four);
    }
}

/* Width and height stand at fixed places of a PNG (its first chunk is IHDR). */
static uint32_t png_field(const ReportPicture *picture, size_t at)
{
    const unsigned char *p = picture->png;
    contract(picture->size > 24 && memcmp(p, "\x89PNG\r\n\x1a\n", 8) == 0, "report_gallery: a picture is not a PNG");
    return (uint32_t)p[at] << 24 | (uint32_t)p[at + 1] << 16 | (uint32_t)p[at + 2] << 8 | p[at + 3];
}

static void picture_add(Str *out, const ReportPicture *picture)
{
    uint32_t width = png_field(picture, 16), height = png_field(picture, 20);
    str_add(out, "<img%s width=\"%u\" height=\"%u\" alt=\"", MAX(width, height) < 128 ? " class=\"pixels\"" : "", width,
            height);
    html_add(out, picture->alt ? picture->alt : "");
    str_add(out, "\" src=\"data:image/png;base64,");
    base64_add(out, picture->png, picture->size);
    str_add(out, "\">");
}

static void card_add(Str *out, const ReportCard *card)
{
    static const char *const tones[] = {"plain", "good", "bad"};
    str_add(out, "<figure class=\"card %s\"><div class=\"pictures\">", tones[card->tone]);
    for (int i = 0; i < card->picture_count; i++)
        picture_add(out, &card->pictures[i]);
    str_add(out, "</div><figcaption>");
    if (!isnan(card->share))
        str_add(out, "<i class=\"share\" style=\"--w:%.1f%%\"></i>", 100 * card->share);
    str_add(out, "<span class=\"caption\">");
    element(out, "b", NULL, card->caption);
    if (!isnan(card->share))
        str_add(out, "<span class=\"value\">%.1f&#8201;%%</span>", 100 * card->share);
    str_add(out, "</span>");
    if (card->detail)
        element(out, "small", NULL, card->detail);
    str_add(out, "</figcaption></figure>\n");
}

void report_gallery(Report *r, const char *title, const ReportCard *cards, int count)
{
    int widest = 1;
    for (int i = 0; i < count; i++)
        widest = MAX(widest, cards[i].picture_count);
    Str *out = block(r);
    heading(out, title);
    str_add(out, "<div class=\"gallery\" style=\"--pictures:%d\">\n", widest);
    for (int i = 0; i < count; i++)
        card_add(out, &cards[i]);
    str_add(out, "</div>\n");
}

/* A number with what usually follows one: "91.2", "1,024", "3.1 %", "-", "". */
static bool looks_numeric(const char *cell)
{
    if (!*cell || !strcmp(cell, "-"))
        return true;
    static const char plus_minus[] = "\xc2\xb1";
    char *end;
    cell += str_starts(cell, plus_minus) ? strlen(plus_minus) : 0;
    strtod(cell, &end);
    size_t rest = strspn(end, "0123456789.,%+-\xc2\xb1 ");
    return end != cell && end[rest] == '\0';
}

void report_table(Report *r, const char *title, const char *const *columns, int column_count, const char *const *cells,
                  int row_count)
{
    Str *out = block(r);
    heading(out, title);
    str_add(out, "<div class=\"scroll\"><table class=\"data\">\n<thead><tr>");
    bool *numeric = mem_new((size_t)column_count * sizeof *numeric);
    for (int c = 0; c < column_count; c++) {
        numeric[c] = c > 0;
        for (int row = 0; row < row_count; row++)
            numeric[c] = numeric[c] && looks_numeric(cells[row * column_count + c]);
        element(out, "th", numeric[c] ? "number" : NULL, columns[c]);
    }
    str_add(out, "</tr></thead>\n<tbody>\n");
    for (int row = 0; row < row_count; row++) {
        str_add(out, "<tr>");
        for (int c = 0; c < column_count; c++)
            element(out, "td", numeric[c] ? "number" : NULL, cells[row * column_count + c]);
        str_add(out, "</tr>\n");
    }
    str_add(out, "</tbody></table></div>\n");
    mem_free(numeric);
}

void report_pairs(Report *r, const char *title, const ReportPair *pairs, int count)
{
    Str *out = block(r);
    heading(out, title);
    str_add(out, "<dl class=\"pairs\">\n");
    for (int i = 0; i < count; i++) {
        element(out, "dt", NULL, pairs[i].key);
        element(out, "dd", NULL, pairs[i].value);
        str_add(out, "\n");
    }
    str_add(out, "</dl>\n");
}

void report_machine(Report *r, const Machine *m)
{
    char cores[80];
    if (m->cores)
        snprintf(cores, sizeof cores, "%d; %d logical processors for this run", m->cores, m->usable);
    else
        snprintf(cores, sizeof cores, "%d logical processors for this run", m->usable);
    Readable memory = readable_bytes((double)m->memory);
    const ReportPair pairs[] = {{"Processor", m->cpu}, {"Cores", cores},      {"Memory", memory.text},
                                {"Kernels", m->level}, {"System", m->system}, {"Compiler", m->compiler}};
    report_pairs(r, NULL, pairs, COUNT_OF(pairs));
}

void report_text(Report *r, const char *title, const char *text)
{
    Str *out = block(r);
    heading(out, title);
    element(out, "p", "text", text);
    str_add(out, "\n");
}

void report_code(Report *r, const char *title, const char *text)
{
    Str *out = block(r);
    heading(out, title);
    element(out, "pre", NULL, text);
    str_add(out, "\n");
}

void report_tokens(Report *r, const char *title, const ReportToken *tokens, int count)
{
    Str *out = block(r);
    heading(out, title);
    tokens_add(out, tokens, count);
}

void report_group_sizes(Report *r, const char *title, const double *values, const char *const *notes, int groups)
{
    Str *out = block(r);
    heading(out, title);
    group_sizes_add(out, values, notes, groups);
}

void report_pair_maps(Report *r, const char *title, const ReportPairMap *maps, int count)
{
    Str *out = block(r);
    heading(out, title);
    pair_maps_add(out, maps, count);
}

/* Where the key of a YAML line ends: at the first ": " or ":" that ends it, unless the line begins with a quote. */
static size_t key_length(const char *line, size_t length)
{
    for (size_t i = strspn(line, " -"); i < length && line[i] != '"' && line[i] != '\'' && line[i] != '#'; i++)
        if (line[i] == ':' && (i + 1 == length || line[i + 1] == ' '))
            return i;
    return 0;
}

static size_t comment_start(const char *line, size_t length)
{
    char quote = 0;
    for (size_t i = 0; i < length; i++) {
        if (quote)
            quote = line[i] == quote ? 0 : quote;
        else if (line[i] == '"' || line[i] == '\'')
            quote = line[i];
        else if (line[i] == '#' && (i == 0 || line[i - 1] == ' '))
            return i;
    }
    return length;
}

static void span(Str *out, const char *class, const char *text, size_t length)
{
    char *part = str_format("%.*s", (int)length, text);
    if (class && length)
        element(out, "span", class, part);
    else
        html_add(out, part);
    mem_free(part);
}

void report_yaml(Report *r, const char *title, const char *text)
{
    Str *out = block(r);
    heading(out, title);
    str_add(out, "<pre class=\"yaml\">");
    for (const char *line = text; *line;) {
        size_t length = strcspn(line, "\n"), key = key_length(line, length), comment = comment_start(line, length);
        span(out, "key", line, key);
        span(out, NULL, line + key, comment - key);
        span(out, "comment", line + comment, length - comment);
        str_add(out, "\n");
        line += length + (line[length] == '\n');
    }
    str_add(out, "</pre>\n");
}
