/* One side of a bench: a process that does what it is told, a line at a time on stdin, an answer a line on stdout.
 *
 *     prepare FOLDER key=value ...    ready flop=F bytes=B items=N  a case: its inputs go to FOLDER/inputs.safetensors
 *     check                           done                     results of one operation, to FOLDER/ours.safetensors
 *     turn SECONDS                    turn S N                 N operations, at least SECONDS; S seconds each
 *     peak                            peak G                   GFLOP/s (fp32) that the processors give just now
 *     bandwidth                       bandwidth G              GB/s that memory gives just now, read and written
 *     memory                          memory R P               bytes: the process' peak, the tensors' peak
 *
 * What a user got wrong is answered with `error LINE`. The end of stdin ends the process. The peer (bench/peers) speaks
 * the same, but reads the inputs and writes FOLDER/peer.safetensors. */
#pragma once
#include "common/autograd/tape.h"
#include "common/base/error.h"
#include "common/tensor/tensor_file.h"

/* The key=value words of a prepare. What no one asked for is an error, so that a slip of the fingers measures nothing. */
typedef struct Words {
    char **items;
    bool *used;
    int count;
} Words;

const char *words_text(Words *w, const char *key, const char *otherwise);
int64_t words_int(Words *w, const char *key, int64_t otherwise); /* < 0: not a number */
bool words_flag(Words *w, const char *key);                      /* key=yes */

/* precision=fp32|bf16, the type of activations; fp32 if it is not said. False with a line, also where the backend has no bf16. */
bool words_precision(Words *w, const Backend *backend, DType *type, Error *e);

/* A prepared case. */
typedef struct Case {
    void *own;
    double flop;   /* useful operations of one turn, a multiply-add counts two; 0: not what bounds it */
    double bytes;  /* that one turn has to read and write at least; 0: not what bounds it */
    int64_t items; /* images, tokens: what a rate counts */
    int threads;
    Tape *tape; /* NULL: it works without */
    void (*operation)(void *own);
    bool (*check)(void *own, const char *path, Error *e);
    void (*close)(void *own);
} Case;

/* Fills the case and writes its inputs to `inputs`; on failure a line, and nothing is left behind. */
typedef bool Prepare(Case *c, Words *words, const char *inputs, Error *e);

/* The main of a side. Returns the exit code. */
int side_main(Prepare *prepare);

/* GFLOP/s of fp32 multiply-adds in registers over `milliseconds`, at the widest vectors of this machine. */
double peak_gflops(int threads, double milliseconds);

/* GB/s of a loop that reads one array and writes another, both larger than the caches, over `milliseconds`. */
double memory_bandwidth(int threads, double milliseconds);

/* The same numbers in [-scale, scale) for the same name, anywhere; F32, or BF16: those rounded. */
void side_fill(const char *name, int64_t count, float scale, DType type, void *out);

/* The whole tensor (no window) as one of a file. */
TensorToWrite side_to_write(const char *name, const Tensor *x);
