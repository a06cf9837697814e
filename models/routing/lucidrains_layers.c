#include "models/routing/lucidrains_layers.h"

#include "common/base/memory.h"

#include <string.h>

enum { FF_MULTIPLE = 4 };
static const float EPS = 1e-5f;
static const double COMMITMENT = 1e-4;

/* W_2 gelu(W_1 x), or gated: W_2 (gelu(a) v) with [a|v] = W_1 x. */
typedef struct FeedForward {
    Linear w1, w2;
    bool glu;
    float dropout;
    uint32_t site;
} FeedForward;

/* What stands around a branch: a norm of either kind before it, or a factor behind it. */
typedef struct Wrapper {
    LayerNorm norm;
    Tensor *g;               /* ScaleNorm (Nguyen and Salazar 2019) */
    Tensor *residual_weight; /* ReZero (Bachlechner et al. 2020) */
} Wrapper;

typedef struct Layer {
    Wrapper around[2]; /* branch 0 is attention, 1 the feed-forward */
    struct Module *module;
} Layer;

/* Where the parameters of a module are that several layers may share. */
typedef struct Names {
    int first, last;
    size_t cut; /* characters before their own names */
} Names;

/* Attention and feed-forward of one layer, or of all that are tied. */
typedef struct Module {
    MixedAttention attention;
    FeedForward feed_forward;
    Names names[2];
} Module;

struct LayerStack {
    Layer *layers;
    Module *modules;
    int layer_count, module_count;
    int shifts; /* 0: tokens are not shifted; 2: by 0, 1; 3: by -1, 0, 1 */
    bool reversible;
    float layer_dropout;
    bool *taken; /* of the layers: whether it is part of the present forward */
    uint32_t site;
};

/* ---- Parameters */

/* The parameters of a tied module have the names, too, that they would have behind the prefix in force. */
static void repeat_names(Params *p, const Names *names)
{
    for (int i = names->first; i < names->last; i++)
        params_alias(p, params_at(p, i)->name + names->cut, &params_at(p, i)->value);
}

static FeedForward feed_forward_new(Params *p, const LucidrainsConfig *c)
{
    int64_t hidden = (int64_t)FF_MULTIPLE * c->dim;
    FeedForward f = {.glu = c->ff_glu, .dropout = (float)c->ff_dropout, .site = random_site(params_name(p, "dropout"))};
    f.w1 = linear_torch_new(p, "w1", c->dim, c->ff_glu ? 2 * hidden : hidden, true);
    f.w2 = linear_torch_new(p, "w2", hidden, c->dim, true);
    return f;
}

static Wrapper wrapper_new(Params *p, const LucidrainsConfig *c)
{
    Wrapper w = {0};
    if (c->use_rezero)
        w.residual_weight = params_add(p, "residual_weight", SHAPE(1), INIT_ZEROS);
    else if (c->use_scale_norm)
        w.g = params_add(p, "norm.g", SHAPE(1), INIT_ONES);
    else
        w.norm = layer_norm_new(p, "norm", c->dim, EPS);
    return w;
}

static MixedShape attention_shape(const LucidrainsConfig *c, int layer, bool context)
{
    int local = c->n_local_attn_heads[c->n_local_attn_heads_count == 1 ? 0 : layer];
    return (MixedShape){.dim = c->dim,
                        .heads = c->heads,
                        .local_heads = context ? 0 : local,
                        .width = c->dim_head,
                        .clusters = c->max_seq_len / c->window_size,
                        .window = c->window_size,
                        .local_window = c->local_attn_window_size,
                        .local_radius = c->local_attn_radius_blocks,
                        .memory = c->num_mem_kv,
                        .causal = c->causal && !context,
                        .shared_qk = context ? c->context_shared_qk : c->shared_qk,
                        .receives_context = context,
                        .commitment = COMMITMENT,
                        .decay = c->kmeans_ema_decay,
                        .attn_dropout = c->attn_dropout,
                        .dropout = c->attn_layer_dropout};
}

/* Branch names stand behind `fn` for the wrapper, for shifted tokens and, in the feed-forward, for chunks. */
static void enter_wrapper(Params *p, const LucidrainsConfig *c, int at, int branch)
{
    if (c->reversible)
        params_enter(p, "blocks.%d.%c.net", at, branch ? 'g' : 'f');
    else
        params_enter(p, "layers.%d.%d", at, branch);
}

static void enter_module(Params *p, const LucidrainsConfig *c, int branch)
{
    static const char *const inner[] = {"fn", "fn.fn", "fn.fn.fn"};
    params_enter(p, "%s", inner[c->shift_tokens + branch]);
}

/* Layer `at` is the first that uses the module, or repeats its names. */
static Wrapper branch_new(Params *p, const LucidrainsConfig *c, int at, int branch, Module *module,
                          const MixedShape *shape)
{
    Names *names = &module->names[branch];
    enter_wrapper(p, c, at, branch);
    Wrapper around = wrapper_new(p, c);
    enter_module(p, c, branch);
    if (names->last > 0) {
        repeat_names(p, names);
    } else {
        names->cut = strlen(params_name(p, ""));
        names->first = params_count(p);
        if (branch)
            module->feed_forward = feed_forward_new(p, c);
        else
            module->attention = mixed_attention_new(p, shape);
        names->last = params_count(p);
    }
    params_leave(p);
    params_leave(p);
    return around;
}

LayerStack *layer_stack_new(Params *p, const LucidrainsConfig *c)
{
    int kinds = c->receives_context ? 2 : 1; /* a layer, and one towards the context behind it */
    LayerStack *s = mem_new(sizeof *s);
    s->shifts = !c->shift_tokens ? 0 : c->causal ? 2 : 3;
    s->reversible = c->reversible;
    s->layer_dropout = (float)c->layer_dropout;
    s->site = random_site(params_name(p, "layer_dropout"));
    s->layer_count = c->depth * kinds;
    s->module_count = c->weight_tie ? kinds : s->layer_count;
    s->layers = mem_new((size_t)s->layer_count * sizeof *s->layers);
    s->modules = mem_new((size_t)s->module_count * sizeof *s->modules);
    s->taken = mem_new((size_t)s->layer_count * sizeof *s->taken);
    for (int at = 0; at < s->layer_count; at++) {
        MixedShape shape = attention_shape(c, at / kinds, at % kinds == 1);
        Layer *l = &s->layers[at];
        l->module = &s->modules[c->weight_tie ? at % kinds : at];
        for (int branch = 0; branch < 2; branch++)
            l->around[branch] = branch_new(p, c, at, branch, l->module, &shape);
    }
    return s;
}

void layer_stack_free(LayerStack *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->module_count; i++)
        kmeans_free(&s->modules[i].attention.global_attn.kmeans);
    mem_free(s->modules);
    mem_free(s->layers);
    mem_free(s->taken);
    mem_free(s);
}

/* Who is in a cluster changes with every token, and shifted tokens would need the one before. */
Caches *layer_stack_caches(Tape *t, const LayerStack *s, int64_t rows)
{
    for (int i = 0; i < s->layer_count; i++) {
        const MixedShape *c = &s->layers[i].module->attention.shape;
        if (s->shifts || !c->causal || c->local_heads < c->heads)
            return NULL;
    }
    Caches *past = caches_new(s->layer_count);
    for (int i = 0; i < s->layer_count; i++) {
        const MixedAttention *a = &s->layers[i].module->attention;
        past->layers[i] = local_heads_past(&a->local_attn, past->owner, rows, a->shape.heads, a->shape.width);
    }
    states_allocate_on(past->owner, t);
    return past;
}

void layer_stack_update_means(Tape *t, const LayerStack *s)
{
    for (int i = 0; i < s->module_count; i++)
        kmeans_update(t, &s->modules[i].attention.global_attn.kmeans);
}

/* ---- Forward */

/* The channels in as many parts as there are shifts, each from the token before, the token itself, (or) the one behind; what
 * does not divide stays. [B,N,C] -> [B,N,C] */
static Tensor *shift_tokens(Tape *t, int shifts, Tensor *x)
{
    Tensor *parts[4];
    int64_t channels = tensor_dim(x, 2), part = channels / shifts, first = shifts == 2 ? 0 : -1;
    for (int i = 0; i < shifts; i++)
        parts[i] = shift(t, narrow(t, x, 2, i * part, part), 1, first + i);
    parts[shifts] = narrow(t, x, 2, shifts * part, channels - shifts * part);
    return concat(t, 2, channels > shifts * part ? shifts + 1 : shifts, parts);
}

static Tensor *before(Tape *t, const LayerStack *s, const Wrapper *w, Tensor *x)
{
    if (w->g)
        x = scale_by(t, normalize_l2(t, x, EPS), w->g);
    else if (w->norm.weight)
        x = layer_norm(t, &w->norm, x);
    return s->shifts ? shift_tokens(t, s->shifts, x) : x;
}

static Tensor *behind(Tape *t, const Wrapper *w, Tensor *y)
{
    return w->residual_weight ? scale_by(t, y, w->residual_weight) : y;
}

static Tensor *feed_forward_of(Tape *t, const FeedForward *f, Tensor *u)
{
    if (!f->glu && (f->dropout == 0 || !tape_training(t)))
        return feed_forward(t, u, NULL, &f->w1, UNARY_GELU, &f->w2);
    Tensor *h = linear(t, &f->w1, u); /* [B,N,4C], gated [B,N,8C] */
    int64_t half = tensor_dim(h, 2) / 2;
    h = !f->glu ? gelu(t, h) : multiply(t, gelu(t, narrow(t, h, 2, 0, half)), narrow(t, h, 2, half, half));
    return linear(t, &f->w2, dropout(t, h, f->dropout, f->site));
}

/* f of a layer, [B,N,C] -> [B,N,C]; its commitment loss is added to *aux. */
static Tensor *attention_branch(Tape *t, const LayerStack *s, const Layer *l, Tensor *x, const LucidrainsInput *in,
                                Tensor *positions, Cache *past, Tensor **aux)
{
    Scope scope = scope_open(t);
    Tensor *u = before(t, s, &l->around[0], x), *loss;
    const MixedAttention *f = &l->module->attention;
    Tensor *marks = f->shape.receives_context ? in->context_mask : NULL;
    Tensor *y = mixed_attention(t, f, u, in->mask, positions, in->context, marks, past, &loss);
    Tensor *both[] = {behind(t, &l->around[0], y), loss && *aux ? add(t, *aux, loss) : loss ? loss : *aux};
    scope_close_n(t, scope, both, 2);
    *aux = both[1];
    return both[0];
}

static Tensor *feed_forward_branch(Tape *t, const LayerStack *s, const Layer *l, Tensor *x)
{
    Scope scope = scope_open(t);
    Tensor *u = before(t, s, &l->around[1], x);
    return scope_close(t, scope, behind(t, &l->around[1], feed_forward_of(t, &l->module->feed_forward, u)));
}

/* Which layers take part in this step: in training each is left out with a probability, but never all. */
static void choose_layers(Tape *t, const LayerStack *s)
{
    bool any = false, draws = tape_training(t) && s->layer_dropout > 0;
    Random r = {0};
    if (draws)
        r = (Random){.draw = tape_draw(t, s->site), .replay = tape_replaying(t)};
    for (int i = 0; i < s->layer_count; i++) {
        s->taken[i] = !draws || random_uniform(&r) >= (double)s->layer_dropout;
        any = any || s->taken[i];
    }
    if (!any)
        s->taken[0] = true;
}

/* Without reversible layers the streams a and b are one. */
Tensor *layer_stack(Tape *t, const LayerStack *s, Tensor *x, const LucidrainsInput *in, Tensor *positions, Tensor **aux)
{
    choose_layers(t, s);
    Scope scope = scope_open(t);
    Tensor *kept[] = {x, x, NULL}; /* a, b and the losses */
    for (int i = 0; i < s->layer_count; i++) {
        if (!s->taken[i])
            continue;
        const Layer *l = &s->layers[i];
        Tensor **a = &kept[0], **b = s->reversible ? &kept[1] : a;
        tape_show(t, *b, "layer%d.in", i);
        Cache *past = in->past ? &in->past->layers[i] : NULL;
        *a = add(t, *a, attention_branch(t, s, l, *b, in, positions, past, &kept[2]));
        *b = add(t, *b, feed_forward_branch(t, s, l, *a));
        scope_close_n(t, scope, kept, 3);
    }
    Tensor *last[] = {s->reversible ? scale(t, add(t, kept[0], kept[1]), 0.5f) : kept[0], kept[2]};
    scope_close_n(t, scope, last, 2);
    *aux = last[1];
    return last[0];
}
