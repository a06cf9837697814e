/* Training and evaluating classifiers of images: the workload of every such paper. The model says what its forward is; data,
 * augmentation, loss, schedule, metrics and report are here. */
#pragma once
#include "common/data/loader.h"
#include "common/data/mix.h"
#include "common/run/model.h"
#include "common/run/optimization.h"

enum { CLASSIFIER_PARTS = 4 };

/* Where a network looked: one map over the image. */
typedef struct AttentionMap {
    const char *name;
    int height, width;
    float *weights; /* [height, width], mem_free it */
} AttentionMap;

/* What the workload asks of a model. */
typedef struct Classifier {
    /* x [B,C,S,S] -> logits [B,classes]. parts (NULL: not wanted): logits of its parts, for metrics of their own; an entry
     * stays NULL where the configuration does not have that part. */
    Tensor *(*forward)(Tape *t, const void *network, Tensor *x, Tensor **parts);
    const char *parts[CLASSIFIER_PARTS]; /* "small", "large"; NULL ends */
    const char *head; /* parameters whose names begin so give the logits: they may begin anew in fine-tuning */
    int (*classes)(const void *config);
    int (*channels)(const void *config);
    int (*side)(const void *config);                   /* of the images that it takes; NULL: any */
    const char *classes_key, *channels_key, *side_key; /* what the config calls them */
    /* The maps of one image x [1,C,S,S]; returns how many, at most `room`. NULL: none. */
    int (*attention)(Tape *t, const void *network, Tensor *x, AttentionMap *maps, int room);
} Classifier;

typedef struct DataConfig {
    char *set, *path;
    double hold_out;
    int64_t limit_train, limit_test;
    int input_size;
    CropKind crop;
    int padding;
    double scale[2], ratio[2], crop_ratio, flip;
    char *auto_augment;
    double erase_probability;
    double mean[3], deviation[3];
    int threads, ahead, repeats;
    bool skip_corrupt;
} DataConfig;

typedef enum ScheduleChoice { SCHEDULE_STEP, SCHEDULE_TIMM, SCHEDULE_CONSTANT } ScheduleChoice;

typedef struct TrainConfig {
    int epochs, batch_size;
    bool drop_last;
    OptimizationConfig optimization;
    double lr_batch, min_lr, warmup_lr, warmup;
    ScheduleChoice schedule;
    double smoothing, mixup, cutmix, mix_probability, mix_switch;
    char *finetune;
    bool new_head;
} TrainConfig;

typedef enum LossMean { MEAN_OF_IMAGES, MEAN_OF_BATCHES } LossMean;

typedef struct EvalConfig {
    int batch_size;
    LossMean loss;
    bool augment;
} EvalConfig;

extern const Workload classification_workload;

/* ---- Parts that reports and golden files use too */

/* Counts of one pass over a data set. */
typedef struct Tally {
    int64_t count, batches;
    double loss;        /* sum over the images */
    double batch_means; /* sum over the batches of each one's mean loss */
    int64_t top1, top5;
    int64_t parts[CLASSIFIER_PARTS]; /* top-1 of the parts alone; -1: this configuration has no such part */
    int64_t *confusion;              /* [classes, classes], NULL: not wanted */
    float *probability;              /* [samples of the set] of the true class, NULL: not wanted */
    int32_t *predicted;              /* likewise; whoever wants it sets all to -1: left out, unreadable */
    float *logits;                   /* likewise [samples, classes] */
    int64_t *labels;                 /* likewise, as predicted */
} Tally;

/* Adds a batch: logits [rows, classes] on the host, and those of the parts (entries may be NULL). */
void classification_count(Tally *tally, const Batch *batch, const float *logits, float *const parts[CLASSIFIER_PARTS],
                          int classes);

/* The mean loss: of the images, or of the batches' means, in which a smaller last batch counts as much as the others. */
double classification_loss(const Tally *tally, LossMean mean);

bool classification_evaluate(Job *job, Dataset *data, const ImageTransform *transform, Tally *tally, Error *e);

/* The test set through the network: says the figures, fills `result` (NULL: not wanted) and writes the report with it. The
 * second opens the set itself. */
bool classification_test(Job *job, Dataset *test, Result *result, Error *e);
bool classification_test_alone(Job *job, Error *e);

/* Writes logits [N,classes] and labels [N] of the test set, in its order; an image that was left out has zeros and -1. */
bool classification_features(Job *job, const char *path, Error *e);

/* The share of test images that part p alone gets right; NaN: there is no such part. */
double classification_part_accuracy(const Tally *tally, int p);

/* The rank of the label among the logits [classes], 0 = first; of equal ones the lower index comes first. */
int classification_rank(const float *logits, int classes, int64_t label);

/* The best and the worst pictures, curves, confusion matrix, config and machine: <run>/report.html. */
bool classification_report(Job *job, Dataset *test, const ImageTransform *transform, const Tally *tally, Error *e);

/* Writes a PNG: the image of a file as the network gets it, and its attention maps laid over it, side by side. Prints the
 * classes it is taken for. */
bool classification_show_attention(Job *job, const char *image, const char *out, Error *e);

ImageTransform classification_transform(const DataConfig *d, bool train);

/* The training set without what is held out for validation, the held-out part (*held NULL: nothing), or the test set. */
bool classification_train_data(const Settings *s, Dataset **train, Dataset **held, Error *e);
Dataset *classification_test_data(const Settings *s, Error *e);

/* Whether the network is for such images: their side, channels and number of classes. */
bool classification_fits(const Settings *s, const Classifier *c, const Dataset *data, Error *e);
