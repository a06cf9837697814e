/* A config of variant B that is as small as one can be. */
#pragma once
#include "models/routing/lucidrains.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { VOCABULARY = 11 };

#define SMALL "num_tokens: 11, dim: 18, depth: 2, max_seq_len: 24, heads: 3, dim_head: 6"

/* `keys` in flow YAML beside those of SMALL. */
static inline bool bind(const char *keys, LucidrainsConfig *config, Error *e)
{
    char text[512];
    snprintf(text, sizeof text, "{%s, %s}", SMALL, keys);
    Node *node = node_from_flow_yaml(text, "test", e);
    assert_non_null(node);
    bool good = config_bind(&lucidrains_config_table, node, config, e);
    node_free(node);
    return good;
}
