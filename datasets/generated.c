#include "datasets/generated.h"

#include "common/base/memory.h"

Dataset *generated_open(const GeneratedImages *set, DatasetPart part)
{
    int count = part == PART_TRAIN ? set->train_count : set->test_count,
        first = part == PART_TRAIN ? 0 : set->train_count;
    size_t bytes = (size_t)set->side * (size_t)set->side * 3;
    uint8_t *pixels = mem_new((size_t)count * bytes), *labels = mem_new((size_t)count);
    for (int i = 0; i < count; i++) {
        labels[i] = (uint8_t)(i % set->classes);
        Random random = random_at(set->seed, STREAM_DATA, (uint32_t)(first + i), 0);
        set->draw(labels[i], &random, pixels + (size_t)i * bytes);
    }
    return dataset_in_memory(count, set->side, set->side, 3, pixels, labels, set->classes, set->names);
}

uint8_t generated_noise(int value, int spread, Random *random)
{
    int v = value + (int)random_integer(random, 2 * spread + 1) - spread;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}
