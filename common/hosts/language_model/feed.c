#include "common/hosts/language_model/feed.h"

#include "common/autograd/ops.h"

struct LanguageFeed {
    LanguageShape shape;
    LossOver over;
    int64_t length;
    int ahead; /* from an id to the one that its logits predict */
    int64_t *ids, *labels;
    int32_t *chosen; /* [rows, S], the tokens with the largest logits */
    int rows;
};

LanguageFeed *language_feed_new(const Job *job, int64_t length, int rows)
{
    LanguageFeed *f = mem_new(sizeof *f);
    size_t count = (size_t)rows * (size_t)length;
    f->shape = language_shape_of(job);
    f->over = ((const LanguageTrainConfig *)job->settings->train)->loss;
    f->length = length;
    f->ahead = f->shape.shifts ? 0 : 1;
    f->ids = mem_new(count * sizeof *f->ids);
    f->labels = mem_new(count * sizeof *f->labels);
    f->chosen = mem_new(count * sizeof *f->chosen);
    f->rows = rows;
    return f;
}

void language_feed_free(LanguageFeed *f)
{
    if (!f)
        return;
    mem_free(f->ids);
    mem_free(f->labels);
    mem_free(f->chosen);
    mem_free(f);
}

/* Where the label of place s of a row stands in the batch. */
static int64_t label_at(const LanguageFeed *f, BatchPart part, int row, int64_t s)
{
    return (part.first + row) * (f->length + f->ahead) + s + f->ahead;
}

/* The id that is predicted there, or -1. */
static int64_t label_of(const LanguageFeed *f, BatchPart part, int row, int64_t s)
{
    int64_t at = label_at(f, part, row, s), id = part.batch->ids[at];
    Mark least = f->over == LOSS_OF_ANSWERS ? MARK_ANSWER : MARK_TOKEN;
    bool counts = s >= f->shape.given && part.batch->marks[at] >= least && !(f->shape.pads && id == 0);
    return counts ? id : -1;
}

int64_t language_feed_counted(const LanguageFeed *f, BatchPart part)
{
    int64_t counted = 0;
    for (int r = 0; r < part.rows; r++)
        for (int64_t s = 0; s < f->length; s++)
            counted += label_of(f, part, r, s) >= 0;
    return counted;
}

void language_feed_put(LanguageFeed *f, Tape *t, BatchPart part, Tensor **ids, Tensor **labels)
{
    contract(part.rows <= f->rows, "%d sequences at once, room for %d", part.rows, f->rows);
    for (int r = 0; r < part.rows; r++)
        for (int64_t s = 0; s < f->length; s++) {
            f->ids[r * f->length + s] = part.batch->ids[label_at(f, part, r, s) - f->ahead];
            f->labels[r * f->length + s] = label_of(f, part, r, s);
        }
    *ids = tensor_from(t, I64, SHAPE(part.rows, f->length), f->ids);
    *labels = tensor_from(t, I64, SHAPE(part.rows * f->length), f->labels);
}

RowMap language_feed_rows(Tape *t, BatchPart part)
{
    const int64_t *place = part.batch->place;
    return tape_map_rows(t, place ? (RowMap){place + part.first, part.rows} : (RowMap){0});
}

Tensor *language_losses(Tape *t, Tensor *logits, Tensor *labels)
{
    const int64_t *n = logits->shape.dim;
    contract(logits->shape.rank == 3, "logits of rank %d, not [B,S,V]", logits->shape.rank);
    return cross_entropy(t, reshape(t, logits, SHAPE(n[0] * n[1], n[2])), labels, -1);
}

int64_t language_feed_right(LanguageFeed *f, Tape *t, BatchPart part, Tensor *logits, int64_t *answers)
{
    int64_t right = 0;
    *answers = 0;
    tensor_read(t, nearest(t, logits), f->chosen);
    for (int r = 0; r < part.rows; r++)
        for (int64_t s = 0; s < f->length; s++) {
            int64_t at = label_at(f, part, r, s);
            if (part.batch->marks[at] != MARK_ANSWER || s < f->shape.given)
                continue;
            ++*answers;
            right += f->chosen[r * f->length + s] == part.batch->ids[at];
        }
    return right;
}
