/* Images of files to normalised batches: what reading JPEGs, decoding them and augmenting costs, without a network. A turn is an
 * epoch from its first request on, so that nothing has been made ahead. */
#include "bench/side/side.h"

#include "common/base/memory.h"
#include "common/data/loader.h"
#include "datasets/imagefolder.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct Reading {
    Dataset *dataset;
    ImageTransform transform;
    int batch, threads;
    uint32_t epoch; /* each with other draws */
    Tape *tape;
} Reading;

static void stop_if_failed(bool good, const Error *e)
{
    if (good)
        return;
    fprintf(stderr, "%s\n", e->text);
    exit(2);
}

/* Nothing is made beyond the one epoch that is read. */
static Loader *open_loader(const Reading *r, bool shuffle, Error *e)
{
    return loader_open(&(LoaderOptions){.dataset = r->dataset,
                                        .transform = r->transform,
                                        .batch_size = r->batch,
                                        .shuffle = shuffle,
                                        .seed = r->epoch,
                                        .threads = r->threads,
                                        .epochs = 1},
                       e);
}

static void read_epoch(void *own)
{
    Reading *r = own;
    Error e;
    Loader *loader = open_loader(r, true, &e);
    stop_if_failed(loader, &e);
    for (int64_t i = 0; i < loader_steps(loader); i++) {
        const Batch *b = loader_next(loader, &e);
        stop_if_failed(b, &e);
        batch_images(r->tape, b);
        tape_reset(r->tape);
    }
    loader_close(loader);
    r->epoch++;
}

/* Chance makes the augmented batches differ from a peer's: what is compared is the first batch as evaluation gets it. */
static bool check(void *own, const char *path, Error *e)
{
    Reading r = *(Reading *)own;
    r.transform.train = false;
    Loader *loader = open_loader(&r, false, e);
    const Batch *b = loader ? loader_next(loader, e) : NULL;
    bool good = b;
    if (good) {
        const TensorToWrite images = side_to_write("images", batch_images(r.tape, b));
        good = safetensors_write(path, &images, 1, NULL, 0, e);
        tape_reset(r.tape);
    }
    loader_close(loader);
    return good;
}

static void close_reading(void *own)
{
    Reading *r = own;
    dataset_close(r->dataset);
    tape_free(r->tape);
    mem_free(r);
}

/* The recipe of models/crossvit/configs/imagenet.yaml. */
static ImageTransform training_transform(void)
{
    ImageTransform t = {.size = 240,
                        .train = true,
                        .crop = CROP_RESIZED,
                        .scale = {0.08, 1},
                        .ratio = {3. / 4, 4. / 3},
                        .crop_ratio = 1 / 0.875,
                        .flip = 0.5,
                        .erasing = {.probability = 0.25, .min_area = 0.02, .max_area = 1. / 3, .min_aspect = 0.3},
                        .mean = {0.485, 0.456, 0.406},
                        .deviation = {0.229, 0.224, 0.225}};
    Error e;
    stop_if_failed(randaugment_parse("rand-m9-mstd0.5-inc1", &t.randaugment, &e), &e);
    return t;
}

/* folder=FOLDER: train/CLASS/FILE. The peer reads the same files, so that there is nothing to write to `inputs`. */
static bool prepare(Case *c, Words *words, const char *inputs, Error *e)
{
    (void)inputs;
    const char *folder = words_text(words, "folder", "");
    Reading r = {.transform = training_transform(),
                 .batch = (int)words_int(words, "batch", 64),
                 .threads = (int)words_int(words, "threads", 2)};
    if (r.batch < 1 || r.threads < 1)
        return error_set(e, "expected batch and threads above 0");
    r.dataset = imagefolder_open(folder, PART_TRAIN, e);
    const Backend *backend = r.dataset ? cpu_backend(e) : NULL;
    if (!backend) {
        dataset_close(r.dataset);
        return false;
    }
    r.tape = tape_new(&(TapeOptions){.backend = backend, .threads = 1}); /* the processors are the loader's */
    *c = (Case){.own = mem_copy(&r, sizeof r),
                .items = r.dataset->count,
                .threads = r.threads,
                .tape = r.tape,
                .operation = read_epoch,
                .check = check,
                .close = close_reading};
    return true;
}

int main(void)
{
    return side_main(prepare);
}
