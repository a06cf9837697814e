/* The entries that ./eval skeleton --golden FILE knows. */
#pragma once
#include "common/run/golden.h"

extern const GoldenEntry skeleton_golden[];
