/* Where CIFAR's files lie: straight in the official .tar.gz, or unpacked. */
#include "common/base/file.h"
#include "common/base/str.h"
#include "datasets/cifar.h"
#include "datasets/formats.h"
#include "datasets/gzip.h"
#include "datasets/imagefolder.h"
#include "datasets/tar.h"

#include <string.h>

enum { MOST_FILES = 6 };
static const size_t largest_archive = (size_t)1 << 30;

/* CIFAR-10 or CIFAR-100. */
typedef struct Variant {
    int classes, label_bytes;
    const char *label_key;
    const char *parts[2][MOST_FILES]; /* training and test files; the .bin form adds ".bin" */
    const char *folders[2];           /* what the archives unpack to: pickles, .bin */
    const char *archives[2];
    const char *const *class_names; /* NULL: numbers */
} Variant;

static const char *const cifar10_classes[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                              "dog",      "frog",       "horse", "ship", "truck"};

static const char *const cifar100_classes[] = {
    "apple",      "aquarium_fish", "baby",         "bear",       "beaver",      "bed",         "bee",
    "beetle",     "bicycle",       "bottle",       "bowl",       "boy",         "bridge",      "bus",
    "butterfly",  "camel",         "can",          "castle",     "caterpillar", "cattle",      "chair",
    "chimpanzee", "clock",         "cloud",        "cockroach",  "couch",       "crab",        "crocodile",
    "cup",        "dinosaur",      "dolphin",      "elephant",   "flatfish",    "forest",      "fox",
    "girl",       "hamster",       "house",        "kangaroo",   "keyboard",    "lamp",        "lawn_mower",
    "leopard",    "lion",          "lizard",       "lobster",    "man",         "maple_tree",  "motorcycle",
    "mountain",   "mouse",         "mushroom",     "oak_tree",   "orange",      "orchid",      "otter",
    "palm_tree",  "pear",          "pickup_truck", "pine_tree",  "plain",       "plate",       "poppy",
    "porcupine",  "possum",        "rabbit",       "raccoon",    "ray",         "road",        "rocket",
    "rose",       "sea",           "seal",         "shark",      "shrew",       "skunk",       "skyscraper",
    "snail",      "snake",         "spider",       "squirrel",   "streetcar",   "sunflower",   "sweet_pepper",
    "table",      "tank",          "telephone",    "television", "tiger",       "tractor",     "train",
    "trout",      "tulip",         "turtle",       "wardrobe",   "whale",       "willow_tree", "wolf",
    "woman",      "worm"};

static const Variant cifar10 = {
    .classes = 10,
    .label_bytes = 1,
    .label_key = "labels",
    .parts = {{"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"}, {"test_batch"}},
    .folders = {"cifar-10-batches-py", "cifar-10-batches-bin"},
    .archives = {"cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"},
    .class_names = cifar10_classes,
};

static const Variant cifar100 = {
    .classes = 100,
    .label_bytes = 2,
    .label_key = "fine_labels",
    .parts = {{"train"}, {"test"}},
    .folders = {"cifar-100-python", "cifar-100-binary"},
    .archives = {"cifar-100-python.tar.gz", "cifar-100-binary.tar.gz"},
    .class_names = cifar100_classes,
};

/* A folder, or an archive unpacked in memory. */
typedef struct Source {
    char *path;
    uint8_t *archive;
    TarIndex index;
} Source;

static void source_close(Source *source)
{
    mem_free(source->path);
    mem_free(source->archive);
    tar_index_free(&source->index);
}

/* The whole of a file (mem_free it); NULL without a line if there is none of that name. */
static uint8_t *source_read(const Source *source, const char *name, size_t *size, bool *there, Error *e)
{
    if (source->archive) {
        const TarMember *member = tar_find(&source->index, name);
        *there = member != NULL;
        *size = member ? member->size : 0;
        return member ? mem_copy(source->archive + member->offset, member->size) : NULL;
    }
    char *path = path_join(source->path, name);
    *there = file_exists(path);
    uint8_t *bytes = *there ? (uint8_t *)file_read(path, size, e) : NULL;
    mem_free(path);
    return bytes;
}

static bool add_named(const Source *source, const Variant *v, const char *name, bool bin, CifarSamples *samples,
                      bool *there, Error *e)
{
    size_t size;
    char *full = str_format("%s%s", name, bin ? ".bin" : "");
    uint8_t *bytes = source_read(source, full, &size, there, e);
    bool good = bytes && (bin ? cifar_add_bin(samples, bytes, size, v->label_bytes, v->classes, e)
                              : cifar_add_pickle(samples, bytes, size, v->label_key, v->classes, e));
    if (bytes && !good)
        error_prefix(e, "%s: %s", source->path, full);
    mem_free(bytes);
    mem_free(full);
    return good;
}

/* All files of a part, as .bin where the first of them is there in that form, else as pickles. */
static bool add_part(const Source *source, const Variant *v, DatasetPart part, CifarSamples *samples, Error *e)
{
    const char *const *names = v->parts[part];
    bool there, bin = true;
    if (!add_named(source, v, names[0], true, samples, &there, e)) {
        if (there)
            return false;
        bin = false;
        if (!add_named(source, v, names[0], false, samples, &there, e))
            return !there ? error_set(e, "%s: neither %s.bin nor %s in it", source->path, names[0], names[0]) : false;
    }
    for (int i = 1; i < MOST_FILES && names[i]; i++)
        if (!add_named(source, v, names[i], bin, samples, &there, e))
            return !there ? error_set(e, "%s: no %s%s in it", source->path, names[i], bin ? ".bin" : "") : false;
    return true;
}

static bool open_archive(Source *source, Error *e)
{
    size_t size;
    source->archive = gzip_read(source->path, largest_archive, &size, e);
    if (!source->archive)
        return false;
    return tar_index(source->archive, size, &source->index, e) || error_prefix(e, "%s", source->path);
}

/* The given path itself, or what lies in that folder under an official name. */
static bool source_open(Source *source, const Variant *v, const char *path, Error *e)
{
    *source = (Source){.path = str_copy(path)};
    for (int i = 0; i < 2 && !file_exists(path); i++) {
        char *folder = path_join(path, v->folders[i]), *archive = path_join(path, v->archives[i]);
        char *found = folder_exists(folder) ? folder : file_exists(archive) ? archive : NULL;
        if (found) {
            mem_free(source->path);
            source->path = str_copy(found);
        }
        mem_free(folder);
        mem_free(archive);
        if (found)
            break;
    }
    return folder_exists(source->path) || open_archive(source, e);
}

static Dataset *cifar_open(const Variant *v, const char *path, DatasetPart part, Error *e)
{
    if (imagefolder_looks_like(path))
        return imagefolder_open(path, part, e);
    Source source;
    CifarSamples samples = {0};
    bool good = source_open(&source, v, path, e) && add_part(&source, v, part, &samples, e);
    source_close(&source);
    if (!good) {
        cifar_samples_free(&samples);
        return NULL;
    }
    return dataset_in_memory(samples.count, CIFAR_SIDE, CIFAR_SIDE, 3, samples.pixels, samples.labels, v->classes,
                             v->class_names);
}

static Dataset *cifar10_open(const char *path, DatasetPart part, Error *e)
{
    return cifar_open(&cifar10, path, part, e);
}

static Dataset *cifar100_open(const char *path, DatasetPart part, Error *e)
{
    return cifar_open(&cifar100, path, part, e);
}

const DatasetFormat cifar10_format = {
    .name = "cifar10",
    .source = "https://www.cs.toronto.edu/~kriz/cifar.html",
    .licence = "none stated; research use",
    .layout =
        "cifar-10-python.tar.gz or cifar-10-binary.tar.gz, or a folder with one of them or with their files, or an "
        "image folder (train/CLASS/*, test/CLASS/*) or its .tar",
    .open = cifar10_open,
};

const DatasetFormat cifar100_format = {
    .name = "cifar100",
    .source = "https://www.cs.toronto.edu/~kriz/cifar.html",
    .licence = "none stated; research use",
    .layout =
        "cifar-100-python.tar.gz or cifar-100-binary.tar.gz, or a folder with one of them or with their files, or an "
        "image folder (train/CLASS/*, test/CLASS/*) or its .tar",
    .open = cifar100_open,
};
