#include "common/data/mix.h"

#include "common/autograd/ops.h"
#include "common/base/memory.h"

#include <math.h>

static int clamp(int v, int high)
{
    return v < 0 ? 0 : v > high ? high : v;
}

Mix mix_cut(double lambda, int centre_y, int centre_x, int height, int width)
{
    double side = sqrt(1.0 - lambda);
    int half_height = (int)(height * side) / 2, half_width = (int)(width * side) / 2;
    int top = clamp(centre_y - half_height, height), bottom = clamp(centre_y + half_height, height);
    int left = clamp(centre_x - half_width, width), right = clamp(centre_x + half_width, width);
    Box box = {.top = top, .left = left, .height = bottom - top, .width = right - left};
    double share = (double)box.height * box.width / ((double)height * width);
    return (Mix){.mode = MIX_CUTMIX, .lambda = 1.0 - share, .box = box};
}

Mix mix_draw(const MixOptions *options, int height, int width, Random *random)
{
    bool mixup = options->mixup_alpha > 0, cutmix = options->cutmix_alpha > 0;
    if (!(mixup || cutmix) || !random_keep(random, options->probability))
        return (Mix){.mode = MIX_NONE, .lambda = 1};
    if (mixup && cutmix)
        mixup = !random_keep(random, options->switch_probability);
    if (mixup)
        return (Mix){.mode = MIX_MIXUP, .lambda = random_beta(random, options->mixup_alpha, options->mixup_alpha)};
    double lambda = random_beta(random, options->cutmix_alpha, options->cutmix_alpha);
    int y = (int)random_integer(random, height), x = (int)random_integer(random, width);
    return mix_cut(lambda, y, x, height, width);
}

Tensor *mix_images(Tape *t, const Mix *mix, Tensor *x)
{
    if (mix->mode == MIX_NONE)
        return x;
    return mix->mode == MIX_MIXUP ? mix_reversed(t, x, NULL, mix->lambda) : mix_reversed(t, x, &mix->box, 0);
}

void mix_targets(const Mix *mix, const int64_t *labels, int rows, int classes, double smoothing, float *out)
{
    double off = smoothing / classes, more = 1.0 - smoothing;
    for (int r = 0; r < rows; r++) {
        int64_t label = labels[r], partner = labels[rows - 1 - r];
        contract(label >= 0 && label < classes, "mix_targets: label %lld of %d classes", (long long)label, classes);
        for (int64_t c = 0; c < classes; c++) {
            double share = mix->lambda * (c == label) + (1.0 - mix->lambda) * (c == partner);
            out[(int64_t)r * classes + c] = (float)(off + more * share);
        }
    }
}
