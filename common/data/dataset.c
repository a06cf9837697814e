#include "common/data/dataset.h"

#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/data/image_file.h"
#include "common/tensor/random.h"

#include <string.h>

void sample_free(Sample *sample)
{
    image_free(&sample->image);
    mem_free(sample->encoded);
    image_decoder_free(sample->jpeg_decoder);
    *sample = (Sample){0};
}

Dataset *dataset_new(int classes, const char *const *class_names)
{
    Dataset *d = mem_new(sizeof *d);
    d->references = 1;
    d->classes = classes;
    d->class_names = mem_new((size_t)classes * sizeof *d->class_names);
    for (int i = 0; i < classes; i++)
        d->class_names[i] = class_names ? str_copy(class_names[i]) : str_format("%d", i);
    return d;
}

Dataset *dataset_share(Dataset *d)
{
    d->references++;
    return d;
}

void dataset_close(Dataset *d)
{
    if (!d || --d->references > 0)
        return;
    d->close(d);
    for (int i = 0; i < d->classes; i++)
        mem_free(d->class_names[i]);
    mem_free(d->class_names);
    mem_free(d);
}

bool dataset_read(const Dataset *d, int64_t i, Sample *sample, Error *e)
{
    contract(i >= 0 && i < d->count, "dataset_read: sample %lld of %lld", (long long)i, (long long)d->count);
    return d->read(d, i, sample, e);
}

typedef struct Subset {
    Dataset *whole;
    int64_t *indices;
} Subset;

static bool subset_read(const Dataset *d, int64_t i, Sample *sample, Error *e)
{
    const Subset *subset = d->own;
    return dataset_read(subset->whole, subset->indices[i], sample, e);
}

static void subset_close(Dataset *d)
{
    Subset *subset = d->own;
    dataset_close(subset->whole);
    mem_free(subset->indices);
    mem_free(subset);
}

Dataset *dataset_subset(Dataset *whole, const int64_t *indices, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        contract(indices[i] >= 0 && indices[i] < whole->count, "dataset_subset: index %lld of %lld",
                 (long long)indices[i], (long long)whole->count);
    Subset *subset = mem_new(sizeof *subset);
    subset->whole = dataset_share(whole);
    subset->indices = mem_copy(indices, (size_t)count * sizeof *indices);
    Dataset *d = dataset_new(whole->classes, (const char *const *)whole->class_names);
    d->count = count;
    d->channels = whole->channels;
    d->width = whole->width;
    d->height = whole->height;
    d->read = subset_read;
    d->close = subset_close;
    d->own = subset;
    return d;
}

bool dataset_hold_out(Dataset *whole, double hold_out, uint32_t seed, Dataset **rest, Dataset **held, Error *e)
{
    int64_t n = whole->count, k = (int64_t)(hold_out < 1 ? hold_out * (double)n + 0.5 : hold_out);
    if (!(hold_out > 0) || k < 1 || k >= n)
        return error_set(e, "%g samples cannot be held out of %lld: want a fraction between 0 and 1, or a count below",
                         hold_out, (long long)n);
    int64_t *order = mem_new((size_t)n * sizeof *order), *split = mem_new((size_t)n * sizeof *split);
    bool *is_held = mem_new((size_t)n);
    Random random = random_at(seed, STREAM_DATA, random_site("hold out"), 0);
    random_permutation(&random, n, order);
    for (int64_t i = 0; i < k; i++)
        is_held[order[i]] = true;
    int64_t next_held = 0, next_rest = k;
    for (int64_t i = 0; i < n; i++)
        split[is_held[i] ? next_held++ : next_rest++] = i;
    *held = dataset_subset(whole, split, k);
    *rest = dataset_subset(whole, split + k, n - k);
    mem_free(order);
    mem_free(split);
    mem_free(is_held);
    return true;
}

typedef struct InMemory {
    uint8_t *pixels, *labels;
} InMemory;

static bool in_memory_read(const Dataset *d, int64_t i, Sample *sample, Error *e)
{
    (void)e;
    const InMemory *data = d->own;
    image_reshape(&sample->image, d->width, d->height, d->channels);
    size_t bytes = image_bytes(&sample->image);
    memcpy(sample->image.pixels, data->pixels + (size_t)i * bytes, bytes);
    sample->label = data->labels[i];
    return true;
}

static void in_memory_close(Dataset *d)
{
    InMemory *data = d->own;
    mem_free(data->pixels);
    mem_free(data->labels);
    mem_free(data);
}

Dataset *dataset_in_memory(int64_t count, int width, int height, int channels, uint8_t *pixels, uint8_t *labels,
                           int classes, const char *const *class_names)
{
    Dataset *d = dataset_new(classes, class_names);
    d->count = count;
    d->width = width;
    d->height = height;
    d->channels = channels;
    d->read = in_memory_read;
    d->close = in_memory_close;
    d->own = mem_copy(&(InMemory){pixels, labels}, sizeof(InMemory));
    return d;
}
