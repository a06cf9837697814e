/* First values that are more than numbers drawn one by one, for params_init_function. */
#pragma once
#include "common/nn/params.h"

/* Rows of normal draws, each then of mean 0 and variance 1 (epsilon 1e-6). */
InitFunction init_standardized;

/* All rows of [...,C] orthonormal, or where they are more than C the columns: Gram-Schmidt over normal draws (Saxe et al. 2014). */
InitFunction init_orthogonal;

/* Positions [P,d] = [sin(p f_i) | cos(p f_i)], f_i = 10000^(-2i/d) (Vaswani et al. 2017, section 3.5, the halves side by side). */
InitFunction init_sinusoids;

/* Rotary frequencies [c]: f_i = 10000^(-i/c) (Su et al. 2021, RoFormer, section 3.2.2). */
InitFunction init_frequencies;
