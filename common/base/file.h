/* Files: whole reads, memory maps, and writes that leave either the old file or the new one, never half of it. */
#pragma once
#include "common/base/error.h"
#include <stddef.h>
#include <stdint.h>

/* A file mapped read-only. Truncating it while it is mapped is outside what we defend against. */
typedef struct FileMap {
    const unsigned char *bytes;
    size_t size;
} FileMap;

bool file_map(FileMap *map, const char *path, Error *e);
void file_unmap(FileMap *map);

/* The whole file, with a NUL after its last byte; free it. NULL on failure. */
char *file_read(const char *path, size_t *size, Error *e);

/* Writes `path.part` beside it, syncs it, renames it over `path` and syncs the folder: a kill or a full disk at any
 * instant leaves the older file whole. */
bool file_write(const char *path, const void *bytes, size_t size, Error *e);

/* The same for what does not lie in one piece: open, add as often as needed, and close. The first failure decides: what
 * is added after it is dropped, close then removes the part and returns false with the line of that failure, and the
 * older file stays. Every writer that was opened is closed, also after an add that failed. */
typedef struct FileWriter {
    char *path, *part;
    int fd, why; /* why: errno of the first failure, 0 while all is well */
} FileWriter;

void file_writer_open(FileWriter *w, const char *path);
bool file_writer_add(FileWriter *w, const void *bytes, size_t size);
bool file_writer_close(FileWriter *w, Error *e);
void file_writer_drop(FileWriter *w); /* instead of close: removes the part, the older file stays */

bool file_exists(const char *path);
bool folder_exists(const char *path);
bool folder_make(const char *path, Error *e);   /* with its parents; existing is fine */
bool folder_sync(const char *path, Error *e);   /* the folder's own entries reach the disk */
bool folder_remove(const char *path, Error *e); /* with all that is in it */

/* The names in a folder (without . and ..), sorted by byte; free with names_free. */
bool folder_list(const char *path, char ***names, int *count, Error *e);
void names_free(char **names, int count);

const char *path_base(const char *path);               /* what follows the last '/' */
char *path_join(const char *folder, const char *name); /* free it */
