#include "common/run/append.h"

#include "common/base/memory.h"
#include "common/base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct AppendFile {
    char *path;
    int fd;
};

AppendFile *append_open(const char *path, bool fresh, Error *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (fresh ? O_EXCL : 0), 0666);
    if (fd < 0)
        return error_null(e, "%s: cannot be opened for writing: %s", path, strerror(errno));
    AppendFile *f = mem_new(sizeof *f);
    *f = (AppendFile){str_copy(path), fd};
    return f;
}

bool append_write(AppendFile *f, const void *bytes, size_t count, Error *e)
{
    const char *next = bytes;
    size_t left = count;
    while (left) {
        ssize_t n = write(f->fd, next, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int why = n < 0 ? errno : ENOSPC;
            off_t end = lseek(f->fd, 0, SEEK_END);
            bool cut = left == count || (end >= 0 && ftruncate(f->fd, end - (off_t)(count - left)) == 0);
            return error_set(e, "%s: cannot be appended to: %s%s", f->path, strerror(why),
                             cut ? "" : " (its last record is cut off)");
        }
        next += n;
        left -= (size_t)n;
    }
    return true;
}

bool append_sync(AppendFile *f, Error *e)
{
    /* Pipes and devices such as /dev/full have nothing to sync. */
    if (fsync(f->fd) < 0 && errno != EINVAL)
        return error_set(e, "%s: cannot be synced: %s", f->path, strerror(errno));
    return true;
}

void append_close(AppendFile *f)
{
    if (!f)
        return;
    close(f->fd);
    mem_free(f->path);
    mem_free(f);
}
