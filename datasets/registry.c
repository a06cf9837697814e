#include "datasets/registry.h"

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/place.h"
#include "common/base/str.h"
#include "datasets/formats.h"
#include "datasets/image_corpus.h"

#include <stdlib.h>
#include <string.h>

const DatasetFormat *const dataset_formats[] = {
    &fashion_mnist_format,
    &mnist_format,
    &cifar10_format,
    &cifar100_format,
    &imagenet_format,
    &imagefolder_format,
    &shapes_format,
    &pairs_format,
    &text_format,
    &gcide_format,
    &enwik8_format,
    &text8_format,
    &wikitext2_format,
    &wikitext2_raw_format,
    &wikitext103_format,
    &wikitext103_raw_format,
    &pg19_format,
    &imagenet64_format,
    &imagenet32_format,
    &recall_format,
    NULL,
};

const DatasetFormat *dataset_format(const char *name, Error *e)
{
    const char *names[COUNT_OF(dataset_formats)];
    int count = 0;
    Str all = {0};
    for (; dataset_formats[count]; count++) {
        names[count] = dataset_formats[count]->name;
        if (strcmp(names[count], name) == 0) {
            str_free(&all);
            return dataset_formats[count];
        }
        str_add(&all, "%s%s", count ? ", " : "", names[count]);
    }
    const char *nearest = str_nearest(name, names, count);
    if (nearest)
        error_set(e, "unknown data set '%s' (did you mean '%s'?)", name, nearest);
    else
        error_set(e, "unknown data set '%s', expected one of: %s", name, all.text);
    str_free(&all);
    return NULL;
}

static bool exists(const char *path)
{
    return file_exists(path) || folder_exists(path);
}

static char *not_found(const DatasetFormat *format, const char *path, Error *e)
{
    char *package = format->setup     ? str_format(" (or type tools/setup %s)", format->setup)
                    : format->package ? str_format(" (or install the Debian package %s)", format->package)
                                      : str_copy("");
    char *where = path ? str_format("at data.path=%s", path)
                       : str_format("(data.path and $ZOO_DATA/%s were looked at)", format->name);
    error_set(e, "data set %s not found %s: get it from %s%s; licence: %s; expected there: %s", format->name, where,
              format->source, package, format->licence, format->layout);
    mem_free(package);
    mem_free(where);
    return NULL;
}

/* Where tools/setup has unpacked the package, NULL if it has not. */
static char *unpacked_place(const DatasetFormat *format)
{
    char *name = str_format("packages/%s%s", format->package, format->package_path), *place = place_data(name, NULL);
    mem_free(name);
    if (place && exists(place))
        return place;
    mem_free(place);
    return NULL;
}

char *dataset_place(const DatasetFormat *format, const char *path, Error *e)
{
    if (format->generated && path) {
        error_set(e, "data.path is %s, but data set %s is generated and reads no files", path, format->name);
        return NULL;
    }
    if (format->generated)
        return str_copy("");
    if (path)
        return exists(path) ? str_copy(path) : not_found(format, path, e);
    const char *root = getenv("ZOO_DATA");
    if (root && root[0]) {
        char *place = str_format("%s/%s", root, format->name);
        if (exists(place))
            return place;
        mem_free(place);
    }
    if (format->package_path && exists(format->package_path))
        return str_copy(format->package_path);
    char *place = format->setup ? unpacked_place(format) : NULL;
    if (place)
        return place;
    return not_found(format, NULL, e);
}

bool dataset_find(const char *name, const char *path, Str *description, Error *e)
{
    const DatasetFormat *format = dataset_format(name, e);
    char *place = format ? dataset_place(format, path, e) : NULL;
    if (place)
        str_add(description, "%s %s%s", name, format->generated ? "(generated)" : "at ", place);
    mem_free(place);
    return place != NULL;
}

Dataset *dataset_open(const char *name, const char *path, DatasetPart part, Error *e)
{
    const DatasetFormat *format = dataset_format(name, e);
    if (format && !format->open)
        return error_null(e, "data set %s holds no labelled images", name);
    char *place = format ? dataset_place(format, path, e) : NULL;
    Dataset *d = place ? format->open(place, part, e) : NULL;
    mem_free(place);
    return d;
}

Corpus *dataset_corpus(const char *name, const char *path, Error *e)
{
    const DatasetFormat *format = dataset_format(name, e);
    char *place = format ? dataset_place(format, path, e) : NULL;
    Corpus *c = !place                ? NULL
                : format->open_corpus ? format->open_corpus(place, e)
                                      : image_corpus_open(format, place, e);
    mem_free(place);
    return c;
}
