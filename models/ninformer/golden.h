/* The entries that ./eval ninformer --golden FILE knows. */
#pragma once
#include "common/run/golden.h"

extern const GoldenEntry ninformer_golden[];
