#include "common/base/file.h"

#include "common/base/memory.h"
#include "common/base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_regular(const char *path, size_t *size, Error *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        error_set(e, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        error_set(e, "%s: not a regular file", path);
    } else {
        *size = (size_t)st.st_size;
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

bool file_map(FileMap *map, const char *path, Error *e)
{
    *map = (FileMap){0};
    int fd = open_regular(path, &map->size, e);
    if (fd < 0)
        return false;
    if (map->size) {
        void *bytes = mmap(NULL, map->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED) {
            close(fd);
            return error_set(e, "%s: cannot be mapped: %s", path, strerror(errno));
        }
        map->bytes = bytes;
    }
    close(fd);
    return true;
}

void file_unmap(FileMap *map)
{
    if (map->bytes)
        munmap((void *)map->bytes, map->size);
    *map = (FileMap){0};
}

char *file_read(const char *path, size_t *size, Error *e)
{
    size_t expected, done = 0;
    int fd = open_regular(path, &expected, e);
    if (fd < 0)
        return NULL;
    char *text = mem_new(expected + 1);
    while (done < expected) {
        ssize_t n = read(fd, text + done, expected - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    close(fd);
    if (done < expected) {
        free(text);
        return error_null(e, "%s: read %zu of %zu bytes", path, done, expected);
    }
    if (size)
        *size = expected;
    return text;
}

static bool write_all(int fd, const char *bytes, size_t size)
{
    while (size) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (slash == path ? str_copy("/") : str_format("%.*s", (int)(slash - path), path)) : str_copy(".");
}

void file_writer_open(FileWriter *w, const char *path)
{
    *w = (FileWriter){.path = str_copy(path), .part = str_format("%s.part", path)};
    w->fd = open(w->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0)
        w->why = errno;
}

bool file_writer_add(FileWriter *w, const void *bytes, size_t size)
{
    if (!w->why && !write_all(w->fd, bytes, size))
        w->why = errno;
    return !w->why;
}

static void writer_free(FileWriter *w)
{
    free(w->path);
    free(w->part);
    *w = (FileWriter){.fd = -1};
}

bool file_writer_close(FileWriter *w, Error *e)
{
    if (!w->why && fsync(w->fd) < 0)
        w->why = errno;
    if (w->fd >= 0 && close(w->fd) < 0 && !w->why)
        w->why = errno;
    if (!w->why && rename(w->part, w->path) < 0)
        w->why = errno;
    bool good = !w->why;
    if (good) {
        char *parent = parent_of(w->path);
        good = folder_sync(parent, e);
        free(parent);
    } else {
        unlink(w->part);
        error_set(e, "%s: cannot be written: %s", w->path, strerror(w->why));
    }
    writer_free(w);
    return good;
}

void file_writer_drop(FileWriter *w)
{
    if (w->fd >= 0)
        close(w->fd);
    unlink(w->part);
    writer_free(w);
}

bool file_write(const char *path, const void *bytes, size_t size, Error *e)
{
    FileWriter w;
    file_writer_open(&w, path);
    file_writer_add(&w, bytes, size);
    return file_writer_close(&w, e);
}

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool folder_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool folder_make(const char *path, Error *e)
{
    char *p = str_copy(path);
    bool good = true;
    for (char *c = p + 1; good; c++) {
        if (*c != '/' && *c != '\0')
            continue;
        char end = *c;
        *c = '\0';
        if (mkdir(p, 0777) < 0 && !folder_exists(p))
            good = error_set(e, "%s: cannot be made: %s", p, strerror(errno));
        *c = end;
        if (!end)
            break;
    }
    free(p);
    return good;
}

bool folder_sync(const char *path, Error *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    if (!good)
        error_set(e, "%s: cannot be synced: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return good;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

bool folder_remove(const char *path, Error *e)
{
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) < 0)
        return error_set(e, "%s: cannot be removed: %s", path, strerror(errno));
    return true;
}

static int by_byte(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool folder_list(const char *path, char ***names, int *count, Error *e)
{
    DIR *folder = opendir(path);
    if (!folder)
        return error_set(e, "%s: %s", path, strerror(errno));
    ARRAY(char *) found = {0};
    for (struct dirent *d; (d = readdir(folder));)
        if (strcmp(d->d_name, ".") && strcmp(d->d_name, ".."))
            *array_add(&found) = str_copy(d->d_name);
    closedir(folder);
    if (found.count)
        qsort(found.items, found.count, sizeof *found.items, by_byte);
    *names = found.items;
    *count = (int)found.count;
    return true;
}

void names_free(char **names, int count)
{
    for (int i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *path_join(const char *folder, const char *name)
{
    return name[0] == '/' ? str_copy(name) : str_format("%s/%s", folder, name);
}
