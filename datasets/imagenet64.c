/* ImageNet in 64 x 64 or 32 x 32 pixels, without labels: as PNG files (van den Oord et al. 2016) or as numpy batches
 * (Chrabaszcz et al. 2017). The validation images are the test part, too. */
#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/data/image_file.h"
#include "common/tensor/zip_archive.h"
#include "datasets/formats.h"
#include "datasets/npy.h"
#include "datasets/tar.h"

#include <string.h>

enum { CHANNELS = 3 };

/* Where a run of images lies: a numpy batch, a tar of PNG files, or a folder of them. */
typedef struct Source {
    char *path;
    int64_t first, count; /* of its images in the part */
    FileMap archive;      /* of a tar */
    TarIndex index;
    char **names; /* of a folder's files */
} Source;

typedef struct Sources {
    Source *items;
    size_t count, capacity;
} Sources;

typedef struct Downsampled {
    Sources parts[2]; /* train, valid */
    Image image;      /* the last one read */
    void *decoder;
    const Source *loaded; /* the batch whose array is in memory */
    unsigned char *array;
    const uint8_t *pixels; /* [images, channels, height, width] */
} Downsampled;

static bool is_png(const char *name)
{
    return str_ends(name, ".png") && path_base(name)[0] != '.';
}

static bool decode(const Corpus *c, Downsampled *own, const void *bytes, size_t size, Error *e)
{
    int most = c->width * c->height;
    if (!image_decode(&own->decoder, bytes, size, most, &own->image, e))
        return false;
    if (own->image.width != c->width || own->image.height != c->height)
        return error_set(e, "%d x %d pixels, expected %d x %d", own->image.width, own->image.height, c->width,
                         c->height);
    return true;
}

static bool read_png(const Corpus *c, Downsampled *own, const Source *s, int64_t i, Error *e)
{
    if (s->archive.bytes) {
        const TarMember *member = &s->index.members.items[i];
        return decode(c, own, s->archive.bytes + member->offset, member->size, e) ||
               error_prefix(e, "%s: %s", s->path, tar_name(&s->index, member));
    }
    char *path = path_join(s->path, s->names[i]);
    size_t size;
    char *bytes = file_read(path, &size, e);
    bool good = bytes && (decode(c, own, bytes, size, e) || error_prefix(e, "%s", path));
    mem_free(bytes);
    mem_free(path);
    return good;
}

/* The array "data" of a batch, unpacked into memory in place of the last one. */
static bool load_batch(const Corpus *c, Downsampled *own, const Source *s, Error *e)
{
    FileMap map;
    ZipArchive zip = {0};
    uint64_t size;
    int64_t rows, columns, entry = -1;
    if (own->loaded == s)
        return true;
    mem_free(own->array);
    own->array = NULL;
    own->loaded = NULL;
    if (!file_map(&map, s->path, e))
        return false;
    bool good = zip_archive_open(&zip, map.bytes, map.size, e);
    if (good && (entry = zip_archive_find(&zip, "data.npy")) < 0)
        good = error_set(e, "has no array 'data'");
    good = good && zip_archive_size(&zip, entry, &size, e) && (own->array = zip_archive_read(&zip, entry, size, e)) &&
           npy_parse_bytes(own->array, size, &rows, &columns, &own->pixels, e);
    if (good && (rows != s->count || columns != (int64_t)CHANNELS * c->width * c->height))
        good = error_set(e, "data is %lld x %lld, expected %lld x %d", (long long)rows, (long long)columns,
                         (long long)s->count, CHANNELS * c->width * c->height);
    zip_archive_close(&zip);
    file_unmap(&map);
    if (good)
        own->loaded = s;
    return good || error_prefix(e, "%s", s->path);
}

static bool read_row(const Corpus *c, Downsampled *own, const Source *s, int64_t i, Error *e)
{
    if (!load_batch(c, own, s, e))
        return false;
    size_t plane = (size_t)(c->width * c->height);
    const uint8_t *from = own->pixels + (size_t)i * CHANNELS * plane;
    image_reshape(&own->image, c->width, c->height, CHANNELS);
    for (size_t p = 0; p < plane; p++)
        for (size_t channel = 0; channel < CHANNELS; channel++)
            own->image.pixels[CHANNELS * p + channel] = from[channel * plane + p];
    return true;
}

static bool downsampled_read(const Corpus *c, CorpusPart part, int64_t i, Document *d, Error *e)
{
    Downsampled *own = c->own;
    const Sources *sources = &own->parts[part != CORPUS_TRAIN];
    const Source *s = sources->items;
    while (i >= s->first + s->count)
        s++;
    bool png = s->archive.bytes || s->names;
    if (!(png ? read_png(c, own, s, i - s->first, e) : read_row(c, own, s, i - s->first, e)))
        return false;
    d->text = (const char *)own->image.pixels;
    d->size = image_bytes(&own->image);
    return true;
}

static void sources_free(Sources *sources)
{
    for (size_t i = 0; i < sources->count; i++) {
        Source *s = &sources->items[i];
        if (s->archive.bytes)
            tar_index_free(&s->index);
        file_unmap(&s->archive);
        names_free(s->names, s->names ? (int)s->count : 0);
        mem_free(s->path);
    }
    array_free(sources);
}

static void downsampled_close(Corpus *c)
{
    Downsampled *own = c->own;
    sources_free(&own->parts[0]);
    sources_free(&own->parts[1]);
    image_free(&own->image);
    image_decoder_free(own->decoder);
    mem_free(own->array);
    mem_free(own);
}

/* A source at `path`, behind those that are there. */
static Source *add_source(Sources *sources, const char *path)
{
    Source *s = array_add(sources);
    *s = (Source){.path = str_copy(path)};
    if (sources->count > 1)
        s->first = s[-1].first + s[-1].count;
    return s;
}

/* The PNG files of a folder; it is stamped by its own time and by their names. */
static bool add_folder(Corpus *c, Sources *sources, const char *path, Error *e)
{
    Source *s = add_source(sources, path);
    int count, kept = 0;
    if (!corpus_stamp(c, path, e) || !folder_list(path, &s->names, &count, e))
        return false;
    for (int i = 0; i < count; i++)
        if (is_png(s->names[i])) {
            c->stamp = bytes_hash(c->stamp, s->names[i], strlen(s->names[i]) + 1);
            s->names[kept++] = s->names[i];
        } else {
            mem_free(s->names[i]);
        }
    s->count = kept;
    return true;
}

static bool add_tar(Corpus *c, Sources *sources, const char *path, Error *e)
{
    Source *s = add_source(sources, path);
    if (!corpus_stamp(c, path, e) || !file_map(&s->archive, path, e))
        return false;
    if (!tar_index(s->archive.bytes, s->archive.size, &s->index, e)) {
        file_unmap(&s->archive);
        return error_prefix(e, "%s", path);
    }
    size_t kept = 0;
    for (size_t i = 0; i < s->index.members.count; i++)
        if (is_png(tar_name(&s->index, &s->index.members.items[i])))
            s->index.members.items[kept++] = s->index.members.items[i];
    s->count = (int64_t)kept;
    return true;
}

/* A numpy batch; how many images it has follows from its size, for the header before them is shorter than an image. */
static bool add_batch(Corpus *c, Sources *sources, const char *path, Error *e)
{
    Source *s = add_source(sources, path);
    FileMap map;
    ZipArchive zip;
    uint64_t size;
    if (!corpus_stamp(c, path, e) || !file_map(&map, path, e))
        return false;
    bool good = zip_archive_open(&zip, map.bytes, map.size, e);
    int64_t entry = good ? zip_archive_find(&zip, "data.npy") : -1;
    if (good && entry < 0)
        good = error_set(e, "has no array 'data'");
    good = good && zip_archive_size(&zip, entry, &size, e);
    if (good)
        s->count = (int64_t)size / (CHANNELS * c->width * c->height);
    zip_archive_close(&zip);
    file_unmap(&map);
    return good || error_prefix(e, "%s", path);
}

/* train_data_batch_1.npz and so on, or val_data.npz. */
static bool add_batches(Corpus *c, Sources *sources, const char *folder, CorpusPart part, Error *e)
{
    bool good = true, there = true;
    for (int i = 1; good && there && (i == 1 || part == CORPUS_TRAIN); i++) {
        char *path = part == CORPUS_TRAIN ? str_format("%s/train_data_batch_%d.npz", folder, i)
                                          : str_format("%s/val_data.npz", folder);
        there = file_exists(path);
        good = !there || add_batch(c, sources, path, e);
        mem_free(path);
    }
    return good;
}

static bool add_part(Corpus *c, Downsampled *own, const char *path, CorpusPart part, Error *e)
{
    Sources *sources = &own->parts[part];
    char *name = str_format("%s_%dx%d", corpus_part_name(part), c->width, c->height);
    char *folder = path_join(path, name), *tar = str_format("%s.tar", folder);
    bool good = folder_exists(folder) ? add_folder(c, sources, folder, e)
                : file_exists(tar)    ? add_tar(c, sources, tar, e)
                                      : add_batches(c, sources, path, part, e);
    for (size_t i = 0; i < sources->count; i++)
        c->documents[part] += sources->items[i].count;
    if (good && !c->documents[part])
        good = error_set(e, "%s: no images in %s, %s.tar or %s.npz", path, name, name,
                         part == CORPUS_TRAIN ? "train_data_batch_1" : "val_data");
    mem_free(name);
    mem_free(folder);
    mem_free(tar);
    return good;
}

static Corpus *downsampled_open(const char *name, int side, const char *path, Error *e)
{
    Corpus *c = corpus_new(name);
    Downsampled *own = mem_new(sizeof *own);
    c->own = own;
    c->read = downsampled_read;
    c->close = downsampled_close;
    c->width = c->height = side;
    c->channels = CHANNELS;
    if (add_part(c, own, path, CORPUS_TRAIN, e) && add_part(c, own, path, CORPUS_VALID, e)) {
        c->documents[CORPUS_TEST] = c->documents[CORPUS_VALID];
        return c;
    }
    corpus_close(c);
    return NULL;
}

static Corpus *imagenet64_open(const char *path, Error *e)
{
    return downsampled_open("imagenet64", 64, path, e);
}

static Corpus *imagenet32_open(const char *path, Error *e)
{
    return downsampled_open("imagenet32", 32, path, e);
}

#define DOWNSAMPLED_FORMAT(set, size, opens)                                                                           \
    {                                                                                                                  \
        .name = set, .source = "https://image-net.org/download-images (downsampled ImageNet, " size ")",               \
        .licence = "non-commercial research and education",                                                            \
        .layout =                                                                                                      \
            "a folder with train_" size " and valid_" size ", each a folder of PNG files or a .tar of one, or with "   \
            "train_data_batch_{1..10}.npz and val_data.npz",                                                           \
        .open_corpus = opens                                                                                           \
    }

const DatasetFormat imagenet64_format = DOWNSAMPLED_FORMAT("imagenet64", "64x64", imagenet64_open);
const DatasetFormat imagenet32_format = DOWNSAMPLED_FORMAT("imagenet32", "32x32", imagenet32_open);
