/* The formats, one file each. */
#pragma once
#include "datasets/registry.h"

extern const DatasetFormat mnist_format, fashion_mnist_format; /* idx.c */
extern const DatasetFormat cifar10_format, cifar100_format;    /* cifar_files.c */
extern const DatasetFormat imagefolder_format, imagenet_format;
extern const DatasetFormat shapes_format, pairs_format, recall_format;
extern const DatasetFormat text_format, gcide_format, pg19_format;
extern const DatasetFormat wikitext2_format, wikitext2_raw_format, wikitext103_format, wikitext103_raw_format;
extern const DatasetFormat enwik8_format, text8_format;
extern const DatasetFormat imagenet64_format, imagenet32_format;
