/* TensorBoard event files: curves that `tensorboard --logdir runs` shows while a run lasts.
 * A file is a row of records (TFRecord: length, masked CRC32C of the length, data, masked CRC32C of the data), each an
 * `Event` message of tensorflow/core/util/event.proto, encoded here by hand: five fields are all that scalars need. */
#pragma once
#include "common/base/error.h"
#include <stddef.h>
#include <stdint.h>

typedef struct EventFile EventFile;

/* Makes a new `events.out.tfevents.<time>.<host>.<pid>.<n>` in a folder. first_step is the first step that this file
 * will tell about: where a run resumes, TensorBoard drops what an older file says from that step on. */
EventFile *events_open(const char *folder, int64_t first_step, Error *e);

bool events_scalar(EventFile *f, const char *tag, int64_t step, double value, Error *e); /* tag: "loss/train" */
void events_close(EventFile *f);                                                         /* NULL is fine */

uint32_t crc32c(const void *bytes, size_t count); /* Castagnoli's polynomial: RFC 3720, B.4 */
