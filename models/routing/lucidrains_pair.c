/* Variant B, encoder and decoder: a model that returns embeddings, and one that receives them as context. */
#include "common/base/memory.h"
#include "models/routing/lucidrains.h"

#include <string.h>

LucidrainsPair *lucidrains_pair_new(const LucidrainsPairConfig *c, Params *p)
{
    LucidrainsPair *m = mem_new(sizeof *m);
    params_enter(p, "enc");
    m->encoder = lucidrains_new(&c->encoder, p);
    params_leave(p);
    int first = params_count(p);
    params_enter(p, "dec.net.net");
    size_t cut = strlen(params_name(p, ""));
    m->decoder = lucidrains_new(&c->decoder, p);
    params_leave(p);
    lucidrains_repeat_names(p, first, cut, 1, (const char *const[]){"dec.base_net"});
    return m;
}

void lucidrains_pair_free(LucidrainsPair *m)
{
    if (!m)
        return;
    lucidrains_free(m->encoder);
    lucidrains_free(m->decoder);
    mem_free(m);
}

Tensor *lucidrains_encode(Tape *t, const LucidrainsPair *m, Tensor *source, Tensor *mask, Tensor **aux)
{
    return lucidrains_forward(t, m->encoder, &(LucidrainsInput){.tokens = source, .mask = mask}, aux);
}

LucidrainsLoss lucidrains_pair_loss(Tape *t, const LucidrainsPair *m, Tensor *source, Tensor *source_mask,
                                    const LucidrainsInput *target, int64_t ignore, Tensor **encoder_aux)
{
    Scope s = scope_open(t);
    LucidrainsInput in = *target;
    in.context = tape_show(t, lucidrains_encode(t, m, source, source_mask, encoder_aux), "context"); /* [B,S,C] */
    in.context_mask = source_mask;
    LucidrainsLoss loss = lucidrains_loss(t, m->decoder, &in, ignore);
    Tensor *all[] = {add(t, loss.total, *encoder_aux), loss.aux, loss.logits, *encoder_aux};
    scope_close_n(t, s, all, 4);
    *encoder_aux = all[3];
    return (LucidrainsLoss){.total = all[0], .aux = all[1], .logits = all[2]};
}

int lucidrains_pair_generate(Tape *t, const LucidrainsPair *m, Tensor *source, Tensor *source_mask,
                             const LucidrainsInput *start, const LucidrainsGeneration *how, int64_t *tokens,
                             float *logits)
{
    Region before = region_open(t, EVAL, NO_GRAD);
    LucidrainsInput in = *start;
    Tensor *aux;
    in.context = lucidrains_encode(t, m, source, source_mask, &aux);
    in.context_mask = source_mask;
    int steps = lucidrains_generate(t, m->decoder, &in, how, tokens, logits);
    region_close(t, before);
    return steps;
}

Tensor *lucidrains_pair_language(Tape *t, const LucidrainsPair *m, Tensor *ids, Tensor **aux)
{
    int64_t read = lucidrains_longest(m->encoder), said = ids->shape.dim[1] - read;
    Scope s = scope_open(t);
    Tensor *source = contiguous(t, narrow(t, ids, 1, 0, read)), *encoder_aux, *decoder_aux;
    LucidrainsInput in = {.tokens = contiguous(t, narrow(t, ids, 1, read, said))};
    in.context = lucidrains_encode(t, m, source, NULL, &encoder_aux);     /* [B,read,C] */
    Tensor *logits = lucidrains_padded(t, m->decoder, &in, &decoder_aux); /* [B,said,V] */
    Tensor *both[] = {pad(t, logits, 1, read, 0), add(t, encoder_aux, decoder_aux)};
    scope_close_n(t, s, both, 2);
    *aux = both[1];
    return both[0];
}

void lucidrains_pair_update_means(Tape *t, const LucidrainsPair *m)
{
    lucidrains_update_means(t, m->encoder);
    lucidrains_update_means(t, m->decoder);
}
