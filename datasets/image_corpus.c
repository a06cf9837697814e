#include "datasets/image_corpus.h"

#include "common/base/memory.h"
#include "common/base/str.h"

#include <string.h>

typedef struct Images {
    Dataset *parts[2]; /* by DatasetPart */
    Sample sample;     /* of the last read */
} Images;

static Dataset *images_of(const Corpus *c, CorpusPart part)
{
    return ((const Images *)c->own)->parts[part == CORPUS_TRAIN ? PART_TRAIN : PART_TEST];
}

static bool images_read(const Corpus *c, CorpusPart part, int64_t i, Document *d, Error *e)
{
    Sample *sample = &((Images *)c->own)->sample;
    if (!dataset_read(images_of(c, part), i, sample, e))
        return false;
    const Image *image = &sample->image;
    if (image->width != c->width || image->height != c->height || image->channels != c->channels)
        return error_set(e, "data set %s: image %lld of %s has %d x %d pixels of %d, the first has %d x %d of %d",
                         c->name, (long long)i, corpus_part_name(part), image->width, image->height, image->channels,
                         c->width, c->height, c->channels);
    d->text = (const char *)image->pixels; /* until the next read */
    d->size = image_bytes(image);
    return true;
}

static void images_close(Corpus *c)
{
    Images *own = c->own;
    dataset_close(own->parts[PART_TRAIN]);
    dataset_close(own->parts[PART_TEST]);
    sample_free(&own->sample);
    mem_free(own);
}

/* All files under a path. */
static bool stamp_files(Corpus *c, const char *path, Error *e)
{
    if (!folder_exists(path))
        return corpus_stamp(c, path, e);
    char **names;
    int count;
    if (!folder_list(path, &names, &count, e))
        return false;
    bool good = true;
    for (int i = 0; i < count && good; i++) {
        char *entry = path_join(path, names[i]);
        good = stamp_files(c, entry, e);
        mem_free(entry);
    }
    names_free(names, count);
    return good;
}

/* The size of every image is that of the first. */
static bool measure(Corpus *c, Error *e)
{
    Images *own = c->own;
    if (!dataset_read(own->parts[PART_TRAIN], 0, &own->sample, e))
        return false;
    c->width = own->sample.image.width;
    c->height = own->sample.image.height;
    c->channels = own->sample.image.channels;
    return true;
}

Corpus *image_corpus_open(const DatasetFormat *format, const char *path, Error *e)
{
    Images *own = mem_new(sizeof *own);
    Corpus *c = corpus_new(format->name);
    c->read = images_read;
    c->close = images_close;
    c->own = own;
    bool good = format->generated || stamp_files(c, path, e);
    for (DatasetPart part = 0; good && part <= PART_TEST; part++)
        good = (own->parts[part] = format->open(path, part, e)) != NULL;
    if (good && measure(c, e)) {
        for (CorpusPart part = 0; part < CORPUS_PARTS; part++)
            c->documents[part] = images_of(c, part)->count;
        return c;
    }
    corpus_close(c);
    return NULL;
}
