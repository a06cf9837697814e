/* clusters.html: a text in the colours of its clusters, layer by layer. */
#include "common/run/report_groups.h"
#include "models/routing/clusters.h"

#include <stdio.h>
#include <string.h>

enum { MOST_TOKENS = 1024, FEWEST_TOKENS = 200, MOST_COLOURED = 60000, MOST_MAPPED = 256, MOST_MAPS = 16 };

/* The cluster in which query i sees key j: the query's nearest if that is one of them. -1: it does not see it. */
static int seen_in(const ClustersOfHead *h, int64_t query, int64_t key)
{
    const uint8_t *of_query = h->member + query * h->clusters, *of_key = h->member + key * h->clusters;
    int own = h->nearest[query];
    if (key > query)
        return -1;
    if (of_query[own] && of_key[own])
        return own;
    for (int c = 0; c < h->clusters; c++)
        if (of_query[c] && of_key[c])
            return c;
    return -1;
}

/* ---- Figures */

typedef struct HeadFigures {
    int64_t none, several; /* tokens in no cluster, in more than one */
    double pairs;          /* share of the pairs (query, key before it or itself) that are seen */
} HeadFigures;

static int clusters_of(const ClustersOfHead *h, int64_t token)
{
    int count = 0;
    for (int c = 0; c < h->clusters; c++)
        count += h->member[token * h->clusters + c];
    return count;
}

static HeadFigures figures_of(const ClustersOfHead *h, int64_t count)
{
    HeadFigures f = {0};
    int64_t seen = 0;
    for (int64_t i = 0; i < count; i++) {
        int clusters = clusters_of(h, i);
        f.none += clusters == 0;
        f.several += clusters > 1;
        for (int64_t j = 0; j <= i; j++)
            seen += seen_in(h, i, j) >= 0;
    }
    f.pairs = (double)seen / ((double)count * (double)(count + 1) / 2);
    return f;
}

static void add_figures(Report *r, const Clustering *c)
{
    const ClustersOfHead *first = &c->heads.items[0], *last = &c->heads.items[c->heads.count - 1];
    double pairs = 0;
    for (size_t i = 0; i < c->heads.count; i++)
        pairs += figures_of(&c->heads.items[i], c->count).pairs / (double)c->heads.count;
    char *tokens = str_format("%lld", (long long)c->count), *heads = str_format("%zu", c->heads.count);
    char *where = str_format("in layers %d to %d", first->layer, last->layer);
    char *clusters = str_format("%d", first->clusters), *share = str_format("%.1f", 100 * pairs);
    const ReportFigure figures[] = {{"tokens", tokens, NULL, NULL},
                                    {"routing heads", heads, NULL, where},
                                    {"clusters of a head", clusters, NULL, NULL},
                                    {"pairs attended to", share, "%", "of all that dense causal attention has"}};
    report_figures(r, figures, COUNT_OF(figures));
    mem_free(tokens);
    mem_free(heads);
    mem_free(where);
    mem_free(clusters);
    mem_free(share);
}

/* ---- One head */

static char *token_note(const ClustersOfHead *h, int64_t token)
{
    Str text = {0};
    str_add(&text, "nearest to cluster %d; attends in", h->nearest[token]);
    for (int c = 0; c < h->clusters; c++)
        if (h->member[token * h->clusters + c])
            str_add(&text, " %d", c);
    if (!clusters_of(h, token))
        str_add(&text, " none");
    return text.text;
}

static void add_tokens(Report *r, const ClustersOfHead *h, char *const *texts, int64_t count)
{
    char *heading = str_format("Head %d", h->head);
    ReportToken *tokens = mem_new((size_t)count * sizeof *tokens);
    for (int64_t i = 0; i < count; i++) {
        int own = h->nearest[i];
        tokens[i] = (ReportToken){
            .text = texts[i], .group = own, .faint = !h->member[i * h->clusters + own], .note = token_note(h, i)};
    }
    report_tokens(r, heading, tokens, (int)count);
    for (int64_t i = 0; i < count; i++)
        mem_free((char *)tokens[i].note);
    mem_free(tokens);
    mem_free(heading);
}

static void add_sizes(Report *r, const ClustersOfHead *h, int64_t count)
{
    double *sizes = mem_new((size_t)h->clusters * sizeof *sizes);
    char **notes = mem_new((size_t)h->clusters * sizeof *notes);
    for (int c = 0; c < h->clusters; c++) {
        int members = 0;
        for (int64_t i = 0; i < count; i++) {
            sizes[c] += h->nearest[i] == c;
            members += h->member[i * h->clusters + c];
        }
        notes[c] = str_format("nearest, %d attend", members);
    }
    report_group_sizes(r, NULL, sizes, (const char *const *)notes, h->clusters);
    for (int c = 0; c < h->clusters; c++)
        mem_free(notes[c]);
    mem_free(sizes);
    mem_free(notes);
}

/* ---- One layer: heads [first, end) */

static void add_maps(Report *r, const Clustering *c, size_t first, size_t end)
{
    int side = (int)MIN(c->count, (int64_t)MOST_MAPPED);
    size_t count = end - first;
    ReportPairMap *maps = mem_new(count * sizeof *maps);
    for (size_t i = 0; i < count; i++) {
        const ClustersOfHead *h = &c->heads.items[first + i];
        int16_t *groups = mem_new((size_t)(side * side) * sizeof *groups);
        for (int query = 0; query < side; query++)
            for (int key = 0; key < side; key++)
                groups[query * side + key] = (int16_t)seen_in(h, query, key);
        maps[i] = (ReportPairMap){
            .caption = str_format("Head %d: %.1f %% of the pairs", h->head, 100 * figures_of(h, c->count).pairs),
            .alt = "which tokens (columns) each token (row) attends to",
            .groups = groups,
            .side = side};
    }
    char *heading = str_format("Who attends to whom, the first %d tokens (row: who; column: to whom)", side);
    report_pair_maps(r, heading, maps, (int)count);
    mem_free(heading);
    for (size_t i = 0; i < count; i++) {
        mem_free((char *)maps[i].caption);
        mem_free((int16_t *)maps[i].groups);
    }
    mem_free(maps);
}

static void add_layer(Report *r, const Clustering *c, size_t first, size_t end, char *const *texts)
{
    int64_t shown = MOST_COLOURED / (int64_t)c->heads.count;
    shown = MIN(c->count, MIN(MAX(shown, (int64_t)FEWEST_TOKENS), (int64_t)MOST_TOKENS));
    char *heading = str_format("Layer %d", c->heads.items[first].layer);
    report_section(r, heading, NULL);
    mem_free(heading);
    add_maps(r, c, first, c->heads.count <= MOST_MAPS ? end : first + 1);
    for (size_t i = first; i < end; i++) {
        add_tokens(r, &c->heads.items[i], texts, shown);
        add_sizes(r, &c->heads.items[i], c->count);
    }
}

static void add_table(Report *r, const Clustering *c)
{
    static const char *const columns[] = {"head", "in no cluster", "in several", "pairs attended to, %"};
    size_t width = COUNT_OF(columns), count = c->heads.count;
    char **cells = mem_new(width * count * sizeof *cells);
    for (size_t i = 0; i < count; i++) {
        const ClustersOfHead *h = &c->heads.items[i];
        HeadFigures f = figures_of(h, c->count);
        cells[width * i] = str_format("layer %d, head %d", h->layer, h->head);
        cells[width * i + 1] = str_format("%lld", (long long)f.none);
        cells[width * i + 2] = str_format("%lld", (long long)f.several);
        cells[width * i + 3] = str_format("%.1f", 100 * f.pairs);
    }
    report_section(r, "All heads",
                   "Each cluster takes the tokens nearest to its mean, so many for every cluster: a token may be in "
                   "several clusters or in none, and then the head gives 0 for it.");
    report_table(r, NULL, columns, (int)width, (const char *const *)cells, (int)count);
    for (size_t i = 0; i < width * count; i++)
        mem_free(cells[i]);
    mem_free(cells);
}

bool clusters_page(const Job *job, const Clustering *c, char *const *texts, const char *about, const char *path,
                   Error *e)
{
    if (!c->heads.count)
        return error_set(e, "--clusters: no head of this model routes");
    char *subtitle = str_format("%s, %s. A token has the colour of the cluster that it is nearest to, as a line where "
                                "the cluster is full without it; it attends to the members of its clusters before it.",
                                job->from ? job->from : job->model->title, about);
    Report *r = report_begin("Which token attends in which cluster", subtitle);
    add_figures(r, c);
    for (size_t first = 0, end; first < c->heads.count; first = end) {
        end = first;
        while (end < c->heads.count && c->heads.items[end].layer == c->heads.items[first].layer)
            end++;
        add_layer(r, c, first, end, texts);
    }
    add_table(r, c);
    bool good = report_write(r, path, e);
    report_free(r);
    mem_free(subtitle);
    return good;
}
