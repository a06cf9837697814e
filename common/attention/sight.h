/* Masks that are read off the data, for the mechanisms. */
#pragma once
#include "common/autograd/tape.h"

/* 1 where the value of a key has anything but zeros: v [B,K,H,e] -> uint8 [B,H,1,K], without gradient. (T2T: padding is
 * what embeds to 0.) */
Tensor *nonzero_keys(Tape *t, const Tensor *v);
