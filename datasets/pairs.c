/* A generated set whose class is a relation between two places: somewhere in a grid of 4 x 4 cells lies a ring, elsewhere a
 * cross, and the class is where the cross is as seen from the ring, the grid's borders joined; every position of either
 * alone is equally likely in every class. Two other marks that mean nothing, and noise, lie around. 16 x 16 RGB, ten
 * classes; sample i is a function of i alone. */
#include "datasets/formats.h"
#include "datasets/generated.h"

enum {
    GRID = 4,
    CELL = 4,
    SIDE = GRID * CELL,
    CELLS = GRID * GRID,
    MARK = 3, /* pixels of a side, in a cell of CELL */
    MARKS = 4,
    CLASSES = 10,
    TRAIN_COUNT = 9000,
    TEST_COUNT = 2000,
    SEED = 16
};

/* Ring, cross, and the two that mean nothing: a bit a pixel, from the upper left. */
static const int marks[MARKS] = {0757, 0272, 0525, 0707};

/* The cell that lies `label + 1` cells on, row by row, of a grid whose borders are joined. */
static int cell_from(int cell, int label)
{
    int down = (label + 1) / GRID, right = (label + 1) % GRID;
    return (cell / GRID + down) % GRID * GRID + (cell % GRID + right) % GRID;
}

/* Brighter than the ground by some of each colour, at one of the places that it has in its cell. */
static void draw_mark(int mark, int cell, Random *random, int *values)
{
    enum { FAINTEST = 64, BRIGHTEST = 128 };
    int top = cell / GRID * CELL + (int)random_integer(random, CELL - MARK + 1);
    int left = cell % GRID * CELL + (int)random_integer(random, CELL - MARK + 1);
    int more[3];
    for (int c = 0; c < 3; c++)
        more[c] = FAINTEST + (int)random_integer(random, BRIGHTEST - FAINTEST);
    for (int y = 0; y < MARK; y++)
        for (int x = 0; x < MARK; x++)
            for (int c = 0; c < 3; c++)
                if (marks[mark] >> (MARK * MARK - 1 - (y * MARK + x)) & 1)
                    values[((top + y) * SIDE + left + x) * 3 + c] += more[c];
}

static void draw_sample(int label, Random *random, uint8_t *pixels)
{
    enum { GROUND = 64, NOISE = 32 };
    int values[SIDE * SIDE * 3], cells[MARKS] = {(int)random_integer(random, CELLS)};
    cells[1] = cell_from(cells[0], label);
    for (int m = 2; m < MARKS; m++)
        do
            cells[m] = (int)random_integer(random, CELLS);
        while (cells[m] == cells[0] || cells[m] == cells[1] || (m == 3 && cells[m] == cells[2]));
    for (int i = 0; i < SIDE * SIDE * 3; i++)
        values[i] = GROUND;
    for (int m = 0; m < MARKS; m++)
        draw_mark(m, cells[m], random, values);
    for (int i = 0; i < SIDE * SIDE * 3; i++)
        pixels[i] = generated_noise(values[i], NOISE, random);
}

static Dataset *pairs_open(const char *path, DatasetPart part, Error *e)
{
    (void)path;
    (void)e;
    static const char *const names[CLASSES] = {"0 down 1 right", "0 down 2 right", "0 down 3 right", "1 down",
                                               "1 down 1 right", "1 down 2 right", "1 down 3 right", "2 down",
                                               "2 down 1 right", "2 down 2 right"};
    return generated_open(&(GeneratedImages){.side = SIDE,
                                             .classes = CLASSES,
                                             .train_count = TRAIN_COUNT,
                                             .test_count = TEST_COUNT,
                                             .seed = SEED,
                                             .names = names,
                                             .draw = draw_sample},
                          part);
}

const DatasetFormat pairs_format = {
    .name = "pairs",
    .source = "generated here",
    .licence = "MIT, as this project",
    .layout = "nothing",
    .open = pairs_open,
    .generated = true,
};
