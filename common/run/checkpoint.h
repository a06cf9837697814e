/* Checkpoints of a run: `<run>/checkpoints/<step>/` with model.safetensors and state.safetensors, and beside them the
 * links `last` and `best`. A folder is written as `<step>.part`, synced and renamed, so a folder with a plain number is
 * whole, whatever instant the machine or the disk gave out at; only then the older ones that no link names are removed.
 */
#pragma once
#include "common/base/error.h"
#include "common/tensor/tensor_file.h"

typedef struct CheckpointContent {
    const TensorToWrite *model; /* [model_count]: the parameters and buffers, by their official names */
    int model_count;
    const TensorToWrite *state; /* [state_count]: what training needs besides (optimizer, EMA, counters) */
    int state_count;
    const MetadataEntry *metadata; /* [metadata_count]: into both files; format, step, best are added here */
    int metadata_count;
} CheckpointContent;

/* Saves a step; `last` names it afterwards, and `best` too if `best`. A step that is there already is not written
 * again (the same step of a run is the same state). On failure, such as a full disk, the older checkpoints stay as
 * they are. */
bool checkpoint_save(const char *run, int64_t step, const CheckpointContent *content, bool best, Error *e);

/* The folder of the newest step in *path (free it), NULL if the run has saved nothing yet. What a killed save left half is
 * removed, and what it had left to do once its folder was whole is done. False with a line: it cannot be read. Not for a
 * run that another process is still training. */
bool checkpoint_latest(const char *run, char **path, Error *e);

/* The folder that a link names (free it), "last" or "best"; NULL with a line if there is none. */
char *checkpoint_named(const char *run, const char *link, Error *e);

typedef struct Checkpoint {
    int64_t step;
    TensorFile *model, *state; /* state is NULL if only the model was asked for */
} Checkpoint;

/* Opens both files of a folder (or, without with_state, the model's) and checks that their format is known and that
 * they tell of the same step. */
bool checkpoint_open(Checkpoint *c, const char *folder, bool with_state, Error *e);
void checkpoint_close(Checkpoint *c);
