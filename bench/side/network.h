/* What sides of whole networks share: a named config, and parameters as tensors of a file. */
#pragma once
#include "bench/side/side.h"
#include "common/nn/params.h"
#include "common/run/model.h"
#include "common/run/settings.h"

/* A named config of the model with some keys set otherwise: pairs of key and value, up to a NULL. NULL with a line. */
Settings *network_settings(const Model *m, const char *name, const char *const *pairs, Error *e);

/* All parameters and buffers, or the gradients of the parameters, named "<prefix>/<parameter>"; `extra` more places stand
 * behind the *count that were filled. */
TensorToWrite *network_list(Params *p, const char *prefix, bool gradients, int extra, int *count);

/* Writes the list and frees it, and the names of its first `named`. */
bool network_write(const char *path, TensorToWrite *list, int count, int named, Error *e);

/* What a training step leaves, for the comparison: the gradients of the parameters, and the loss. */
bool network_write_step(const char *path, Params *p, Tensor *loss, Error *e);
