/* The folder of a run: `<root>/<model>/<name>`, or with -2, -3, ... behind it, whichever is free first. Nothing in it
 * is ever overwritten by another run. A file `status` in it says whether the run has finished. */
#pragma once
#include "common/base/error.h"

#include <stdint.h>

/* Makes the folder of a new run and returns its path (free it); name is the config's or the one the user gave. Two
 * programs that start at once get two folders. NULL with a line: name is not one plain word, root cannot be written. */
char *run_folder_make(const char *root, const char *model, const char *name, Error *e);

/* Makes `<run>/<arm>/seed<k>`, one run of an experiment, or finds it there. */
char *run_folder_arm(const char *run, const char *arm, int64_t seed, Error *e);

/* Whether a folder can be named after it; `what` it is stands in the line. */
bool run_folder_name(const char *what, const char *name, Error *e);

/* Whether the run, or one of an experiment's, has got as far as to write figures. */
bool run_folder_begun(const char *run);

bool run_folder_finish(const char *run, Error *e); /* the run has done all it was asked for */
bool run_folder_finished(const char *run);

/* The unfinished run of a model that was started last, for `--resume` alone (free it). NULL with a line: none. */
char *run_folder_newest_unfinished(const char *root, const char *model, Error *e);

/* The run of a model that was started last, finished or not (free it). NULL with a line: none. */
char *run_folder_newest(const char *root, const char *model, Error *e);

/* Takes the run for this process, until it ends: two that write into one run would spoil it. False with a line. */
bool run_folder_lock(const char *run, Error *e);
