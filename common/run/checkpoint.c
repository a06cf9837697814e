#include "common/run/checkpoint.h"

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char FORMAT[] = "attention-zoo checkpoint 1";

static char *checkpoints_of(const char *run)
{
    return path_join(run, "checkpoints");
}

/* The step that a folder is named after, or -1: a link, a part, something else. */
static int64_t step_of(const char *name)
{
    size_t digits = strspn(name, "0123456789");
    return digits && !name[digits] && digits < 19 ? strtoll(name, NULL, 10) : -1;
}

static bool write_file(const char *folder, const char *name, const TensorToWrite *tensors, int count,
                       const CheckpointContent *content, int64_t step, bool best, Error *e)
{
    char number[24];
    snprintf(number, sizeof number, "%" PRId64, step);
    ARRAY(MetadataEntry) metadata = {0};
    *array_add(&metadata) = (MetadataEntry){"format", FORMAT};
    *array_add(&metadata) = (MetadataEntry){"step", number};
    *array_add(&metadata) = (MetadataEntry){"best", best ? "yes" : "no"};
    for (int i = 0; i < content->metadata_count; i++)
        *array_add(&metadata) = content->metadata[i];
    char *path = path_join(folder, name);
    bool good = safetensors_write(path, tensors, count, metadata.items, (int)metadata.count, e);
    mem_free(path);
    array_free(&metadata);
    return good;
}

/* `last` or `best` -> the step's folder. A link is replaced by renaming a new one over it: there is always one. */
static bool point_to(const char *folder, const char *link, int64_t step, Error *e)
{
    char *path = path_join(folder, link), *part = str_format("%s.part", path), *target = str_format("%" PRId64, step);
    unlink(part);
    bool good = symlink(target, part) == 0 && rename(part, path) == 0;
    if (!good)
        error_set(e, "%s: the link cannot be replaced: %s", path, strerror(errno));
    mem_free(path);
    mem_free(part);
    mem_free(target);
    return good;
}

/* The step that a link names, or -1. */
static int64_t linked_step(const char *folder, const char *link)
{
    char target[32], *path = path_join(folder, link);
    ssize_t n = readlink(path, target, sizeof target - 1);
    mem_free(path);
    target[MAX(n, 0)] = '\0';
    return step_of(target);
}

/* A checkpoint loses its plain number before its files go, so that one removed by half is never taken for whole. */
static bool remove_checkpoint(const char *folder, const char *name, Error *e)
{
    char *path = path_join(folder, name), *part = str_format("%s.part", path);
    bool good = !folder_exists(part) || folder_remove(part, e);
    if (good && rename(path, part) < 0)
        good = error_set(e, "%s: cannot be removed: %s", path, strerror(errno));
    good = good && folder_remove(part, e);
    mem_free(path);
    mem_free(part);
    return good;
}

static bool remove_parts(const char *folder, Error *e)
{
    char **names;
    int count;
    if (!folder_list(folder, &names, &count, e))
        return false;
    bool good = true;
    for (int i = 0; i < count && good; i++) {
        char *path = path_join(folder, names[i]);
        if (str_ends(names[i], ".part"))
            good = folder_remove(path, e);
        mem_free(path);
    }
    names_free(names, count);
    return good;
}

static bool remove_older(const char *folder, int64_t step, Error *e)
{
    char **names;
    int count;
    if (!folder_list(folder, &names, &count, e))
        return false;
    int64_t best = linked_step(folder, "best");
    bool good = true;
    for (int i = 0; i < count && good; i++) {
        int64_t other = step_of(names[i]);
        if (other >= 0 && other != step && other != best)
            good = remove_checkpoint(folder, names[i], e);
    }
    names_free(names, count);
    return good;
}

static bool write_whole(const char *folder, int64_t step, const CheckpointContent *content, bool best, Error *e)
{
    char *path = str_format("%s/%" PRId64, folder, step), *part = str_format("%s.part", path);
    bool there = folder_exists(path), good = there;
    if (!there) {
        good = folder_make(part, e) &&
               write_file(part, "model.safetensors", content->model, content->model_count, content, step, best, e) &&
               write_file(part, "state.safetensors", content->state, content->state_count, content, step, best, e) &&
               folder_sync(part, e);
        if (good && rename(part, path) < 0)
            good = error_set(e, "%s: cannot be renamed: %s", part, strerror(errno));
        if (!good)
            folder_remove(part, NULL); /* gives a full disk its room back; the line that counts is already there */
    }
    good = good && folder_sync(folder, e);
    mem_free(path);
    mem_free(part);
    return good;
}

/* What follows once the folder of a step is whole. `last` comes last: it says that `best` is right (finish_killed_save). */
static bool finish_save(const char *folder, int64_t step, bool best, Error *e)
{
    return (!best || point_to(folder, "best", step, e)) && folder_sync(folder, e) &&
           point_to(folder, "last", step, e) && folder_sync(folder, e) && remove_older(folder, step, e);
}

bool checkpoint_save(const char *run, int64_t step, const CheckpointContent *content, bool best, Error *e)
{
    contract(step >= 0, "checkpoint_save: step %" PRId64, step);
    char *folder = checkpoints_of(run);
    bool good = folder_make(folder, e) && remove_parts(folder, e) && write_whole(folder, step, content, best, e) &&
                finish_save(folder, step, best, e);
    mem_free(folder);
    return good || error_prefix(e, "checkpoint of step %" PRId64, step);
}

static bool newest_step(const char *folder, int64_t *newest, Error *e)
{
    char **names;
    int count;
    *newest = -1;
    if (!folder_exists(folder))
        return true;
    if (!folder_list(folder, &names, &count, e))
        return false;
    for (int i = 0; i < count; i++)
        *newest = MAX(*newest, step_of(names[i]));
    names_free(names, count);
    return true;
}

/* A save that was killed after its folder was whole, and before its links: `best` would name another step in a run that
 * went on from here than in one that was not killed. */
static bool finish_killed_save(const char *folder, const char *path, int64_t step, Error *e)
{
    if (linked_step(folder, "last") == step)
        return true;
    char *model = path_join(path, "model.safetensors");
    TensorFile *file = tensor_file_open(model, e);
    const char *best = file ? tensor_file_metadata(file, "best") : NULL;
    bool good = file && finish_save(folder, step, best && !strcmp(best, "yes"), e);
    if (file)
        tensor_file_close(file);
    mem_free(model);
    return good;
}

bool checkpoint_latest(const char *run, char **path, Error *e)
{
    char *folder = checkpoints_of(run);
    int64_t step;
    bool good = newest_step(folder, &step, e) && (!folder_exists(folder) || remove_parts(folder, e));
    *path = good && step >= 0 ? str_format("%s/%" PRId64, folder, step) : NULL;
    good = good && (!*path || finish_killed_save(folder, *path, step, e));
    mem_free(folder);
    if (!good) {
        mem_free(*path);
        *path = NULL;
    }
    return good;
}

char *checkpoint_named(const char *run, const char *link, Error *e)
{
    char *folder = checkpoints_of(run), *path = NULL;
    int64_t step = linked_step(folder, link);
    if (step >= 0)
        path = str_format("%s/%" PRId64, folder, step);
    else
        error_set(e, "%s/%s: no such checkpoint", folder, link);
    mem_free(folder);
    return path;
}

static TensorFile *open_file(const char *folder, const char *name, int64_t *step, Error *e)
{
    char *path = path_join(folder, name);
    TensorFile *file = tensor_file_open(path, e);
    const char *format = file ? tensor_file_metadata(file, "format") : NULL;
    const char *number = file ? tensor_file_metadata(file, "step") : NULL;
    bool good = file != NULL;
    if (good && (!format || strcmp(format, FORMAT)))
        good = error_set(e, "%s: its format is '%s', not '%s'", path, format ? format : "", FORMAT);
    else if (good && (!number || (*step = step_of(number)) < 0))
        good = error_set(e, "%s: metadata 'step' is '%s', not a step", path, number ? number : "");
    if (!good) {
        tensor_file_close(file);
        file = NULL;
    }
    mem_free(path);
    return file;
}

bool checkpoint_open(Checkpoint *c, const char *folder, bool with_state, Error *e)
{
    *c = (Checkpoint){0};
    int64_t state_step = 0;
    c->model = open_file(folder, "model.safetensors", &c->step, e);
    if (c->model && with_state)
        c->state = open_file(folder, "state.safetensors", &state_step, e);
    bool good = c->model && (!with_state || c->state);
    if (good && with_state && state_step != c->step)
        good = error_set(e, "%s: model.safetensors is of step %" PRId64 ", state.safetensors of step %" PRId64, folder,
                         c->step, state_step);
    if (!good)
        checkpoint_close(c);
    return good;
}

void checkpoint_close(Checkpoint *c)
{
    if (c->model)
        tensor_file_close(c->model);
    if (c->state)
        tensor_file_close(c->state);
    *c = (Checkpoint){0};
}
