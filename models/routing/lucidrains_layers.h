/* The stack of layers of variant B: residual branches of attention and feed-forward, each behind its norm.
 *
 *     x += f(norm(x));  x += g(norm(x))                                                             a layer
 *     a = b = x;  a += f(norm(b));  b += g(norm(a));  result (a + b) / 2                            reversible
 *
 * Towards a context every layer is followed by another one whose attention asks it. */
#pragma once
#include "models/routing/lucidrains.h"
#include "models/routing/lucidrains_attention.h"

typedef struct LayerStack LayerStack;

/* Names layers.I... (reversible: blocks.I...); tied parameters have the names of all their layers. */
LayerStack *layer_stack_new(Params *p, const LucidrainsConfig *c);
void layer_stack_free(LayerStack *s);

/* x [B,N,C] -> [B,N,C] and *aux, the sum of the layers' commitment losses, NULL without routing heads. positions: see
 * mixed_attention. */
Tensor *layer_stack(Tape *t, const LayerStack *s, Tensor *x, const LucidrainsInput *in, Tensor *positions,
                    Tensor **aux);

/* What the layers see of a text before, for LucidrainsInput.past; NULL where heads route, the future is seen or tokens are shifted. */
Caches *layer_stack_caches(Tape *t, const LayerStack *s, int64_t rows);

void layer_stack_update_means(Tape *t, const LayerStack *s);
