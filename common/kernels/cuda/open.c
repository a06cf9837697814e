#include "common/kernels/cuda/cuda.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static const Backend *opened; /* programs ask from their main thread */

typedef const Backend *Entry(Error *e);

static const Backend *open_object(const char *path, Error *e)
{
    if (access(path, F_OK) != 0)
        return error_null(e,
                          "device cuda: there is no %s; build it with `ninja -C %s zoo_cuda` (needs the CUDA toolkit), "
                          "or use device: cpu",
                          path, ZOO_BUILD);
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!object)
        return error_null(e, "device cuda: cannot be loaded (is that library installed?): %s", dlerror());
    void *symbol = dlsym(object, "zoo_cuda_backend");
    if (!symbol) {
        dlclose(object);
        return error_null(e, "device cuda: %s is no CUDA backend of this program: it has no zoo_cuda_backend", path);
    }
    const Backend *backend = ((Entry *)symbol)(e);
    if (!backend)
        dlclose(object);
    return backend;
}

const Backend *cuda_backend(Error *e)
{
    const char *path = getenv("ZOO_CUDA_LIBRARY");
    if (!opened)
        opened = open_object(path && *path ? path : ZOO_BUILD "/libzoo_cuda.so", e);
    return opened;
}
