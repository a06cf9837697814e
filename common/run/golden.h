/* Golden files: what the authors' own code computed, and whether ours computes the same.
 *
 * An entry of a model's golden.c is a few lines over these accessors. Every accessor marks what it reads or compares; what is
 * left unmarked at the end is a mismatch: nothing in a file is passed over. Tolerances: outputs 1e-4 * max(1, max|golden|),
 * gradients 1e-3 * max(1e-3, max|golden|), integers equal. */
#pragma once
#include "common/nn/optimizer.h"
#include "common/run/config/config.h"

typedef struct Golden Golden;

typedef struct GoldenEntry {
    const char *name;
    bool (*run)(Golden *g, Error *e); /* false with a line: the file cannot be used (exit 2) */
} GoldenEntry;

/* Runs the file's entry out of `entries` (which end with a NULL name), prints a line a tensor and a closing line.
 * Exit code: 0 all equal, 1 a mismatch, 2 a file that cannot be read or an entry that is not known. */
int golden_run(const char *path, const char *model, const GoldenEntry *entries, const Backend *backend, int threads);

/* ---- For entries */
Tape *golden_tape(Golden *g);
const Backend *golden_backend(Golden *g);
bool golden_training(const Golden *g); /* metadata mode: train */

/* Binds the whole config; a key that the table does not know is a mismatch, and false is returned (without a line). */
bool golden_config(Golden *g, const ConfigTable *table, void *config);

/* Loads param/..., all of which must be in the model, and all the model's in the file (a shared one under any of its
 * names). Parameters, gradients and updated buffers are compared in their stored form. */
bool golden_params(Golden *g, Params *p, Error *e);

/* input/NAME on the tape as float32 (its gradient wanted if the file has one to compare); the raw values (float32, int64 or
 * uint8, as stored) on the host with golden_values, which lives as long as g. NULL with a line if it is missing. */
Tensor *golden_input(Golden *g, const char *name, Error *e);
/* The same for integers: I64 (tokens, labels), I32 or U8 (masks), as stored or converted. No gradient. */
Tensor *golden_integers(Golden *g, const char *name, DType type, Error *e);
const void *golden_values(Golden *g, const char *name, DType type, Shape *shape, Error *e);
bool golden_has_input(const Golden *g, const char *name);
const char *golden_input_name(const Golden *g, int i); /* in the order of the file; NULL after the last */

/* The draws of the coming forward, in its order: input/NAME of each name in turn, uniform numbers or keep masks of 0 and 1.
 * golden_replay_end ends it; a number left over or missing is a mismatch. */
bool golden_replay(Golden *g, int n, const char *const *names, Error *e);
void golden_replay_end(Golden *g);
void golden_unused(Golden *g, const char *name,
                   const char *reason); /* an input that a correct run rightly leaves alone */

/* Compares output/NAME (loss/NAME). One value may be of rank 0 or 1. */
void golden_output(Golden *g, const char *name, Tensor *x);
void golden_output_values(Golden *g, const char *name, DType type, Shape shape, const void *values);
__attribute__((format(printf, 2, 3))) void golden_mismatch(Golden *g, const char *format,
                                                           ...); /* whatever else is wrong */
void golden_loss(Golden *g, const char *name, float value);

/* Differentiates the sum over the named outputs of output * cotangent (no cotangent in the file: of the output itself), then
 * compares grad/... of the parameters (p may be NULL) and grad_input/... of the inputs. The last thing that an entry does with
 * its tensors: the tape is reset, and the model may go. */
void golden_backward(Golden *g, int n, const char *const *names, Tensor *const *outputs, Params *p);

/* Steps t = 1, 2, ... as long as the file has an input/grad{t}.NAME: these gradients (a parameter without one is left
 * untouched), the rate rates[t-1] (beyond `count` the last), then output/after{t}.NAME. Returns how many steps, -1 with a
 * line where the file cannot be used. */
int golden_optimizer_steps(Golden *g, Params *p, Optimizer *o, const double *rates, int count, Error *e);

/* Compares output/running.NAME with what parameters and buffers hold now: after a forward that remembers its batch. */
void golden_running(Golden *g, Params *p);

/* Compares output/updated.NAME with what parameters and buffers hold now: after the update that follows a step. */
void golden_updated(Golden *g, Params *p);
