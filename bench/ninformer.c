/* NiNformer: Adam, without dropout. */
#include "bench/side/classifier.h"

#include "models/ninformer/task.h"

static int image_side(const void *config)
{
    return ((const NinformerConfig *)config)->image_size;
}

int main(void)
{
    return classifier_side(&(ClassifierSide){
        .model = &ninformer_model,
        .config = "cifar10",
        .noise_key = "model.dropout",
        .image_side = image_side,
        .optimizer = {.kind = OPTIMIZER_ADAM, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
    });
}
