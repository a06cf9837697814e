/* Files that grow while a run lasts (metrics, events, log): an append reaches the file whole or not at all. */
#pragma once
#include "common/base/error.h"
#include <stddef.h>

typedef struct AppendFile AppendFile;

/* Opens a file to append to; `fresh` insists that it is not there yet. NULL with a line. */
AppendFile *append_open(const char *path, bool fresh, Error *e);

/* One record. If the disk is full the part that was written is cut off again, and the line says so. */
bool append_write(AppendFile *f, const void *bytes, size_t count, Error *e);

bool append_sync(AppendFile *f, Error *e); /* what was appended reaches the disk: before a checkpoint is made */
void append_close(AppendFile *f);          /* NULL is fine */
