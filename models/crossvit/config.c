#include "models/crossvit/crossvit.h"

static bool resolve(void *config, const ConfigPlace *place, Error *e)
{
    CrossvitConfig *c = config;
    for (int b = 0; b < BRANCHES; b++) {
        if (c->img_size[b] % c->patch_size[b])
            return config_refuse(place, "img_size", e, "branch %d: side %d is not divisible by its patch of %d", b,
                                 c->img_size[b], c->patch_size[b]);
        if (c->embed_dim[b] % c->num_heads[b])
            return config_refuse(place, "embed_dim", e, "branch %d: width %d is not divisible by its %d heads", b,
                                 c->embed_dim[b], c->num_heads[b]);
        if (c->multi_conv && c->patch_size[b] != 12 && c->patch_size[b] != 16)
            return config_refuse(place, "multi_conv", e, "it exists for patches of 12 and 16, branch %d has %d", b,
                                 c->patch_size[b]);
        if (c->multi_conv && c->embed_dim[b] % 4)
            return config_refuse(place, "multi_conv", e, "branch %d: width %d is not a multiple of 4", b,
                                 c->embed_dim[b]);
    }
    for (int s = 0; s < c->stages; s++)
        if (c->depth[s][0] < 1 || c->depth[s][0] > c->depth[s][1])
            return config_refuse(place, "depth", e,
                                 "stage %d: expected 1 <= blocks of the small branch <= blocks of the large one", s);
    if (c->stages < 1)
        return config_refuse(place, "depth", e, "expected at least one stage");
    if (c->branches != BRANCH_BOTH && c->fusion != FUSION_NONE)
        return config_refuse(place, "branches", e, "a single branch has nothing to fuse with: set fusion: none");
    return true;
}

static const ConfigField rows[] = {
    {CONFIG_INT_ARRAY("img_size", CrossvitConfig, img_size, .value = "[240, 224]", .range = "[1, 4096]",
                      .help = "image side of each branch, divisible by its patch")},
    {CONFIG_INT_ARRAY("patch_size", CrossvitConfig, patch_size, .value = "[12, 16]", .range = "[1, 4096]",
                      .help = "patch side of each branch; with multi_conv 12 or 16")},
    {CONFIG_INT("in_chans", CrossvitConfig, in_chans, .value = "3", .range = "[1, 1024]", .help = "image channels")},
    {CONFIG_INT("num_classes", CrossvitConfig, num_classes, .value = "1000", .range = "[1, 1000000]",
                .help = "classes")},
    {CONFIG_INT_ARRAY("embed_dim", CrossvitConfig, embed_dim, .value = "[192, 384]", .range = "[1, 65536]",
                      .help = "width of each branch")},
    {CONFIG_INT_ARRAY_LIST("depth", CrossvitConfig, depth, stages, .value = "[[1, 4, 0], [1, 4, 0], [1, 4, 0]]",
                           .range = "[0, 1000]",
                           .help = "for each stage: blocks of the small branch, of the large one, fusion blocks (0: "
                                   "one)")},
    {CONFIG_INT_ARRAY("num_heads", CrossvitConfig, num_heads, .value = "[6, 6]", .range = "[1, 4096]",
                      .help = "heads of each branch; a fusion uses the other branch's")},
    {CONFIG_NUMBER_ARRAY("mlp_ratio", CrossvitConfig, mlp_ratio, .value = "[4, 4, 1]", .range = "(0, 64]",
                         .help = "hidden width of each branch's MLP, as a multiple; the third is not used")},
    {CONFIG_BOOL("qkv_bias", CrossvitConfig, qkv_bias, .value = "true", .help = "bias of qkv, wq, wk, wv")},
    {CONFIG_NUMBER("qk_scale", CrossvitConfig, qk_scale, CONFIG_OR_NULL(CrossvitConfig, has_qk_scale), .value = "null",
                   .help = "score scale of the fusion; null: head width ^ -1/2")},
    {CONFIG_NUMBER("drop_rate", CrossvitConfig, drop_rate, .value = "0", .range = "[0, 1)",
                   .help = "dropout after the position embedding and the linear layers")},
    {CONFIG_NUMBER("attn_drop_rate", CrossvitConfig, attn_drop_rate, .value = "0", .range = "[0, 1)",
                   .help = "dropout of attention probabilities")},
    {CONFIG_NUMBER("drop_path_rate", CrossvitConfig, drop_path_rate, .value = "0", .range = "[0, 1)",
                   .help = "stochastic depth: the last block's rate")},
    {CONFIG_BOOL("multi_conv", CrossvitConfig, multi_conv, .value = "false",
                 .help = "three convolutions embed the patches (the dagger models)")},
    {CONFIG_ENUM("fusion", CrossvitConfig, fusion,
                 CONFIG_WORDS("cross_attention", "none", "class_token", "pairwise", "all_attention"),
                 .value = "cross_attention", .help = "how the branches meet")},
    {CONFIG_ENUM("branches", CrossvitConfig, branches, CONFIG_WORDS("both", "small", "large"), .value = "both",
                 .help = "one branch alone is the paper's single-branch baseline")},
};

const ConfigTable crossvit_config_table = {CONFIG_STRUCT(CrossvitConfig), CONFIG_ROWS(rows), .resolve = resolve};
