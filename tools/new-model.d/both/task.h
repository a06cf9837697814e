/* What the folder gives the program: tests and benches, too, get the model here. */
#pragma once
#include "common/run/model.h"

extern const Model skeleton_model;
