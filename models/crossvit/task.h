/* The parts of crossvit_model. */
#pragma once
#include "common/run/model.h"
#include "models/crossvit/crossvit.h"

extern const Model crossvit_model;

/* --table N: 2 (ImageNet), 6 (fusion schemes), 8 (single branches). */
bool crossvit_table(const struct Program *program, int number, const Node *overrides, Error *e);
