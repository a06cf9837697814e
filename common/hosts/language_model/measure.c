#include "common/hosts/language_model/measure.h"

#include "common/hosts/language_model/feed.h"

#include <math.h>

typedef struct Pass {
    Job *job;
    LanguageFeed *feed;
    LanguageTally *tally;
    bool answers;
    int64_t length;
    float *losses;   /* of a batch, on the host */
    int64_t *labels; /* likewise */
} Pass;

static void count_batch(const Pass *p, const SequenceBatch *batch)
{
    LanguageTally *tally = p->tally;
    for (int r = 0; r < batch->rows; r++)
        for (int64_t s = 0; s < p->length; s++) {
            int64_t from = r * p->length + s, to = batch->indices[r] * p->length + s;
            bool counted = p->labels[from] >= 0;
            if (tally->losses)
                tally->losses[to] = counted ? p->losses[from] : NAN;
            if (tally->ids)
                tally->ids[to] = p->labels[from];
            if (!counted)
                continue;
            tally->tokens++;
            tally->nats += p->losses[from];
            if (tally->position_nats) {
                tally->position_nats[s] += p->losses[from];
                tally->position_tokens[s]++;
            }
        }
}

static void measure_batch(const Pass *p, const SequenceBatch *batch)
{
    Tape *t = p->job->tape;
    BatchPart all = {batch, 0, batch->rows};
    Tensor *ids, *labels, *auxiliary = NULL;
    language_feed_put(p->feed, t, all, &ids, &labels);
    Tensor *logits = language_model_of(p->job)->forward(t, p->job->network, ids, &auxiliary);
    if (p->answers) {
        int64_t answers;
        p->tally->right += language_feed_right(p->feed, t, all, logits, &answers);
        p->tally->answers += answers;
    }
    tensor_read(t, language_losses(t, logits, labels), p->losses);
    tensor_read(t, labels, p->labels);
    count_batch(p, batch);
    tape_reset(t);
}

/* What the ranks have counted, each on its part of the data. */
static void add_up(Comm *comm, LanguageTally *tally)
{
    double x[] = {(double)tally->tokens, tally->nats, (double)tally->answers, (double)tally->right};
    if (comm_ranks(comm) == 1)
        return;
    contract(!tally->position_nats && !tally->losses, "ranks add up counts alone");
    comm_sum_doubles(comm, x, COUNT_OF(x));
    *tally = (LanguageTally){.tokens = (int64_t)x[0], .nats = x[1], .answers = (int64_t)x[2], .right = (int64_t)x[3]};
}

static bool measure_all(const Pass *p, const Sequences *sequences, Error *e)
{
    const Settings *s = p->job->settings;
    const LanguageDataConfig *data = s->data;
    SequenceLoader *loader =
        sequence_loader_open(&(SequenceLoaderOptions){.sequences = sequences,
                                                      .batch_size = ((const LanguageEvalConfig *)s->eval)->batch_size,
                                                      .threads = data->threads,
                                                      .ahead = data->ahead,
                                                      .epochs = 1},
                             e);
    if (!loader)
        return false;
    Region before = region_open(p->job->tape, EVAL, NO_GRAD);
    Comm *comm = tape_comm(p->job->tape);
    CommRange steps = comm_range(comm, sequence_loader_steps(loader));
    if (steps.from > 0 && steps.from < steps.to)
        sequence_loader_start(loader, 0, steps.from);
    for (int64_t i = steps.from; i < steps.to; i++)
        measure_batch(p, sequence_loader_next(loader));
    region_close(p->job->tape, before);
    sequence_loader_close(loader);
    add_up(comm, p->tally);
    return p->tally->tokens > 0 || error_set(e, "there is no token to predict");
}

bool language_measure(Job *job, const Sequences *sequences, LanguageTally *tally, Error *e)
{
    int rows = ((const LanguageEvalConfig *)job->settings->eval)->batch_size;
    int64_t length = sequences->length - (language_shape_of(job).shifts ? 0 : 1);
    size_t count = (size_t)rows * (size_t)length;
    Pass p = {.job = job,
              .feed = language_feed_new(job, length, rows),
              .tally = tally,
              .answers = sequences->answers,
              .length = length,
              .losses = mem_new(count * sizeof(float)),
              .labels = mem_new(count * sizeof(int64_t))};
    bool good = measure_all(&p, sequences, e);
    language_feed_free(p.feed);
    mem_free(p.losses);
    mem_free(p.labels);
    return good;
}

int language_figures(const LanguageTally *tally, LanguageKind kind, TokenRatio ratio,
                     LanguageFigure out[LANGUAGE_FIGURES])
{
    double loss = tally->nats / (double)tally->tokens;
    int n = 0;
    out[n++] = (LanguageFigure){"loss", loss, false};
    if (kind == DATA_OF_IMAGES)
        out[n++] = (LanguageFigure){"bits_per_dim", loss / M_LN2, false};
    if (kind == DATA_OF_TEXT)
        out[n++] = (LanguageFigure){"bits_per_byte", loss / M_LN2 / ratio.bytes, false};
    if (kind == DATA_OF_TEXT && ratio.bytes != 1)
        out[n++] = (LanguageFigure){"perplexity", exp(loss), false};
    if (kind == DATA_OF_TEXT && ratio.words > 0)
        out[n++] = (LanguageFigure){"word_perplexity", exp(loss / ratio.words), false};
    if (tally->answers)
        out[n++] = (LanguageFigure){"accuracy", (double)tally->right / (double)tally->answers, true};
    return n;
}
