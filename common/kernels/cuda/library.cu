#include "common/kernels/cuda/library.cuh"

void library_failed(const char *why, bool machine, const char *what, ...)
{
    va_list args;
    va_start(args, what);
    fprintf(stderr, "device cuda: ");
    vfprintf(stderr, what, args);
    fprintf(stderr, ": %s\n", why);
    va_end(args);
    fflush(NULL);
    _Exit(machine ? 2 : 1);
}

void *memory_for(size_t bytes, const char *what)
{
    void *memory = cuda_memory.take(bytes);
    if (!memory)
        user_fatal("out of memory on the GPU: %s needs %zu bytes more; lower train.batch_size", what, bytes);
    return memory;
}

void *room_take(Room which, size_t bytes, const char *what)
{
    static struct {
        void *memory;
        size_t bytes;
    } rooms[ROOMS];
    if (rooms[which].bytes < bytes) {
        size_t rounded = 4096;
        while (rounded < bytes)
            rounded *= 2;
        rooms[which].memory = memory_for(rounded, what);
        rooms[which].bytes = rounded;
    }
    return rooms[which].memory;
}

enum { COPIES = 4 };

struct Packed {
    struct Copy {
        const float *source;
        Form form;
        int64_t n, k;
        uint64_t version, used; /* used 0: free */
        void *data;
    } copies[COPIES];
    uint64_t clock;
};

/* The copy of this part in this form, else a place: a free one, or the one that was not used for longest. */
static Packed::Copy *copy_place(Packed *packed, const Weight *w, Form form, int64_t n, int64_t k)
{
    Packed::Copy *oldest = &packed->copies[0];
    for (Packed::Copy &copy : packed->copies) {
        if (copy.used && copy.source == w->data && copy.form == form && copy.n == n && copy.k == k)
            return &copy;
        if (copy.used < oldest->used)
            oldest = &copy;
    }
    cuda_memory.give(oldest->data);
    *oldest = {w->data, form, n, k, 0, 0, NULL};
    return oldest;
}

void *packed_copy(const Weight *w, Form form, int64_t n, int64_t k, size_t bytes, const char *what, bool *fresh)
{
    if (!*w->packed)
        *w->packed = new Packed();
    Packed::Copy *copy = copy_place(*w->packed, w, form, n, k);
    *fresh = copy->data && copy->version == w->version;
    if (!copy->data)
        copy->data = memory_for(bytes, what);
    copy->version = w->version;
    copy->used = ++(*w->packed)->clock;
    return copy->data;
}

void packed_free(Packed **packed)
{
    if (!*packed)
        return;
    for (Packed::Copy &copy : (*packed)->copies)
        cuda_memory.give(copy.data);
    delete *packed;
    *packed = NULL;
}

bool environment_switch(const char *name)
{
    const char *text = getenv(name);
    bool off = !text || !*text || strcmp(text, "0") == 0;
    if (!off && strcmp(text, "1") != 0)
        user_fatal("%s=%s: neither 0 nor 1", name, text);
    return !off;
}

bool cuda_tf32(void)
{
    static int chosen = -1;
    if (chosen < 0)
        chosen = environment_switch("ZOO_CUDA_TF32");
    return chosen;
}
