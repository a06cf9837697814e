/* One pass over a data set without gradients. */
#include "common/hosts/classification/classification.h"

#include "common/autograd/ops.h"
#include "common/nn/sampling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int classification_rank(const float *logits, int classes, int64_t label)
{
    int rank = 0;
    for (int c = 0; c < classes; c++)
        rank += logits[c] > logits[label] || (logits[c] == logits[label] && c < label);
    return rank;
}

double classification_part_accuracy(const Tally *tally, int p)
{
    return tally->parts[p] < 0 ? NAN : (double)tally->parts[p] / (double)tally->count;
}

static double log_sum_exp(const float *x, int n)
{
    double most = x[sampling_largest(x, n)], sum = 0;
    for (int i = 0; i < n; i++)
        sum += exp(x[i] - most);
    return most + log(sum);
}

double classification_loss(const Tally *tally, LossMean mean)
{
    return mean == MEAN_OF_BATCHES ? tally->batch_means / (double)tally->batches : tally->loss / (double)tally->count;
}

void classification_count(Tally *tally, const Batch *batch, const float *logits, float *const parts[CLASSIFIER_PARTS],
                          int classes)
{
    double loss = 0;
    for (int i = 0; i < batch->rows; i++) {
        const float *row = logits + (int64_t)i * classes;
        int64_t label = batch->labels[i];
        int rank = classification_rank(row, classes, label), predicted = (int)sampling_largest(row, classes);
        double log_p = row[label] - log_sum_exp(row, classes);
        loss -= log_p;
        tally->top1 += rank == 0;
        tally->top5 += rank < 5;
        if (tally->confusion)
            tally->confusion[label * classes + predicted]++;
        if (tally->probability)
            tally->probability[batch->indices[i]] = (float)exp(log_p);
        if (tally->predicted)
            tally->predicted[batch->indices[i]] = predicted;
        if (tally->logits)
            memcpy(tally->logits + batch->indices[i] * classes, row, (size_t)classes * sizeof *row);
        if (tally->labels)
            tally->labels[batch->indices[i]] = label;
        for (int p = 0; p < CLASSIFIER_PARTS; p++)
            if (parts[p])
                tally->parts[p] += classification_rank(parts[p] + (int64_t)i * classes, classes, label) == 0;
    }
    tally->count += batch->rows;
    tally->loss += loss;
    if (batch->rows) {
        tally->batches++;
        tally->batch_means += loss / batch->rows;
    }
}

static void forward_batch(Job *job, const Batch *batch, Tally *tally, float *host)
{
    const Classifier *c = job->model->workload_hooks;
    int classes = c->classes(job->settings->model);
    Tensor *parts[CLASSIFIER_PARTS] = {0};
    Tensor *logits = c->forward(job->tape, job->network, batch_images(job->tape, batch), parts);
    tensor_read(job->tape, logits, host);
    float *on_host[CLASSIFIER_PARTS] = {0};
    for (int p = 0; p < CLASSIFIER_PARTS; p++) {
        if (!parts[p]) {
            tally->parts[p] = -1;
            continue;
        }
        on_host[p] = host + (int64_t)(p + 1) * batch->rows * classes;
        tensor_read(job->tape, parts[p], on_host[p]);
    }
    classification_count(tally, batch, host, on_host, classes);
    tape_reset(job->tape);
}

/* What the ranks have counted, each on its part of the data. A part of the network that is not there is -1 everywhere. */
static void add_up(Comm *comm, Tally *tally)
{
    enum { COUNTS = 6 };
    double x[COUNTS + CLASSIFIER_PARTS] = {(double)tally->count, (double)tally->batches, tally->loss,
                                           tally->batch_means,   (double)tally->top1,    (double)tally->top5};
    if (comm_ranks(comm) == 1)
        return;
    contract(!tally->confusion && !tally->probability && !tally->logits, "ranks add up counts alone");
    for (int p = 0; p < CLASSIFIER_PARTS; p++)
        x[COUNTS + p] = (double)tally->parts[p];
    comm_sum_doubles(comm, x, COUNT_OF(x));
    tally->count = (int64_t)x[0];
    tally->batches = (int64_t)x[1];
    tally->loss = x[2];
    tally->batch_means = x[3];
    tally->top1 = (int64_t)x[4];
    tally->top5 = (int64_t)x[5];
    for (int p = 0; p < CLASSIFIER_PARTS; p++)
        tally->parts[p] = x[COUNTS + p] < 0 ? -1 : (int64_t)x[COUNTS + p];
}

bool classification_evaluate(Job *job, Dataset *data, const ImageTransform *transform, Tally *tally, Error *e)
{
    const Settings *s = job->settings;
    const DataConfig *d = s->data;
    const EvalConfig *eval = s->eval;
    const Classifier *c = job->model->workload_hooks;
    int64_t classes = c->classes(s->model);
    if (!classification_fits(s, c, data, e))
        return false;
    if (tally->confusion)
        memset(tally->confusion, 0, (size_t)(classes * classes) * sizeof *tally->confusion);
    Loader *loader = loader_open(&(LoaderOptions){.dataset = data,
                                                  .transform = *transform,
                                                  .batch_size = eval->batch_size,
                                                  .seed = (uint32_t)s->run.seed,
                                                  .threads = d->threads,
                                                  .ahead = d->ahead,
                                                  .epochs = 1,
                                                  .on_corrupt = d->skip_corrupt ? CORRUPT_LEAVE_OUT : CORRUPT_STOP},
                                 e);
    if (!loader)
        return false;
    float *host = mem_new((size_t)((CLASSIFIER_PARTS + 1) * eval->batch_size * classes) * sizeof *host);
    Region before = region_open(job->tape, EVAL, NO_GRAD);
    bool good = true;
    int left_out = 0;
    Error first;
    Comm *comm = tape_comm(job->tape);
    CommRange steps = comm_range(comm, loader_steps(loader));
    if (steps.from > 0 && steps.from < steps.to)
        loader_start(loader, 0, steps.from);
    for (int64_t i = steps.from; good && i < steps.to; i++) {
        const Batch *batch = loader_next(loader, e);
        good = batch != NULL;
        if (good && batch->corrupt && left_out == 0)
            first = batch->corrupt_line;
        if (good) {
            left_out += batch->corrupt;
            forward_batch(job, batch, tally, host);
        }
    }
    if (left_out > 0)
        log_line(job->log, "left out: %d image%s that cannot be read, the first: %s", left_out,
                 left_out == 1 ? "" : "s", first.text);
    region_close(job->tape, before);
    loader_close(loader);
    mem_free(host);
    if (good)
        add_up(comm, tally);
    return good;
}
