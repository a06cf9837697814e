#include "common/data/boxes.h"

#include "common/base/memory.h"

#include <math.h>

enum { TRIES = 10 };

/* The whole image, cut in its middle to the nearest allowed ratio. rint is Python's round: halves to even. */
static Box central_box(int width, int height, const double ratio[2])
{
    Box box = {.height = height, .width = width};
    double shape = (double)width / height;
    if (shape < ratio[0])
        box.height = (int)rint(width / ratio[0]);
    else if (shape > ratio[1])
        box.width = (int)rint(height * ratio[1]);
    box.height = MIN(MAX(box.height, 1), height);
    box.width = MIN(MAX(box.width, 1), width);
    box.top = (height - box.height) / 2;
    box.left = (width - box.width) / 2;
    return box;
}

Box crop_box_resized(int width, int height, const double scale[2], const double ratio[2], Random *random)
{
    double area = (double)width * height, log_ratio[2] = {log(ratio[0]), log(ratio[1])};
    for (int i = 0; i < TRIES; i++) {
        double target = area * random_between(random, scale[0], scale[1]);
        double shape = exp(random_between(random, log_ratio[0], log_ratio[1]));
        double w = rint(sqrt(target * shape)), h = rint(sqrt(target / shape));
        if (w < 1 || w > width || h < 1 || h > height)
            continue;
        Box box = {.height = (int)h, .width = (int)w};
        box.top = (int)random_integer(random, height - box.height + 1);
        box.left = (int)random_integer(random, width - box.width + 1);
        return box;
    }
    return central_box(width, height, ratio);
}

Box crop_box_padded(int width, int height, int size, int padding, Random *random)
{
    Box box = {.height = size, .width = size};
    box.top = (int)random_integer(random, height + 2 * padding - size + 1) - padding;
    box.left = (int)random_integer(random, width + 2 * padding - size + 1) - padding;
    return box;
}

bool erase_box(int width, int height, const RandomErasing *erasing, Random *random, Box *box)
{
    if (random_uniform(random) > erasing->probability)
        return false;
    double area = (double)width * height, log_aspect = log(erasing->min_aspect);
    for (int i = 0; i < TRIES; i++) {
        double target = area * random_between(random, erasing->min_area, erasing->max_area);
        double aspect = exp(random_between(random, log_aspect, -log_aspect));
        double h = rint(sqrt(target * aspect)), w = rint(sqrt(target / aspect));
        if (w >= width || h >= height)
            continue;
        *box = (Box){.height = (int)h, .width = (int)w};
        box->top = (int)random_integer(random, height - box->height + 1);
        box->left = (int)random_integer(random, width - box->width + 1);
        return true;
    }
    return false;
}
