#include "common/run/report_groups.h"

#include "common/base/memory.h"
#include "common/run/report_parts.h"

#include <math.h>

/* Neighbours in number are far apart in hue, whatever their count: steps of the golden angle. */
static double hue(int group)
{
    return fmod(212 + 137.508 * group, 360);
}

static void token_add(Str *out, const ReportToken *token)
{
    if (token->group < 0) {
        html_add(out, token->text);
        return;
    }
    str_add(out, "<span class=\"token%s\" style=\"--h:%.0f\"", token->faint ? " faint" : "", hue(token->group));
    if (token->note) {
        str_add(out, " title=\"");
        html_add(out, token->note);
        str_add(out, "\"");
    }
    str_add(out, ">");
    html_add(out, token->text);
    str_add(out, "</span>");
}

void tokens_add(Str *out, const ReportToken *tokens, int count)
{
    str_add(out, "<p class=\"text tokens\">");
    for (int i = 0; i < count; i++)
        token_add(out, &tokens[i]);
    str_add(out, "</p>\n");
}

void group_sizes_add(Str *out, const double *values, const char *const *notes, int groups)
{
    double largest = 0;
    for (int i = 0; i < groups; i++)
        largest = fmax(largest, values[i]);
    str_add(out, "<ol class=\"sizes\" start=\"0\">\n");
    for (int i = 0; i < groups; i++) {
        str_add(out, "<li><i style=\"--h:%.0f;--w:%.1f%%\"></i><span>%d</span><b>%.9g</b><small>", hue(i),
                largest > 0 ? 100 * values[i] / largest : 0, i, values[i]);
        html_add(out, notes && notes[i] ? notes[i] : "");
        str_add(out, "</small></li>\n");
    }
    str_add(out, "</ol>\n");
}

/* The pairs of one group, row by row, as strokes of 1. */
static void pairs_path_add(Str *out, const ReportPairMap *map, int group)
{
    int x = 0, y = 0;
    for (int row = 0; row < map->side; row++)
        for (int first = 0, last; first < map->side; first = last + 1) {
            last = first;
            while (last < map->side && map->groups[row * map->side + last] == group)
                last++;
            if (last == first)
                continue;
            str_add(out, "m%d %dh%d", first - x, row - y, last - first);
            x = last;
            y = row;
        }
}

static void pair_map_add(Str *out, const ReportPairMap *map)
{
    int groups = 0;
    for (int i = 0; i < map->side * map->side; i++)
        groups = MAX(groups, map->groups[i] + 1);
    str_add(out, "<figure class=\"card\"><svg class=\"pairmap\" viewBox=\"0 -.5 %d %d\" role=\"img\" aria-label=\"",
            map->side, map->side);
    html_add(out, map->alt);
    str_add(out, "\">\n");
    for (int group = 0; group < groups; group++) {
        str_add(out, "<path style=\"--h:%.0f\" d=\"M0 0", hue(group));
        pairs_path_add(out, map, group);
        str_add(out, "\"/>\n");
    }
    str_add(out, "</svg><figcaption>");
    html_add(out, map->caption);
    str_add(out, "</figcaption></figure>\n");
}

void pair_maps_add(Str *out, const ReportPairMap *maps, int count)
{
    str_add(out, "<div class=\"gallery\" style=\"--pictures:4\">\n");
    for (int i = 0; i < count; i++)
        pair_map_add(out, &maps[i]);
    str_add(out, "</div>\n");
}
