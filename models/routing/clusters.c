#include "models/routing/clusters.h"

#include "common/hosts/language_model/data.h"

#include <stdio.h>
#include <string.h>

/* ---- Watching a forward */

/* Scores [1,h,S,K] of a layer: its heads. */
static void add_heads(Clustering *c, Tape *t, Tensor *scores)
{
    int heads = (int)tensor_dim(scores, 1), clusters = (int)tensor_dim(scores, 3);
    int64_t rows = tensor_dim(scores, 2);
    int32_t *all = mem_new((size_t)(heads * rows) * sizeof *all);
    tensor_read(t, nearest(t, scores), all); /* [1,h,S] */
    c->layer_begins = c->heads.count;
    for (int h = 0; h < heads; h++) {
        ClustersOfHead head = {.layer = c->layer, .head = h, .clusters = clusters};
        head.nearest = mem_new((size_t)c->count * sizeof *head.nearest);
        memcpy(head.nearest, all + h * rows + c->shift, (size_t)c->count * sizeof *head.nearest);
        head.member = mem_new((size_t)(c->count * clusters));
        *array_add(&c->heads) = head;
    }
    mem_free(all);
}

/* Rows [1,K w,h] that a layer's clusters chose. */
static void add_members(Clustering *c, Tape *t, Tensor *members)
{
    int64_t chosen = tensor_dim(members, 1), heads = tensor_dim(members, 2);
    int32_t *rows = mem_new((size_t)(chosen * heads) * sizeof *rows);
    tensor_read(t, members, rows);
    for (int64_t h = 0; h < heads; h++) {
        ClustersOfHead *head = &c->heads.items[c->layer_begins + (size_t)h];
        for (int64_t i = 0; i < chosen; i++) {
            int64_t token = rows[i * heads + h] - c->shift;
            if (token >= 0 && token < c->count)
                head->member[token * head->clusters + i / (chosen / head->clusters)] = 1;
        }
    }
    mem_free(rows);
}

static void note(void *user, Tape *t, const char *name, Tensor *x)
{
    Clustering *c = user;
    sscanf(name, "layer%d.in", &c->layer);
    if (strcmp(name, "routing.scores") == 0)
        add_heads(c, t, x);
    else if (strcmp(name, "routing.members") == 0)
        add_members(c, t, x);
}

Clustering clustering_of(Job *job, const int64_t *ids, int64_t count)
{
    Tape *t = job->tape;
    Clustering c = {.count = count, .shift = language_shape_of(job).shifts ? 1 : 0};
    Region before = region_open(t, EVAL, NO_GRAD);
    tape_watch(t, note, &c);
    const LanguageModel *model = language_model_of(job);
    Tensor *auxiliary = NULL, *text = tensor_from(t, I64, SHAPE(1, count), ids);
    if (!model->next(t, job->network, text))
        model->forward(t, job->network, text, &auxiliary);
    tape_watch(t, NULL, NULL);
    tape_reset(t);
    region_close(t, before);
    return c;
}

void clustering_free(Clustering *c)
{
    for (size_t i = 0; i < c->heads.count; i++) {
        mem_free(c->heads.items[i].nearest);
        mem_free(c->heads.items[i].member);
    }
    array_free(&c->heads);
}

/* ---- Which text */

typedef struct Passage {
    LanguageData data;
    Tokenizer *own; /* of a text that was given */
    const Tokenizer *tokenizer;
    int64_t *ids, count;
    char **texts; /* [count] */
} Passage;

static void passage_free(Passage *p)
{
    for (int64_t i = 0; i < p->count && p->texts; i++)
        mem_free(p->texts[i]);
    mem_free(p->texts);
    mem_free(p->ids);
    tokenizer_close(p->own);
    language_data_close(&p->data);
}

static bool read_given(Passage *p, const Job *job, const char *text, int64_t most, Error *e)
{
    TokenIds ids = {0};
    p->tokenizer = p->own = language_tokenizer(job, NULL, e);
    bool good = p->own && (tokenizer_encode(p->own, text, strlen(text), &ids, e) || error_prefix(e, "--clusters"));
    p->count = MIN((int64_t)ids.count, most);
    p->ids = mem_new((size_t)(p->count + 1) * sizeof *p->ids);
    for (int64_t i = 0; good && i < p->count; i++) {
        p->ids[i] = ids.items[i];
        if (ids.items[i] >= language_shape_of(job).vocabulary)
            good = error_set(e, "--clusters: the tokenizer has an id of %d, but the vocabulary of the model is %lld",
                             ids.items[i], (long long)language_shape_of(job).vocabulary);
    }
    array_free(&ids);
    return good && (p->count || error_set(e, "--clusters: the text is empty"));
}

static bool read_test_part(Passage *p, const Job *job, int64_t most, Error *e)
{
    if (!language_data_open(&p->data, job, false, e))
        return false;
    if (p->data.kind != DATA_OF_TEXT)
        return error_set(e, "--clusters: draws text, and data.set %s is none",
                         ((const LanguageDataConfig *)job->settings->data)->set);
    const TokenRange *range = &p->data.test_range;
    p->tokenizer = p->data.tokenizer;
    p->count = MIN(range->count, most);
    p->ids = mem_new((size_t)p->count * sizeof *p->ids);
    tokens_read(range->tokens, range->first, p->count, p->ids);
    return true;
}

/* What each token adds to the text of those before it. */
static void spell(Passage *p)
{
    Str all = {0};
    size_t before = 0;
    p->texts = mem_new((size_t)p->count * sizeof *p->texts);
    for (int64_t i = 0; i < p->count; i++) {
        str_clear(&all);
        tokenizer_decode(p->tokenizer, p->ids, i + 1, &all);
        before = MIN(before, all.length);
        p->texts[i] = str_copy(all.length ? all.text + before : "");
        before = all.length;
    }
    str_free(&all);
}

bool clusters_view(Job *job, const char *text, Error *e)
{
    static const char path[] = "clusters.html";
    LanguageShape shape = language_shape_of(job);
    int64_t most = shape.window - (shape.shifts ? 1 : 0);
    Passage p = {0};
    if (shape.given)
        return error_set(e, "--clusters: draws one text, and this model reads one and goes on with another");
    bool good = text ? read_given(&p, job, text, most, e) : read_test_part(&p, job, most, e);
    if (good) {
        Clustering c = clustering_of(job, p.ids, p.count);
        spell(&p);
        good = clusters_page(job, &c, p.texts, text ? "the given text" : "the beginning of the test text", path, e);
        clustering_free(&c);
    }
    if (good)
        log_line(job->log, "clusters: %s", path);
    passage_free(&p);
    return good;
}
