#include "common/base/place.h"

#include "common/base/file.h"
#include "common/base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static char *place(const char *variable, const char *in_home, const char *name, Error *e)
{
    const char *root = getenv(variable), *home = getenv("HOME");
    if (root && root[0] == '/') /* a relative one is to be ignored, says the specification */
        return str_format("%s/attention-zoo/%s", root, name);
    if (home && home[0])
        return str_format("%s/%s/attention-zoo/%s", home, in_home, name);
    return error_null(e, "neither %s nor HOME is set: no place for %s", variable, name);
}

char *place_cache(const char *name, Error *e)
{
    return place("XDG_CACHE_HOME", ".cache", name, e);
}

char *place_data(const char *name, Error *e)
{
    return place("XDG_DATA_HOME", ".local/share", name, e);
}

int place_lock(const char *folder, Error *e)
{
    if (!folder_make(folder, e))
        return -1;
    char *path = path_join(folder, "lock");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0 || flock(fd, LOCK_EX) < 0) {
        error_set(e, "%s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    free(path);
    return fd;
}
