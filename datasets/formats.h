/* The formats, one file each. */
#pragma once
#include "datasets/registry.h"

extern const DatasetFormat mnist_format, fashion_mnist_format, imagefolder_format, imagenet_format;
