/* The ImageNet layout: PART/CLASS/FILE with PART train, and val or test; FILE .jpg, .jpeg or .png in either case. As a
 * folder, or as a .tar of one (also with one more folder around it). */
#pragma once
#include "common/data/dataset.h"
#include "datasets/registry.h"

/* Classes are the folder names of train (of the part itself if there is no train), sorted by byte; samples are sorted by
 * class, then file name. Images are RGB. */
Dataset *imagefolder_open(const char *path, DatasetPart part, Error *e);

/* Whether that could be one: a .tar, or a folder with train, val or test in it. */
bool imagefolder_looks_like(const char *path);
