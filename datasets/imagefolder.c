#include "datasets/imagefolder.h"

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/data/image_file.h"
#include "datasets/formats.h"
#include "datasets/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct ImageFile {
    size_t name;         /* in `names`: from the part on, "train/cat/1.jpg" */
    size_t offset, size; /* in the archive */
    int64_t label;
} ImageFile;

typedef struct ImageFolder {
    char *path;
    FileMap archive; /* no bytes: a folder */
    ARRAY(ImageFile) files;
    Str names;
} ImageFolder;

/* Sorted names of classes. */
typedef struct Classes {
    char **names;
    int count;
} Classes;

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int64_t class_of(const Classes *classes, const char *name)
{
    char **found = bsearch(&name, classes->names, (size_t)classes->count, sizeof name, compare_names);
    return found ? found - classes->names : -1;
}

static bool is_image(const char *file)
{
    const char *dot = strrchr(file, '.');
    return dot && (strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0 || strcasecmp(dot, ".png") == 0);
}

static bool add_file(ImageFolder *own, const Classes *classes, const char *part, const char *class_name,
                     const char *file, const TarMember *member, Error *e)
{
    int64_t label = class_of(classes, class_name);
    if (label < 0)
        return error_set(e, "%s: %s/%s: train has no class of that name", own->path, part, class_name);
    size_t start = own->names.length;
    str_add(&own->names, "%s/%s/%s", part, class_name, file);
    str_add_bytes(&own->names, "", 1);
    *array_add(&own->files) = (ImageFile){
        .name = start, .offset = member ? member->offset : 0, .size = member ? member->size : 0, .label = label};
    return true;
}

/* The folders in a folder. */
static bool list_classes(const char *folder, Classes *classes, Error *e)
{
    char **names;
    int count, kept = 0;
    if (!folder_list(folder, &names, &count, e))
        return false;
    for (int i = 0; i < count; i++) {
        char *path = path_join(folder, names[i]);
        if (folder_exists(path))
            names[kept++] = names[i];
        else
            mem_free(names[i]);
        mem_free(path);
    }
    *classes = (Classes){names, kept};
    return true;
}

static bool add_class_folder(ImageFolder *own, const Classes *classes, const char *part, const char *class_name,
                             Error *e)
{
    char *folder = str_format("%s/%s/%s", own->path, part, class_name), **files;
    int count;
    bool good = folder_list(folder, &files, &count, e);
    mem_free(folder);
    if (!good)
        return false;
    for (int i = 0; i < count && good; i++)
        good = !is_image(files[i]) || add_file(own, classes, part, class_name, files[i], NULL, e);
    names_free(files, count);
    return good;
}

static bool has_part(const char *path, const char *part)
{
    char *folder = path_join(path, part);
    bool has = folder_exists(folder);
    mem_free(folder);
    return has;
}

static bool list_folder(ImageFolder *own, DatasetPart part, Classes *classes, Error *e)
{
    if (part == PART_TEST && !has_part(own->path, "val") && !has_part(own->path, "test"))
        return error_set(e, "%s: neither val nor test is in it", own->path);
    const char *name = part == PART_TRAIN ? "train" : has_part(own->path, "val") ? "val" : "test";
    char *of_part = path_join(own->path, name), *of_train = path_join(own->path, "train");
    Classes in_part = {0};
    bool good =
        list_classes(folder_exists(of_train) ? of_train : of_part, classes, e) && list_classes(of_part, &in_part, e);
    for (int i = 0; i < in_part.count && good; i++)
        good = add_class_folder(own, classes, name, in_part.names[i], e);
    names_free(in_part.names, in_part.count);
    mem_free(of_part);
    mem_free(of_train);
    return good;
}

/* "[FOLDER/]PART/CLASS/FILE" of a member, cut up in `copy`; false if it is no image of that form. */
typedef struct Place {
    char *part, *class_name, *file;
} Place;

static bool cut_name(char *copy, Place *place)
{
    char *pieces[4], *rest = NULL;
    int count = 0;
    for (char *piece = strtok_r(copy, "/", &rest); piece; piece = strtok_r(NULL, "/", &rest)) {
        if (count == COUNT_OF(pieces))
            return false;
        pieces[count++] = piece;
    }
    if (count < 3 || !is_image(pieces[count - 1]))
        return false;
    *place = (Place){pieces[count - 3], pieces[count - 2], pieces[count - 1]};
    return true;
}

/* Calls `see` with the place of every image of the archive. */
typedef bool SeeImage(void *user, const Place *place, const TarMember *member, Error *e);

static bool each_image(const TarIndex *index, SeeImage *see, void *user, Error *e)
{
    bool good = true;
    for (size_t i = 0; i < index->members.count && good; i++) {
        const TarMember *member = &index->members.items[i];
        char *copy = str_copy(tar_name(index, member));
        Place place;
        if (cut_name(copy, &place))
            good = see(user, &place, member, e);
        mem_free(copy);
    }
    return good;
}

enum { TRAIN, VAL, TEST, PARTS };
static const char *const part_names[PARTS] = {"train", "val", "test"};

/* What an archive holds: the class folders of each part. */
typedef struct ArchiveSurvey {
    ARRAY(char *) classes[PARTS];
} ArchiveSurvey;

static bool survey_image(void *user, const Place *place, const TarMember *member, Error *e)
{
    ArchiveSurvey *survey = user;
    (void)member;
    (void)e;
    for (int p = 0; p < PARTS; p++) {
        if (strcmp(place->part, part_names[p]) != 0)
            continue;
        size_t count = survey->classes[p].count;
        if (count == 0 || strcmp(survey->classes[p].items[count - 1], place->class_name) != 0)
            *array_add(&survey->classes[p]) = str_copy(place->class_name);
    }
    return true;
}

/* Sorts the names and drops the double ones. */
static Classes classes_from(char **names, size_t count)
{
    Classes classes = {mem_new(count * sizeof *names), 0};
    if (count)
        qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
            classes.names[classes.count++] = str_copy(names[i]);
    return classes;
}

typedef struct AddWanted {
    ImageFolder *own;
    const Classes *classes;
    const char *part;
} AddWanted;

static bool add_wanted(void *user, const Place *place, const TarMember *member, Error *e)
{
    const AddWanted *add = user;
    return strcmp(place->part, add->part) != 0 ||
           add_file(add->own, add->classes, place->part, place->class_name, place->file, member, e);
}

static int compare_files(const void *a, const void *b, void *names)
{
    const ImageFile *x = a, *y = b;
    if (x->label != y->label)
        return x->label < y->label ? -1 : 1;
    return strcmp((const char *)names + x->name, (const char *)names + y->name);
}

static bool list_archive(ImageFolder *own, DatasetPart part, Classes *classes, Error *e)
{
    TarIndex index;
    ArchiveSurvey survey = {0};
    if (!file_map(&own->archive, own->path, e))
        return false;
    if (!tar_index(own->archive.bytes, own->archive.size, &index, e))
        return error_prefix(e, "%s", own->path);
    each_image(&index, survey_image, &survey, e);
    int wanted = part == PART_TRAIN ? TRAIN : survey.classes[VAL].count ? VAL : TEST;
    int source = survey.classes[TRAIN].count ? TRAIN : wanted;
    *classes = classes_from(survey.classes[source].items, survey.classes[source].count);
    bool good = each_image(&index, add_wanted, &(AddWanted){own, classes, part_names[wanted]}, e);
    if (own->files.count)
        qsort_r(own->files.items, own->files.count, sizeof(ImageFile), compare_files, own->names.text);
    for (int p = 0; p < PARTS; p++)
        names_free(survey.classes[p].items, (int)survey.classes[p].count);
    tar_index_free(&index);
    return good;
}

/* The whole file into the sample's buffer. */
static bool read_encoded(const char *path, Sample *sample, size_t *size, Error *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        error_set(e, "%s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    *size = (size_t)st.st_size;
    if (*size > sample->encoded_capacity) {
        mem_free(sample->encoded);
        sample->encoded = mem_new(*size);
        sample->encoded_capacity = *size;
    }
    size_t done = 0;
    while (done < *size) {
        ssize_t n = read(fd, sample->encoded + done, *size - done);
        if (n <= 0 && !(n < 0 && errno == EINTR))
            break;
        done += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    return done == *size || error_set(e, "%s: read %zu of %zu bytes", path, done, *size);
}

static bool read_from_folder(const char *path, Sample *sample, Error *e)
{
    size_t size;
    if (!read_encoded(path, sample, &size, e))
        return false;
    if (image_decode(&sample->jpeg_decoder, sample->encoded, size, IMAGE_MAX_PIXELS, &sample->image, e))
        return true;
    return error_prefix(e, "%s", path);
}

static bool imagefolder_read(const Dataset *d, int64_t i, Sample *sample, Error *e)
{
    const ImageFolder *own = d->own;
    const ImageFile *file = &own->files.items[i];
    const char *name = own->names.text + file->name;
    sample->label = file->label;
    if (own->archive.bytes) {
        if (image_decode(&sample->jpeg_decoder, own->archive.bytes + file->offset, file->size, IMAGE_MAX_PIXELS,
                         &sample->image, e))
            return true;
        return error_prefix(e, "%s: %s", own->path, name);
    }
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/%s", own->path, name);
    if (length < 0 || (size_t)length >= sizeof path)
        return error_set(e, "%s/%s: the path is longer than %zu bytes", own->path, name, sizeof path - 1);
    return read_from_folder(path, sample, e);
}

static void own_free(ImageFolder *own)
{
    file_unmap(&own->archive);
    array_free(&own->files);
    str_free(&own->names);
    mem_free(own->path);
    mem_free(own);
}

static void imagefolder_close(Dataset *d)
{
    own_free(d->own);
}

bool imagefolder_looks_like(const char *path)
{
    if (file_exists(path))
        return str_ends(path, ".tar");
    return has_part(path, "train") || has_part(path, "val") || has_part(path, "test");
}

Dataset *imagefolder_open(const char *path, DatasetPart part, Error *e)
{
    ImageFolder *own = mem_new(sizeof *own);
    own->path = str_copy(path);
    Classes classes = {0};
    bool good = file_exists(path) ? list_archive(own, part, &classes, e) : list_folder(own, part, &classes, e);
    if (good && own->files.count == 0)
        good = error_set(e, "%s: no images of the form %s/CLASS/FILE.jpg (or .jpeg, .png)", path,
                         part == PART_TRAIN ? "train" : "val (or test)");
    Dataset *d = NULL;
    if (good) {
        d = dataset_new(classes.count, (const char *const *)classes.names);
        d->count = (int64_t)own->files.count;
        d->channels = 3;
        d->read = imagefolder_read;
        d->close = imagefolder_close;
        d->own = own;
    } else {
        own_free(own);
    }
    names_free(classes.names, classes.count);
    return d;
}

#define IMAGEFOLDER_LAYOUT                                                                                             \
    "a folder, or a .tar of one, with train/CLASS/*.jpg (or .jpeg, .png), and val or test likewise"

const DatasetFormat imagefolder_format = {
    .name = "imagefolder",
    .source = "your own images",
    .licence = "that of the images",
    .layout = IMAGEFOLDER_LAYOUT,
    .open = imagefolder_open,
};

const DatasetFormat imagenet_format = {
    .name = "imagenet",
    .source = "https://image-net.org/download (ILSVRC2012)",
    .licence = "non-commercial research and education",
    .layout = IMAGEFOLDER_LAYOUT ", CLASS the WordNet id (val sorted into such folders, too)",
    .open = imagefolder_open,
};
