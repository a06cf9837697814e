#include "common/base/place.h"

#include "common/base/str.h"

#include <stdlib.h>

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
