#include "models/ninformer/ninformer.h"

static bool resolve(void *config, const ConfigPlace *place, Error *e)
{
    const NinformerConfig *c = config;
    int grid = c->image_size / c->patch_size;
    if (c->image_size % c->patch_size)
        return config_refuse(place, "image_size", e, "not divisible by the patch of %d", c->patch_size);
    if (c->seq_len != grid * grid)
        return config_refuse(place, "seq_len", e, "expected (image_size / patch_size)^2 = %d", grid * grid);
    if (c->network == NETWORK_VIT && c->d_model % c->num_heads)
        return config_refuse(place, "d_model", e, "not divisible by the %d heads", c->num_heads);
    if (c->network != NETWORK_NINFORMER && c->gate != GATE_PRODUCT)
        return config_refuse(place, "gate", e, "only network: ninformer has one");
    return true;
}

static const ConfigField rows[] = {
    {CONFIG_INT("image_size", NinformerConfig, image_size, .value = "32", .range = "[1, 4096]",
                .help = "side of an image, in pixels")},
    {CONFIG_INT("patch_size", NinformerConfig, patch_size, .value = "4", .range = "[1, 4096]",
                .help = "side of a patch; divides image_size")},
    {CONFIG_INT("in_channels", NinformerConfig, in_channels, .value = "3", .range = "[1, 1024]",
                .help = "channels of an image: 1 gray, 3 colour")},
    {CONFIG_INT("num_classes", NinformerConfig, num_classes, .value = "10", .range = "[1, 1000000]",
                .help = "classes")},
    {CONFIG_INT("d_model", NinformerConfig, d_model, .value = "256", .range = "[1, 65536]",
                .help = "width of a token")},
    {CONFIG_INT("d_ffn", NinformerConfig, d_ffn, .value = "512", .range = "[1, 262144]",
                .help = "hidden width of every feed-forward network, the token mixing one too")},
    {CONFIG_INT("seq_len", NinformerConfig, seq_len, .value = "64", .range = "[1, 16777216]",
                .help = "tokens: (image_size / patch_size)^2, which token mixing ties the network to")},
    {CONFIG_INT("num_layers", NinformerConfig, num_layers, .value = "4", .range = "[1, 1000]", .help = "blocks")},
    {CONFIG_NUMBER("dropout", NinformerConfig, dropout, .value = "0.5", .range = "[0, 1)",
                   .help = "of both results in every feed-forward network; vit: as Dosovitskiy et al.")},
    {CONFIG_ENUM("network", NinformerConfig, network, CONFIG_WORDS("ninformer", "mixer", "vit"), .value = "ninformer",
                 .help = "mixer and vit are the networks that the paper compares with")},
    {CONFIG_ENUM("gate", NinformerConfig, gate, CONFIG_WORDS("product", "sum", "unmixed"), .value = "product",
                 .help = "what a block adds: u * v; sum: u + v; unmixed: u * Z, a gate that mixes no tokens")},
    {CONFIG_INT("num_heads", NinformerConfig, num_heads, .value = "4", .range = "[1, 4096]",
                .help = "attention heads of network: vit; divides d_model")},
};

const ConfigTable ninformer_config_table = {CONFIG_STRUCT(NinformerConfig), CONFIG_ROWS(rows), .resolve = resolve};
