/* What lives across steps and is no parameter: caches of keys and values, banks, running sums, the latents of a sampler.
 *
 *     Tensor *sums = state_new(params_states(p), SHAPE(heads, clusters), F32);     // zeros once its owner is allocated
 *     state_add(t, sums, counts);                                                  // in place, without gradient
 *     narrow(t, sums, 0, 2, 3);                                                    // ops read it, or a window of it
 *
 * Files do not know a state. One that a checkpoint has to hold is registered under a name instead: that is a buffer
 * (params_add_buffer), and state_write and its like take it, too. */
#pragma once
#include "common/autograd/tape.h"

/* Whose states live and go together. */
typedef struct States States;

States *states_new(void);
void states_free(States *owner); /* NULL is fine */

/* A tensor that is valid at once, and has its data, all zeros, once the owner is allocated. */
Tensor *state_new(States *owner, Shape shape, DType type);

/* Storage on the backend's device for what was declared since the last call. NULL: places without memory behind them, for the
 * meta device. */
void states_allocate(States *owner, const Backend *backend);
void states_allocate_on(States *owner, const Tape *t); /* where the tape's tensors are */

/* ---- Writing, in place. What a recorded op still needs for its way back must not be written: that ends the program. */

/* The elements offset .. offset + n - 1 of `axis`, where x has n of them and otherwise the state's shape. */
void state_write(Tape *t, Tensor *state, int axis, int64_t offset, Tensor *x);
void state_set(Tape *t, Tensor *state, Tensor *x); /* all of it */
void state_add(Tape *t, Tensor *state, Tensor *x); /* state += x, of one shape */
void state_clear(Tape *t, Tensor *state);          /* zeros */
