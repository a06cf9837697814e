/* Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of a batch with itself reversed, and their targets. */
#pragma once
#include "common/autograd/tape.h"
#include "common/tensor/random.h"

typedef struct MixOptions {
    double mixup_alpha, cutmix_alpha; /* of Beta(alpha, alpha); 0: never */
    double probability;               /* that a batch is mixed at all */
    double switch_probability;        /* of CutMix where both are on */
} MixOptions;

typedef enum MixMode { MIX_NONE, MIX_MIXUP, MIX_CUTMIX } MixMode;

/* What happens to one batch. lambda is the share of an image in its own target. */
typedef struct Mix {
    MixMode mode;
    double lambda;
    Box box; /* CutMix: pasted from the partner */
} Mix;

/* Draws, in order: whether, which, lambda, and for CutMix the centre's row and column. */
Mix mix_draw(const MixOptions *options, int height, int width, Random *random);

/* CutMix with this lambda and centre: the box is clipped to the image, and lambda becomes 1 - its share of the area. */
Mix mix_cut(double lambda, int centre_y, int centre_x, int height, int width);

/* x [B,C,H,W], each image with its partner in the reversed batch; x itself where nothing is mixed. */
Tensor *mix_images(Tape *t, const Mix *mix, Tensor *x);

/* out [rows, classes] = lambda * one_hot(labels) + (1 - lambda) * one_hot(reversed labels), where one-hot is smoothed:
 * smoothing / classes everywhere, and 1 - smoothing more at the label. */
void mix_targets(const Mix *mix, const int64_t *labels, int rows, int classes, double smoothing, float *out);
