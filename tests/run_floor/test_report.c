#include "run_floor/scratch.h"
#include "common/data/image_file.h"
#include "common/run/picture.h"
#include "common/run/report_groups.h"

#include <math.h>
#include <stdio.h>

/* A text with everything that must not reach a page as it is: markup, quotes, control bytes, broken UTF-8. */
static const char HOSTILE[] = "<script>alert(\"1\")</script> & 'a' \x01 \xff \xe2\x82 \xed\xa0\x80 \xc3\xa9";
static const char ESCAPED[] = "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#39;a&#39; \xef\xbf\xbd "
                              "\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xc3\xa9";

static bool is_void(const char *tag)
{
    const char *void_tags[] = {"meta", "img", "br", "link", "input", "hr"};
    for (int i = 0; i < COUNT_OF(void_tags); i++)
        if (!strcmp(tag, void_tags[i]))
            return true;
    return false;
}

/* Every tag is closed by its own name in the right order, no attribute is broken, and no bare & or > is left over. */
static void assert_well_formed(const char *html)
{
    enum { DEEPEST = 64 };
    char open[DEEPEST][16];
    int depth = 0;
    const char *c = html + strlen("<!doctype html>");
    assert_true(str_starts(html, "<!doctype html>"));
    while (*c) {
        if (*c == '&')
            assert_true(c[1] == '#' || !strncmp(c, "&lt;", 4) || !strncmp(c, "&gt;", 4) || !strncmp(c, "&amp;", 5) ||
                        !strncmp(c, "&quot;", 6));
        bool in_style = depth && !strcmp(open[depth - 1], "style");
        if (*c == '>' && !in_style)
            fail_msg("a bare '>' at '%.60s'", c);
        if (*c++ != '<')
            continue;
        bool closing = *c == '/';
        char tag[16];
        int n = snprintf(tag, sizeof tag, "%.*s", (int)strspn(c + closing, "abcdefghijklmnopqrstuvwxyz0123456789"),
                         c + closing);
        assert_true(n > 0);
        for (c += closing + n; *c != '>'; c++) { /* attributes: quoted to their end */
            assert_true(*c && *c != '<');
            if (*c == '"') {
                c = strchr(c + 1, '"');
                assert_non_null(c);
            }
        }
        bool closed_at_once = c[-1] == '/';
        c++;
        if (closing) {
            assert_true(depth > 0);
            assert_string_equal(open[--depth], tag);
        } else if (!closed_at_once && !is_void(tag)) {
            assert_true(depth < DEEPEST);
            strcpy(open[depth++], tag);
        }
    }
    assert_int_equal(depth, 0);
}

static int occurrences(const char *text, const char *word)
{
    int count = 0;
    for (; (text = strstr(text, word)); text += strlen(word))
        count++;
    return count;
}

/* Writes the report, checks it, and gives its text (free it). */
static char *page_of(Report *r, const char *folder)
{
    Error e;
    char *path = path_join(folder, "report.html");
    if (!report_write(r, path, &e))
        fail_msg("%s", e.text);
    char *html = file_read(path, NULL, &e);
    assert_non_null(html);
    assert_well_formed(html);
    mem_free(path);
    report_free(r);
    return html;
}

static Str small_png(void)
{
    Str png = {0};
    Image image = {0};
    image_reshape(&image, 3, 2, 3);
    memset(image.pixels, 128, image_bytes(&image));
    assert_true(image_encode_png(&image, &png, NULL));
    image_free(&image);
    return png;
}

static void every_text_is_escaped(void **state)
{
    const char *names[] = {HOSTILE, HOSTILE};
    double x[] = {1, 2, 3}, y[] = {3, 2, 1};
    ReportSeries series = {HOSTILE, x, y, 3};
    Str png = small_png();
    ReportPicture picture = {png.text, png.length, HOSTILE};
    ReportCard card = {&picture, 1, HOSTILE, HOSTILE, REPORT_BAD, 0.5};

    Report *r = report_begin(HOSTILE, HOSTILE); /* title twice, subtitle */
    report_figures(r, &(ReportFigure){HOSTILE, HOSTILE, HOSTILE, HOSTILE}, 1);
    report_section(r, HOSTILE, HOSTILE); /* heading, intro, navigation */
    report_curves(r, &(ReportChart){HOSTILE, HOSTILE, &series, 1, false, HOSTILE, 2});
    report_confusion(r, names, (int64_t[]){5, 1, 2, 5}, 2);
    report_gallery(r, HOSTILE, &card, 1);
    report_table(r, HOSTILE, names, 2, (const char *[]){HOSTILE, HOSTILE}, 1);
    report_pairs(r, HOSTILE, &(ReportPair){HOSTILE, HOSTILE}, 1);
    report_text(r, HOSTILE, HOSTILE);
    report_code(r, HOSTILE, HOSTILE);
    report_tokens(r, HOSTILE, &(ReportToken){HOSTILE, 0, false, HOSTILE}, 1);
    report_group_sizes(r, HOSTILE, (double[]){1}, names, 1);
    report_pair_maps(r, HOSTILE, &(ReportPairMap){HOSTILE, HOSTILE, (int16_t[]){0}, 1}, 1);
    report_section(r, "Second", NULL);
    report_yaml(r, HOSTILE, HOSTILE);
    char *html = page_of(r, *state);
    assert_int_equal(occurrences(html, "<script"), 0);
    for (const char *c = html; *c; c++)
        assert_false((unsigned char)*c == 0xff || *c == 1);
    /* 3 + 4 + 3 | chart: title twice, legend, mark, 3 tips of x label and name, x label: 11 | confusion: 4 names, 4
     * titles of 1 and 2 names (6), 2 mistakes of 2 (4): 14 | card: alt, 2 | heading and 4 | 3 | 2 | 2 | 2 |
     * tokens: heading, text, note; sizes: heading, note; map: heading, caption, alt: 8 */
    assert_int_equal(occurrences(html, ESCAPED), 10 + 11 + 14 + 4 + 5 + 3 + 2 + 2 + 2 + 8);
    mem_free(html);
    str_free(&png);
}

static void stands_alone(void **state)
{
    Str png = small_png();
    ReportPicture picture = {png.text, png.length, "gray"};
    Report *r = report_begin("Title", NULL);
    report_gallery(r, NULL, &(ReportCard){&picture, 1, "caption", NULL, REPORT_PLAIN, NAN}, 1);
    char *html = page_of(r, *state);
    assert_int_equal(occurrences(html, "http"), 0);
    assert_int_equal(occurrences(html, "url("), 0);
    assert_int_equal(occurrences(html, "<link"), 0);
    assert_int_equal(occurrences(html, "src="), 1);
    assert_int_equal(occurrences(html, "src=\"data:image/png;base64,iVBORw0KGgo"), 1);
    assert_int_equal(occurrences(html, "width=\"3\" height=\"2\""), 1);
    mem_free(html);
    str_free(&png);
}

/* The picture of a page, decoded again, is the picture that went in. */
static void pictures_survive_base64(void **state)
{
    for (size_t extra = 0; extra < 3; extra++) {
        Str png = small_png();
        str_add_bytes(&png, "\xff\xfe\xfd", extra); /* what follows a PNG's end is ignored */
        ReportPicture picture = {png.text, png.length, ""};
        Report *r = report_begin("Title", NULL);
        report_gallery(r, NULL, &(ReportCard){&picture, 1, "", NULL, REPORT_PLAIN, NAN}, 1);
        char *html = page_of(r, *state), *code = strstr(html, "base64,") + strlen("base64,");
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        size_t bytes = 0;
        uint32_t bits = 0;
        for (int n = 0; *code != '"' && *code != '='; n++, code++) {
            bits = bits << 6 | (uint32_t)(strchr(digits, *code) - digits);
            if (n % 4) {
                unsigned shift = 6 - 2 * (unsigned)(n % 4);
                assert_int_equal((unsigned char)png.text[bytes++], bits >> shift & 0xff);
            }
        }
        assert_int_equal(bytes, png.length);
        mem_free(html);
        str_free(&png);
    }
}

static char *chart_page(const char *folder, const double *x, const double *y, int count, bool percent)
{
    ReportSeries series = {"train", x, y, count};
    Report *r = report_begin("Title", NULL);
    report_curves(r, &(ReportChart){"Loss", "epoch", &series, 1, percent, NULL, 0});
    return page_of(r, folder);
}

static void charts_have_sensible_ticks(void **state)
{
    double x[] = {1, 2, 3}, y[] = {0.517, 0.75, 0.93};
    char *html = chart_page(*state, x, y, 3, true);
    /* 51.7 to 93 % in steps of 10; epochs 1, 2, 3 and none between */
    assert_non_null(strstr(html, "bottom:0.00%\">50&#8201;%</span>"));
    assert_non_null(strstr(html, "bottom:100.00%\">100&#8201;%</span>"));
    assert_non_null(strstr(html, "left:50.00%\">2</span>"));
    assert_null(strstr(html, ">1.5</span>"));
    assert_non_null(strstr(html, "train <b>93.00&#8201;%</b>"));
    mem_free(html);
}

/* Nothing to draw, one point, equal values, infinities: a page all the same, without nan or inf in it. */
static void charts_draw_what_there_is(void **state)
{
    double x[] = {1, 2, 3, 4}, equal[] = {2, 2, 2, 2}, wild[] = {NAN, INFINITY, 1, -INFINITY}, zero[] = {0, 0, 0, 0};
    const struct {
        const double *y;
        int count, columns;
    } cases[] = {{equal, 0, 0}, {equal, 1, 1}, {equal, 4, 4}, {wild, 4, 1}, {wild, 2, 0}, {zero, 4, 4}};
    for (int i = 0; i < COUNT_OF(cases); i++) {
        char *html = chart_page(*state, x, cases[i].y, cases[i].count, false);
        const char *chart = strstr(html, "<figure class=\"chart\">");
        assert_int_equal(occurrences(chart, "class=\"tip\""), cases[i].columns);
        assert_null(strstr(chart, "nan"));
        assert_null(strstr(chart, "inf"));
        mem_free(html);
    }
}

static void long_curves_stay_small(void **state)
{
    enum { COUNT = 100000 };
    double *x = mem_new(COUNT * sizeof *x), *y = mem_new(COUNT * sizeof *y);
    for (int i = 0; i < COUNT; i++) {
        x[i] = i;
        y[i] = exp(-i / 20000.0) + 0.1 * sin(i);
    }
    char *html = chart_page(*state, x, y, COUNT, false);
    assert_true(strlen(html) < 80000);
    assert_int_equal(occurrences(html, "class=\"band c1\""), 1);
    assert_int_equal(occurrences(html, "class=\"tip\""), 100);
    mem_free(html);
    mem_free(x);
    mem_free(y);
}

static char *confusion_page(const char *folder, int classes)
{
    int64_t *counts = mem_new((size_t)(classes * classes) * sizeof *counts);
    char **names = mem_new((size_t)classes * sizeof *names);
    for (int i = 0; i < classes; i++) {
        names[i] = str_format("class %d", i);
        counts[i * classes + i] = 1000;
        counts[i * classes + (i + 1) % classes] = i + 1;
    }
    Report *r = report_begin("Title", NULL);
    report_confusion(r, (const char *const *)names, counts, classes);
    char *html = page_of(r, folder);
    names_free(names, classes);
    mem_free(counts);
    return html;
}

static void confusion_fits_its_classes(void **state)
{
    char *html = confusion_page(*state, 10);
    assert_int_equal(occurrences(html, "<table class=\"confusion\""), 1);
    assert_non_null(strstr(html, "class 3 taken for class 4: 4 of 1,004"));
    /* the worst first: class 9 for class 0, ten times */
    const char *worst = strstr(html, "<li><span><b>class 9</b> taken for <b>class 0</b>");
    assert_non_null(worst);
    assert_ptr_equal(strstr(html, "<li>"), worst);
    assert_int_equal(occurrences(html, "<li>"), 8);
    mem_free(html);
    html = confusion_page(*state, 100);
    assert_int_equal(occurrences(html, "<table"), 0);
    assert_int_equal(occurrences(html, "<rect"), 200);
    mem_free(html);
    html = confusion_page(*state, 1000);
    assert_int_equal(occurrences(html, "<rect"), 0);
    assert_int_equal(occurrences(html, "<li>"), 8);
    mem_free(html);
}

static void yaml_keys_and_comments_are_marked(void **state)
{
    Report *r = report_begin("Title", NULL);
    report_yaml(r, NULL, "train:\n  lr: 0.1 # peak\n  - name: 'a # b: c'\nurl: http://x");
    char *html = page_of(r, *state);
    assert_non_null(strstr(html, "<span class=\"key\">train</span>:\n<span class=\"key\">  lr</span>: 0.1 <span "
                                 "class=\"comment\"># peak</span>\n<span class=\"key\">  - name</span>: "
                                 "&#39;a # b: c&#39;\n<span class=\"key\">url</span>: http://x\n</pre>"));
    mem_free(html);
}

static void columns_of_numbers_stand_right(void **state)
{
    const char *columns[] = {"arm", "accuracy", "note"};
    const char *cells[] = {"1", "91.2 \xc2\xb1 0.2", "best", "2", "-", ""};
    Report *r = report_begin("Title", NULL);
    report_table(r, NULL, columns, 3, cells, 2);
    char *html = page_of(r, *state);
    assert_non_null(strstr(html, "<th>arm</th><th class=\"number\">accuracy</th><th>note</th>"));
    mem_free(html);
}

static void the_machine_is_listed(void **state)
{
    const Machine known = {"CPU <1>", "avx512", 8, 2, 8LL << 30, "Debian", "GCC 12"};
    const Machine unknown = {.cpu = "riscv64", .usable = 3};
    Report *r = report_begin("Title", NULL);
    report_machine(r, &known);
    report_machine(r, &unknown);
    char *html = page_of(r, *state);
    assert_non_null(strstr(html, "<dt>Processor</dt><dd>CPU &lt;1&gt;</dd>"));
    assert_non_null(strstr(html, "<dt>Cores</dt><dd>8; 2 logical processors for this run</dd>"));
    assert_non_null(strstr(html, "<dt>Memory</dt><dd>8.0 GiB</dd>"));
    assert_non_null(strstr(html, "<dt>Cores</dt><dd>3 logical processors for this run</dd>"));
    mem_free(html);
}

/* Colours are one group's in every block; a pair is drawn where its row and column are. */
static void groups_keep_their_colours(void **state)
{
    const ReportToken tokens[] = {{"a ", 1, false, NULL}, {"b", -1, false, NULL}, {"c", 1, true, "full"}};
    const int16_t pairs[] = {-1, -1, -1, 1, 1, -1, -1, 1, 0};
    Report *r = report_begin("Title", NULL);
    report_tokens(r, NULL, tokens, 3);
    report_group_sizes(r, NULL, (double[]){5, 20}, NULL, 2);
    report_pair_maps(r, NULL, &(ReportPairMap){"caption", "alt", pairs, 3}, 1);
    char *html = page_of(r, *state);
    assert_non_null(strstr(html, "<span class=\"token\" style=\"--h:350\">a </span>b"
                                 "<span class=\"token faint\" style=\"--h:350\" title=\"full\">c</span>"));
    assert_non_null(strstr(html, "<i style=\"--h:212;--w:25.0%\"></i><span>0</span><b>5</b>"));
    assert_non_null(strstr(html, "<i style=\"--h:350;--w:100.0%\"></i><span>1</span><b>20</b>"));
    assert_non_null(strstr(html, "<path style=\"--h:212\" d=\"M0 0m2 2h1\"/>"));
    assert_non_null(strstr(html, "<path style=\"--h:350\" d=\"M0 0m0 1h2m-1 1h1\"/>"));
    mem_free(html);
}

static void a_page_that_cannot_be_written_is_one_line(void **state)
{
    Error e;
    char *path = path_join(*state, "missing/report.html");
    Report *r = report_begin("Title", NULL);
    assert_false(report_write(r, path, &e));
    assert_non_null(strstr(e.text, path));
    report_free(r);
    mem_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(every_text_is_escaped),          SCRATCH_TEST(stands_alone),
        SCRATCH_TEST(pictures_survive_base64),        SCRATCH_TEST(charts_have_sensible_ticks),
        SCRATCH_TEST(charts_draw_what_there_is),      SCRATCH_TEST(long_curves_stay_small),
        SCRATCH_TEST(confusion_fits_its_classes),     SCRATCH_TEST(yaml_keys_and_comments_are_marked),
        SCRATCH_TEST(columns_of_numbers_stand_right), SCRATCH_TEST(the_machine_is_listed),
        SCRATCH_TEST(groups_keep_their_colours),      SCRATCH_TEST(a_page_that_cannot_be_written_is_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
