/* A generated set that needs two scales to be told apart: a coarse shape (disc, square, cross) of random place, size and
 * colours, filled with a fine texture (stripes along or across, or a checker, of 1 or 2 pixels), on noise. 24 x 24 RGB,
 * nine classes; sample i is a function of i alone. */
#include "datasets/formats.h"
#include "datasets/generated.h"

#include <stdlib.h>

enum {
    SIDE = 24,
    SHAPES = 3,
    TEXTURES = 3,
    CLASSES = SHAPES * TEXTURES,
    TRAIN_COUNT = 6000,
    TEST_COUNT = 1500,
    SEED = 24
};

typedef enum Shape { DISC, SQUARE, CROSS } Shape;
typedef enum Texture { HORIZONTAL, VERTICAL, CHECKER } Texture;

/* One picture's draws. */
typedef struct Figure {
    Shape shape;
    Texture texture;
    int radius, x, y; /* centre */
    int stripe;       /* pixels; the texture lies on the image's grid, not on the figure's */
    uint8_t colours[2][3];
} Figure;

static Figure figure_draw(int label, Random *random)
{
    Figure f = {.shape = (Shape)(label / TEXTURES), .texture = (Texture)(label % TEXTURES)};
    f.radius = 6 + (int)random_integer(random, 4);
    f.x = f.radius + (int)random_integer(random, SIDE - 2 * f.radius);
    f.y = f.radius + (int)random_integer(random, SIDE - 2 * f.radius);
    f.stripe = 1 + (int)random_integer(random, 2);
    for (int c = 0; c < 3; c++) {
        int dark = (int)random_integer(random, 96);
        f.colours[0][c] = (uint8_t)dark;
        f.colours[1][c] = (uint8_t)(dark + 160);
    }
    return f;
}

static bool inside(const Figure *f, int x, int y)
{
    int dx = abs(x - f->x), dy = abs(y - f->y), r = f->radius;
    switch (f->shape) {
    case DISC:
        return dx * dx + dy * dy <= r * r;
    case SQUARE:
        return MAX(dx, dy) * 8 <= r * 7; /* about the disc's area */
    default:
        return MIN(dx, dy) * 5 <= r * 2 && MAX(dx, dy) <= r;
    }
}

/* Which of the two colours the texture shows at a pixel. */
static int texture_at(const Figure *f, int x, int y)
{
    int column = x / f->stripe, row = y / f->stripe;
    return (f->texture == HORIZONTAL ? row : f->texture == VERTICAL ? column : row + column) & 1;
}

static void draw_sample(int label, Random *random, uint8_t *pixels)
{
    enum { FIGURE_NOISE = 16, GROUND_NOISE = 48, GROUND = 128 };
    Figure f = figure_draw(label, random);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            for (int c = 0; c < 3; c++)
                *pixels++ = inside(&f, x, y) ? generated_noise(f.colours[texture_at(&f, x, y)][c], FIGURE_NOISE, random)
                                             : generated_noise(GROUND, GROUND_NOISE, random);
}

static Dataset *shapes_open(const char *path, DatasetPart part, Error *e)
{
    (void)path;
    (void)e;
    static const char *const names[CLASSES] = {"disc along",   "disc across",   "disc checker",
                                               "square along", "square across", "square checker",
                                               "cross along",  "cross across",  "cross checker"};
    return generated_open(&(GeneratedImages){.side = SIDE,
                                             .classes = CLASSES,
                                             .train_count = TRAIN_COUNT,
                                             .test_count = TEST_COUNT,
                                             .seed = SEED,
                                             .names = names,
                                             .draw = draw_sample},
                          part);
}

const DatasetFormat shapes_format = {
    .name = "shapes",
    .source = "generated here",
    .licence = "MIT, as this project",
    .layout = "nothing",
    .open = shapes_open,
    .generated = true,
};
