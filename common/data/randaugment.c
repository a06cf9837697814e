#include "common/data/randaugment.h"

#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/data/affine.h"
#include "common/data/colour.h"

#include <stdlib.h>
#include <string.h>

enum { HIGHEST = 10 };

static const char *const names[AUGMENT_OPS] = {
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "PosterizeIncreasing",
    "SolarizeIncreasing",
    "SolarizeAdd",
    "ColorIncreasing",
    "ContrastIncreasing",
    "BrightnessIncreasing",
    "SharpnessIncreasing",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
};

const char *augment_name(AugmentOp op)
{
    return names[op];
}

int augment_named(const char *name)
{
    for (int op = 0; op < AUGMENT_OPS; op++)
        if (strcmp(names[op], name) == 0)
            return op;
    return -1;
}

bool augment_has_argument(AugmentOp op)
{
    return op != AUGMENT_AUTOCONTRAST && op != AUGMENT_EQUALIZE && op != AUGMENT_INVERT;
}

double augment_argument(AugmentOp op, double m, bool negate)
{
    double level = MIN(MAX(m, 0.0), (double)HIGHEST) / HIGHEST, sign = negate ? -1.0 : 1.0;
    switch (op) {
    case AUGMENT_ROTATE:
        return sign * (level * 30.0);
    case AUGMENT_POSTERIZE:
        return 4 - (int)(level * 4);
    case AUGMENT_SOLARIZE:
        return 256 - (int)(level * 256);
    case AUGMENT_SOLARIZE_ADD:
        return (int)(level * 110);
    case AUGMENT_COLOUR:
    case AUGMENT_CONTRAST:
    case AUGMENT_BRIGHTNESS:
    case AUGMENT_SHARPNESS:
        return 1.0 + sign * (level * 0.9);
    case AUGMENT_SHEAR_X:
    case AUGMENT_SHEAR_Y:
        return sign * (level * 0.3);
    case AUGMENT_TRANSLATE_X:
    case AUGMENT_TRANSLATE_Y:
        return sign * (level * 0.45);
    default:
        return 0;
    }
}

static void apply_affine(Affine affine, Image *image, Image *scratch)
{
    static const uint8_t fill[3] = {124, 116, 104}; /* ImageNet's mean */
    image_affine(image, &affine, fill, scratch);
    image_swap(image, scratch);
}

void augment_apply(AugmentOp op, double argument, Image *image, Image *scratch)
{
    switch (op) {
    case AUGMENT_AUTOCONTRAST:
        image_autocontrast(image);
        break;
    case AUGMENT_EQUALIZE:
        image_equalize(image);
        break;
    case AUGMENT_INVERT:
        image_invert(image);
        break;
    case AUGMENT_ROTATE:
        apply_affine(affine_rotate(argument, image->width, image->height), image, scratch);
        break;
    case AUGMENT_POSTERIZE:
        image_posterize(image, (int)argument);
        break;
    case AUGMENT_SOLARIZE:
        image_solarize(image, (int)argument);
        break;
    case AUGMENT_SOLARIZE_ADD:
        image_solarize_add(image, (int)argument);
        break;
    case AUGMENT_COLOUR:
        image_colour(image, argument);
        break;
    case AUGMENT_CONTRAST:
        image_contrast(image, argument);
        break;
    case AUGMENT_BRIGHTNESS:
        image_brightness(image, argument);
        break;
    case AUGMENT_SHARPNESS:
        image_sharpness(image, argument, scratch);
        break;
    case AUGMENT_SHEAR_X:
        apply_affine(affine_shear_x(argument), image, scratch);
        break;
    case AUGMENT_SHEAR_Y:
        apply_affine(affine_shear_y(argument), image, scratch);
        break;
    case AUGMENT_TRANSLATE_X:
        apply_affine(affine_translate(argument * image->width, 0), image, scratch);
        break;
    case AUGMENT_TRANSLATE_Y:
        apply_affine(affine_translate(0, argument * image->height), image, scratch);
        break;
    case AUGMENT_OPS:
        break;
    }
}

/* One part of the notation: a key and a number, "mstd0.5". */
static bool parse_part(const char *part, RandAugment *settings, bool *increasing)
{
    size_t letters = strcspn(part, "0123456789.");
    char *end;
    double value = strtod(part + letters, &end);
    if (end == part + letters || *end)
        return false;
    if (letters == 1 && part[0] == 'm')
        settings->magnitude = value;
    else if (letters == 1 && part[0] == 'n')
        settings->ops = (int)value;
    else if (letters == 4 && str_starts(part, "mstd"))
        settings->deviation = value;
    else if (letters == 3 && str_starts(part, "inc"))
        *increasing = value != 0;
    else
        return false;
    return true;
}

bool randaugment_parse(const char *text, RandAugment *settings, Error *e)
{
    *settings = (RandAugment){0};
    if (!*text || strcmp(text, "none") == 0)
        return true;
    *settings = (RandAugment){.ops = 2, .magnitude = HIGHEST, .probability = 0.5};
    char *copy = str_copy(text), *rest = NULL, *part = strtok_r(copy, "-", &rest);
    bool increasing = false, good = part && strcmp(part, "rand") == 0;
    while (good && (part = strtok_r(NULL, "-", &rest)))
        good = parse_part(part, settings, &increasing);
    mem_free(copy);
    if (!good || !increasing || settings->ops < 1 || settings->ops > RANDAUGMENT_MOST_OPS ||
        settings->magnitude > HIGHEST)
        return error_set(e,
                         "RandAugment '%s': expected none or rand-mM[-nN][-mstdS]-inc1 with M up to %d, N from 1 to %d",
                         text, HIGHEST, RANDAUGMENT_MOST_OPS);
    return true;
}

int randaugment_draw(const RandAugment *settings, Random *random, AugmentStep steps[RANDAUGMENT_MOST_OPS])
{
    int count = 0;
    for (int i = 0; i < settings->ops; i++) {
        AugmentOp op = (AugmentOp)random_integer(random, AUGMENT_OPS);
        bool applied = random_keep(random, settings->probability);
        double m = settings->magnitude + settings->deviation * random_normal(random);
        bool negate = random_keep(random, 0.5);
        if (applied)
            steps[count++] = (AugmentStep){op, augment_argument(op, m, negate)};
    }
    return count;
}
