/* CrossViT's golden entries: golden.c has those of the model, golden_data.c those of its data recipe. */
#pragma once
#include "common/run/golden.h"
#include "models/crossvit/crossvit.h"

extern const GoldenEntry crossvit_golden[];

bool golden_eval_transform(Golden *g, Error *e);
bool golden_train_transform(Golden *g, Error *e);
bool golden_randaugment_ops(Golden *g, Error *e);
bool golden_randaugment_args(Golden *g, Error *e);
bool golden_crop_box(Golden *g, Error *e);
bool golden_erase_box(Golden *g, Error *e);
bool golden_repeated_augmentation(Golden *g, Error *e);
