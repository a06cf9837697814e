/* CrossViT: cross-attention multi-scale vision transformer (Chen, Fan, Panda, ICCV 2021, arXiv 2103.14899).
 * Two ViT branches over two patch sizes; several times the class token of each asks the patches of the other.
 *
 * Letters: B batch; b branch, 0 = small patches, 1 = large; o = 1 - b; C_b width; N_b patches. */
#pragma once
#include "common/nn/layers.h"
#include "common/run/config/config.h"

enum { BRANCHES = 2 };

typedef enum FusionScheme {                         /* paper, section 3.2, figure 3 */
                            FUSION_CROSS_ATTENTION, /* (d), eq. 3-6: what CrossViT is */
                            FUSION_NONE,
                            FUSION_CLASS_TOKEN,  /* (b), eq. 2 */
                            FUSION_PAIRWISE,     /* (c) */
                            FUSION_ALL_ATTENTION /* (a), eq. 1 */
} FusionScheme;

typedef enum BranchChoice { BRANCH_BOTH, BRANCH_SMALL, BRANCH_LARGE } BranchChoice;

/* The keys of the authors' VisionTransformer; `fusion` and `branches` are ours, for the paper's ablation (table 6, 8). */
typedef struct CrossvitConfig {
    int img_size[BRANCHES], patch_size[BRANCHES];
    int in_chans, num_classes;
    int embed_dim[BRANCHES];
    int (*depth)[3]; /* a stage each: blocks of the small and of the large branch, fusion blocks (0: one, unnumbered) */
    int stages;
    int num_heads[BRANCHES];
    double mlp_ratio[3];
    bool qkv_bias;
    double qk_scale;
    bool has_qk_scale;
    double drop_rate, attn_drop_rate, drop_path_rate;
    bool multi_conv;
    FusionScheme fusion;
    BranchChoice branches;
} CrossvitConfig;

extern const ConfigTable crossvit_config_table;

typedef struct Crossvit Crossvit;

Crossvit *crossvit_new(const CrossvitConfig *config, Params *params);
void crossvit_free(Crossvit *m);

/* x [B,3,H,W] -> logits [B,classes], the mean of the branches' logits; those go to branch_logits[b] unless NULL (NULL entry:
 * the branch does not exist). */
Tensor *crossvit_forward(Tape *t, const Crossvit *m, Tensor *x, Tensor *branch_logits[BRANCHES]);

int crossvit_stages(const Crossvit *m);

/* Position embeddings [1,1+g^2,C] for a grid of `grid` a side: the class token's row is kept, the rest resized as an image of C
 * channels (bicubic). For finetuning at another resolution; the authors' repository has none. */
Tensor *crossvit_resize_positions(Tape *t, Tensor *pos_embed, int64_t grid);

/* The drop-path rates in the order in which a forward uses them, those above 0 only. Returns how many; at most `room` are
 * written. */
int crossvit_drop_path_rates(const CrossvitConfig *config, float *rates, int room);

/* timm's names: pos_embed.0 -> pos_embed_0, cls_token.0 -> cls_token_0 (a LoadOptions.rename). */
bool crossvit_timm_name(const char *name, char renamed[static 256]);
