/* The named parameters and buffers of a model, under the names of the authors' state_dict.
 *
 *     params_enter(p, "blocks.%d", i);
 *     block.norm = layer_norm_new(p, "norm1", width, 1e-6f);     // blocks.0.norm1.weight, blocks.0.norm1.bias
 *     params_leave(p);
 *     ...
 *     params_allocate(p, true, seed, backend);                   // storage and initial values, once all are declared
 *
 * Trainable values lie in one flat buffer in the order of registration, slices on 64 bytes, and so do their gradients. */
#pragma once
#include "common/autograd/state.h"
#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/tensor/tensor_file.h"

typedef struct Params Params;

typedef enum InitKind { INIT_CONSTANT, INIT_NORMAL, INIT_UNIFORM } InitKind;

typedef struct Init {
    InitKind kind;
    double value; /* the constant, the standard deviation, or the bound of +-bound */
} Init;

/* Fills x [shape] with draws from r. */
typedef void InitFunction(Random *r, Shape shape, float *x);

#define INIT_ZEROS ((Init){INIT_CONSTANT, 0})
#define INIT_ONES ((Init){INIT_CONSTANT, 1})

/* How files have a parameter, and golden files its gradient too: as it lies in memory, or with its last two axes exchanged
 * (TensorFlow's dense kernels are [in,out], our weights [out,in]). */
typedef enum StoredForm { STORED_AS_IS, STORED_TRANSPOSED } StoredForm;

typedef struct Param {
    char *name;
    ARRAY(char *) aliases; /* its other names in files */
    bool may_lack;         /* a file without it is none with something missing */
    StoredForm stored;
    Tensor value; /* what the layers point to */
    Tensor gradient;
    ParamState state;
    Init init;
    InitFunction *init_function; /* instead of init, where not NULL */
    const Tensor *init_from;     /* the same: the parameter whose first values it takes */
    int64_t offset;              /* floats, in the flat buffer (of parameters, or of buffers) */
} Param;

Params *params_new(void);
void params_free(Params *p);

/* What stands between the parts of a name: "." as in torch, unless told before the first params_enter ("/": TensorFlow). */
void params_separator(Params *p, const char *separator);
__attribute__((format(printf, 2, 3))) void params_enter(Params *p, const char *format, ...);
void params_leave(Params *p);
const char *params_name(Params *p, const char *name); /* with the prefix in force; valid until the next call */

/* Declares a trainable parameter, or a buffer that no optimizer touches. The tensor is valid at once, its data once
 * params_allocate has run. A name twice is a bug of ours. Any rank, and no elements at all, are fine. */
Tensor *params_add(Params *p, const char *name, Shape shape, Init init);
Tensor *params_add_buffer(Params *p, const char *name, Shape shape, Init init);
/* A buffer of one int64, 0 at first, which a file may lack (torch's num_batches_tracked came late). */
Tensor *params_add_count(Params *p, const char *name);
Tensor *params_add_flags(Params *p, const char *name, Shape shape, uint8_t value); /* a buffer of uint8 (torch: bool) */

/* Owner of what lives as long as the model and stands in no file (state.h); gets its storage with the parameters. */
States *params_states(Params *p);

/* Of a declared parameter of floats, whose tensor that is: first values by a function, or those of another one, declared
 * before it. */
void params_init_function(Params *p, Tensor *value, InitFunction *function);
void params_init_from(Params *p, Tensor *value, const Tensor *from);

/* Of a declared parameter: how files have it; one more name (behind the prefix in force) under which
 * files repeat it. It is written under its first name alone. */
void params_store_transposed(Params *p, Tensor *value);
void params_alias(Params *p, const char *name, Tensor *value);

/* The shape that files have, and values of the parameter's type from one form to the other. */
Shape param_stored_shape(const Param *param);
void param_to_stored(const Param *param, const void *values, void *stored);
void param_from_stored(const Param *param, const void *stored, void *values);

/* Gives all of them storage on the backend's device and their initial values: each a function of (seed, name) alone. `real`
 * false: places without memory behind them, for the meta device. */
void params_allocate(Params *p, bool real, uint32_t seed, const Backend *backend);

/* Zeroed memory where the parameters lie (on the meta device: a place), for what an optimizer keeps beside them. */
void *params_take(const Params *p, size_t bytes);
void params_give(const Params *p, void *memory);

/* Every rank gets rank 0's buffers: what ranks remember of their own shares (running statistics) is not the same. */
void params_share_buffers(Params *p, Comm *comm);

/* Between the host and the device; the whole of a parameter or gradient, or of memory that params_take gave. Nothing happens on
 * the meta device. After a write of values see params_written. */
void params_download(const Params *p, void *out, const void *memory, size_t bytes);
void params_upload(const Params *p, void *memory, const void *values, size_t bytes);
void param_read(const Params *p, const Tensor *value, void *out);
void param_write(const Params *p, Tensor *value, const void *values);

int params_count(const Params *p);
Param *params_at(Params *p, int i);
Param *params_find(Params *p, const char *name);
int64_t params_elements(const Params *p); /* of the trainable ones: "parameters" in a paper's table */

/* The flat buffers on the device, with their padding, which is zero: so many elements of a parameter take params_slice floats. */
int64_t params_slice(int64_t elements);
int64_t params_flat_count(const Params *p);
float *params_flat_values(Params *p);
float *params_flat_gradients(Params *p);

void params_zero_gradients(Params *p);
void params_written(Params *p); /* after values were changed from outside: packed copies are stale */

/* What became of a file's tensors. */
typedef struct LoadReport {
    int loaded;
    Str missing, unused, misshaped; /* names, ", " between them */
    int missing_count, unused_count, misshaped_count;
} LoadReport;

/* Loads every parameter by its name or one of its aliases (behind `prefix` in the file; NULL: none; tensors without it are
 * not asked after); `rename` (NULL: none) maps a parameter's name to one more name it may have in a file. Strict: a missing,
 * unused or mis-shaped tensor is an error that lists them; else they are only reported. A file whose values differ between
 * the names of one parameter is an error. `skip` (NULL: none): parameters whose name begins with it keep their values (a head
 * of another class count). Nothing is changed unless all can be read. */
typedef struct LoadOptions {
    bool strict;
    const char *prefix;
    const char *skip;
    bool (*rename)(const char *name, char renamed[static 256]);
    /* May make a tensor of another shape fit, where both are floats stored as is (position embeddings for another resolution): values [of the stored shape] ->
     * out [of the parameter's]; false: it does not. NULL: nothing is adapted. */
    bool (*adapt)(void *user, const Param *param, Shape stored, const float *values, float *out);
    void *adapt_user;
} LoadOptions;

bool params_load(Params *p, const TensorFile *file, const LoadOptions *options, LoadReport *report, Error *e);
void load_report_free(LoadReport *r);

/* For safetensors_write: all parameters and buffers, in order and in their stored form. Free the array; what is not stored
 * as it is, or lies where the host cannot look, was copied, and the copies live until the next call. */
TensorToWrite *params_to_write(Params *p, int *count);
