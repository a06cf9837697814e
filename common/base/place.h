/* Where a user's files go, as the XDG base directories have it. */
#pragma once
#include "common/base/error.h"

/* ${XDG_CACHE_HOME:-~/.cache}/attention-zoo/NAME: safe to delete at any time. Free it; NULL with a line if neither the
 * variable nor a home is known. Not made: folder_make does. */
char *place_cache(const char *name, Error *e);

/* Makes the folder where it is missing. One process at a time makes the files in it; the others wait and find them made. The lock,
 * which close() gives back, or -1 with a line. */
int place_lock(const char *folder, Error *e);

/* ${XDG_DATA_HOME:-~/.local/share}/attention-zoo/NAME: what tools/setup unpacks. */
char *place_data(const char *name, Error *e);
