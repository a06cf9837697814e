/* What a golden file may ask for: the numbers of the reference, of the outputs and of every gradient. */
#include "models/skeleton/golden.h"

#include "models/skeleton/skeleton.h"

/* input/ids [B,S] -> output/logits [B,S,n_vocab] */
static bool forward(Golden *g, Error *e)
{
    SkeletonConfig config;
    if (!golden_config(g, &skeleton_config_table, &config))
        return true; /* a key that the model does not know: a mismatch, counted by then */
    Params *params = params_new();
    Skeleton *m = skeleton_new(&config, params);
    params_allocate(params, true, 0, golden_backend(g));
    Tensor *ids = golden_params(g, params, e) ? golden_integers(g, "ids", I64, e) : NULL;
    if (ids) {
        Tensor *logits = skeleton_forward(golden_tape(g), m, ids);
        golden_output(g, "logits", logits);
        golden_backward(g, 1, (const char *const[]){"logits"}, &logits, params);
    }
    skeleton_free(m);
    params_free(params);
    config_free(&skeleton_config_table, &config);
    return ids != NULL;
}

const GoldenEntry skeleton_golden[] = {
    {"forward", forward},
    {0},
};
