/* The parts of ninformer_model. */
#pragma once
#include "common/run/model.h"
#include "models/ninformer/ninformer.h"

extern const Model ninformer_model;

/* --table N: 1 (the paper's comparison at its scale), 2 (the small experiment). */
bool ninformer_table(const struct Program *program, int number, const Node *overrides, Error *e);
