#include "datasets/idx.h"

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/str.h"
#include "datasets/formats.h"
#include "datasets/gzip.h"

#include <string.h>

enum { IDX_UNSIGNED_BYTE = 8, CLASSES = 10 };
static const size_t largest_file = (size_t)1 << 31;

static int64_t big_endian_32(const uint8_t *p)
{
    return (int64_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

bool idx_parse(const uint8_t *bytes, size_t size, int rank, int64_t sizes[], const uint8_t **elements, Error *e)
{
    size_t header = 4 + 4 * (size_t)rank;
    if (size < header)
        return error_set(e, "%zu bytes, an idx header of rank %d has %zu", size, rank, header);
    if (bytes[0] || bytes[1] || bytes[2] != IDX_UNSIGNED_BYTE || bytes[3] != rank)
        return error_set(e, "starts with %02x %02x %02x %02x, expected 00 00 08 %02x (idx, unsigned bytes, rank %d)",
                         bytes[0], bytes[1], bytes[2], bytes[3], (unsigned)rank, rank);
    size_t count = 1;
    for (int i = 0; i < rank; i++) {
        sizes[i] = big_endian_32(bytes + 4 + 4 * i);
        if (__builtin_mul_overflow(count, (size_t)sizes[i], &count))
            return error_set(e, "dimension %d of %lld elements: too large", i, (long long)sizes[i]);
    }
    if (size - header != count)
        return error_set(e, "%zu bytes after the header, its sizes ask for %zu", size - header, count);
    *elements = bytes + header;
    return true;
}

/* The array in `folder/name.gz` or `folder/name`, without its header. */
static uint8_t *read_array(const char *folder, const char *name, int rank, int64_t sizes[], Error *e)
{
    char *packed = str_format("%s/%s.gz", folder, name), *plain = str_format("%s/%s", folder, name);
    const char *path = file_exists(packed) ? packed : plain;
    size_t size;
    const uint8_t *elements;
    uint8_t *bytes = gzip_read(path, largest_file, &size, e);
    if (bytes && !idx_parse(bytes, size, rank, sizes, &elements, e)) {
        error_prefix(e, "%s", path);
        mem_free(bytes);
        bytes = NULL;
    }
    if (bytes)
        memmove(bytes, elements, size - (size_t)(elements - bytes));
    mem_free(packed);
    mem_free(plain);
    return bytes;
}

static bool labels_fit(const uint8_t *labels, int64_t count, Error *e)
{
    for (int64_t i = 0; i < count; i++)
        if (labels[i] >= CLASSES)
            return error_set(e, "label %lld is %d, expected 0 to %d", (long long)i, labels[i], CLASSES - 1);
    return true;
}

static Dataset *idx_open(const char *folder, DatasetPart part, const char *const *class_names, Error *e)
{
    const char *prefix = part == PART_TRAIN ? "train" : "t10k";
    char *image_name = str_format("%s-images-idx3-ubyte", prefix),
         *label_name = str_format("%s-labels-idx1-ubyte", prefix);
    int64_t shape[3], label_count;
    uint8_t *labels = NULL, *pixels = read_array(folder, image_name, 3, shape, e);
    bool good = pixels && (labels = read_array(folder, label_name, 1, &label_count, e));
    if (good && label_count != shape[0])
        good = error_set(e, "%s: %lld images, but %lld labels", folder, (long long)shape[0], (long long)label_count);
    if (good && (shape[0] < 1 || shape[1] < 1 || shape[2] < 1 || MAX(shape[1], shape[2]) > 65535))
        good = error_set(e, "%s/%s: %lld images of %lld x %lld pixels", folder, image_name, (long long)shape[0],
                         (long long)shape[2], (long long)shape[1]);
    if (good && !labels_fit(labels, label_count, e))
        good = error_prefix(e, "%s/%s", folder, label_name);
    mem_free(image_name);
    mem_free(label_name);
    if (good)
        return dataset_in_memory(shape[0], (int)shape[2], (int)shape[1], 1, pixels, labels, CLASSES, class_names);
    mem_free(pixels);
    mem_free(labels);
    return NULL;
}

static Dataset *mnist_open(const char *path, DatasetPart part, Error *e)
{
    return idx_open(path, part, NULL, e);
}

static Dataset *fashion_mnist_open(const char *path, DatasetPart part, Error *e)
{
    static const char *const names[CLASSES] = {"t-shirt", "trouser", "pullover", "dress", "coat",
                                               "sandal",  "shirt",   "sneaker",  "bag",   "ankle boot"};
    return idx_open(path, part, names, e);
}

static const char idx_layout[] = "a folder with {train,t10k}-{images-idx3,labels-idx1}-ubyte, plain or .gz";

const DatasetFormat mnist_format = {
    .name = "mnist",
    .source = "http://yann.lecun.com/exdb/mnist/",
    .licence = "CC BY-SA 3.0",
    .layout = idx_layout,
    .open = mnist_open,
};

const DatasetFormat fashion_mnist_format = {
    .name = "fashion-mnist",
    .source = "https://github.com/zalandoresearch/fashion-mnist",
    .licence = "MIT",
    .layout = idx_layout,
    .package = "dataset-fashion-mnist",
    .package_path = "/usr/share/datasets/fashion-mnist",
    .open = fashion_mnist_open,
};
