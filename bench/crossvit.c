/* CrossViT: AdamW, without stochastic depth. */
#include "bench/side/classifier.h"

#include "models/crossvit/task.h"

static int image_side(const void *config)
{
    return ((const CrossvitConfig *)config)->img_size[0];
}

int main(void)
{
    return classifier_side(&(ClassifierSide){
        .model = &crossvit_model,
        .config = "tiny",
        .noise_key = "model.drop_path_rate",
        .image_side = image_side,
        .optimizer = {.kind = OPTIMIZER_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.05},
    });
}
