/* What CrossViT is trained for and how it is looked at. */
#include "models/crossvit/task.h"

#include "common/data/image_file.h"
#include "common/hosts/classification/classification.h"
#include "models/crossvit/golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *create(const void *config, Params *params)
{
    return crossvit_new(config, params);
}

static void destroy(void *network)
{
    crossvit_free(network);
}

static void trace(Tape *t, const void *network, const void *config)
{
    const CrossvitConfig *c = config;
    int side = c->branches == BRANCH_LARGE ? c->img_size[1] : c->img_size[0];
    Tensor *x = tensor_from(t, F32, SHAPE(1, c->in_chans, side, side), NULL);
    crossvit_forward(t, network, x, NULL);
    tape_reset(t);
}

static Tensor *forward(Tape *t, const void *network, Tensor *x, Tensor **parts)
{
    return crossvit_forward(t, network, x, parts);
}

static int classes(const void *config)
{
    return ((const CrossvitConfig *)config)->num_classes;
}

static int channels(const void *config)
{
    return ((const CrossvitConfig *)config)->in_chans;
}

/* ---- What the class tokens look at: the last stage's cross attention, mean over the heads */

typedef struct MapSeeker {
    char names[BRANCHES][64];
    AttentionMap *maps;
    int room, count;
} MapSeeker;

/* P [1,H,1,1+N]: the first key is the class token itself. */
static void seek_map(void *user, Tape *t, const char *name, Tensor *p)
{
    MapSeeker *s = user;
    for (int b = 0; b < BRANCHES; b++) {
        if (strcmp(name, s->names[b]) || s->count == s->room)
            continue;
        int64_t heads = p->shape.dim[1], keys = p->shape.dim[3], patches = keys - 1;
        int grid = 1;
        while ((int64_t)grid * grid < patches)
            grid++;
        float *values = mem_new((size_t)(heads * keys) * sizeof *values),
              *mean = mem_new((size_t)patches * sizeof *mean);
        tensor_read(t, p, values);
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < patches; i++)
                mean[i] += values[h * keys + 1 + i] / (float)heads;
        mem_free(values);
        s->maps[s->count++] = (AttentionMap){.name = b ? "the large branch's class token, over the small patches"
                                                       : "the small branch's class token, over the large patches",
                                             .height = grid,
                                             .width = grid,
                                             .weights = mean};
    }
}

static int attention(Tape *t, const void *network, Tensor *x, AttentionMap *maps, int room)
{
    MapSeeker s = {.maps = maps, .room = room};
    for (int b = 0; b < BRANCHES; b++)
        snprintf(s.names[b], sizeof s.names[b], "stage%d.attention%d", crossvit_stages(network) - 1, b);
    tape_watch(t, seek_map, &s);
    crossvit_forward(t, network, x, NULL);
    tape_watch(t, NULL, NULL);
    return s.count;
}

/* Position embeddings of another grid are resized. */
static bool adapt(void *tape, const Param *param, Shape stored, const float *values, float *out)
{
    const Shape wanted = param->value.shape;
    if (strncmp(param->name, "pos_embed.", 10) || stored.rank != 3 || stored.dim[0] != 1 ||
        stored.dim[2] != wanted.dim[2])
        return false;
    int64_t grid = 1, old = 1;
    while (grid * grid < wanted.dim[1] - 1)
        grid++;
    while (old * old < stored.dim[1] - 1)
        old++;
    if (old * old != stored.dim[1] - 1)
        return false;
    Tape *t = tape;
    Region before = region_open(t, EVAL, NO_GRAD);
    tensor_read(t, crossvit_resize_positions(t, tensor_from(t, F32, stored, values), grid), out);
    tape_reset(t);
    region_close(t, before);
    return true;
}

static const Classifier classifier = {
    .forward = forward,
    .parts = {"small", "large", NULL},
    .head = "head.",
    .classes = classes,
    .channels = channels,
    .classes_key = "num_classes",
    .channels_key = "in_chans",
    .attention = attention,
};

static bool show_attention(Job *job, const char *path, Error *e)
{
    return classification_show_attention(job, path, "attention.png", e);
}

static const ModelView views[] = {
    {"--attention", "IMAGE", "draws what the class token of either branch attends to into attention.png",
     show_attention},
    {0},
};

const Model crossvit_model = {
    .name = "crossvit",
    .title = "CrossViT",
    .config = &crossvit_config_table,
    .create = create,
    .destroy = destroy,
    .trace = trace,
    .workload = &classification_workload,
    .workload_hooks = &classifier,
    .golden = crossvit_golden,
    .rename = crossvit_timm_name,
    .adapt = adapt,
    .views = views,
    .table = crossvit_table,
};
