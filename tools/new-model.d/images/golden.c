/* What a golden file may ask for: the numbers of the reference, of the outputs and of every gradient. */
#include "models/skeleton/golden.h"

#include "models/skeleton/skeleton.h"

/* input/x [B,in_chans,S,S] -> output/logits [B,num_classes] */
static bool forward(Golden *g, Error *e)
{
    SkeletonConfig config;
    if (!golden_config(g, &skeleton_config_table, &config))
        return true; /* a key that the model does not know: a mismatch, counted by then */
    Params *params = params_new();
    Skeleton *m = skeleton_new(&config, params);
    params_allocate(params, true, 0, golden_backend(g));
    Tensor *x = golden_params(g, params, e) ? golden_input(g, "x", e) : NULL;
    if (x) {
        Tensor *logits = skeleton_forward(golden_tape(g), m, x);
        golden_output(g, "logits", logits);
        golden_backward(g, 1, (const char *const[]){"logits"}, &logits, params);
    }
    skeleton_free(m);
    params_free(params);
    config_free(&skeleton_config_table, &config);
    return x != NULL;
}

const GoldenEntry skeleton_golden[] = {
    {"forward", forward},
    {0},
};
