/* Who belongs to which cluster: what the routing heads of a model do with a text, in either variant.
 *
 * Letters: N tokens; K clusters of a head. */
#pragma once
#include "models/routing/routing.h"

/* One head's. A token attends to the members of its clusters that stand before it; its colour is that of the nearest one, of
 * whose members it is none if others are nearer. */
typedef struct ClustersOfHead {
    int layer, head, clusters;
    int32_t *nearest; /* [N] */
    uint8_t *member;  /* [N,K]: 0 or 1 */
} ClustersOfHead;

typedef struct Clustering {
    ARRAY(ClustersOfHead) heads;
    int64_t count; /* N */
    int64_t shift; /* the row of the model that reads token 0 */
    int layer;     /* that the watched forward is in */
    size_t layer_begins;
} Clustering;

/* What the model does with ids [count], which fit its window. */
Clustering clustering_of(Job *job, const int64_t *ids, int64_t count);
void clustering_free(Clustering *c);

/* ./eval routing RUN --clusters [TEXT]: of TEXT, or of the beginning of the test text, as the page clusters.html. */
bool clusters_view(Job *job, const char *text, Error *e);

/* The page: texts [count] of the tokens; about: what text it is. */
bool clusters_page(const Job *job, const Clustering *c, char *const *texts, const char *about, const char *path,
                   Error *e);
