#!/usr/bin/env bash
# Runs of the Routing Transformer: killed between two updates of the k-means and resumed, they end in the same bits; text is the
# same with and without caches; and what is wrong with a text or a vocabulary is one line.
. tests/scripts/lib/common.sh
routing=${ZOO_BUILD:-$root/build/release}/models/routing

cat "$root"/docs/*.md "$root"/common/*/README.md | head -c 40000 >text.txt
small=(data.set=text data.path=text.txt data.tokenizer=bytes data.length=128 data.limit_valid=512 data.limit_test=512
    train.batch_size=2 train.steps=100 train.validate_every=50 train.sample_length=0 eval.ngram=0 threads=1)
official=(default model.hidden_size=32 model.embedding_dims=32 model.filter_size=32 model.num_decoder_layers=2 'model.query_shape=[64]'
    'model.memory_flange=[64]' model.sparsity_skip_first=0 model.sparsity_cluster_attention_window=32)
lucidrains=(lucidrains model.dim=32 model.dim_head=8 model.depth=2 'model.n_local_attn_heads=[2, 2]')

vocabulary() {
    [ "$1" = official ] && echo model.vocab_size || echo model.num_tokens
}

# kill -9 in the middle, with a checkpoint after every step. What the means follow is part of the checkpoint; what a step has
# gathered for its own update is gone with the step.
for variant in official lucidrains; do
    declare -n words=$variant
    "$routing" train "${words[@]}" "${small[@]}" name=$variant >whole.txt 2>&1 || fail "$variant ends with $?: $(tail -n 3 whole.txt)"
    whole=$(tensors runs/routing/$variant/checkpoints/last/model.safetensors)
    killed=runs/routing/$variant-killed
    "$routing" train "${words[@]}" "${small[@]}" name=$variant-killed save_seconds=0.0001 >killed.txt 2>&1 &
    pid=$!
    for _ in $(seq 600); do
        [ -e $killed/checkpoints/last ] && break
        sleep 0.02
    done
    kill -9 $pid 2>/dev/null && wait $pid 2>/dev/null
    grep -q finished $killed/status && fail "$variant was over before it was killed"
    "$routing" train --resume $killed >resumed.txt 2>&1 || fail "resuming $variant: $(tail -n 3 resumed.txt)"
    [ "$(tensors $killed/checkpoints/last/model.safetensors)" = "$whole" ] || fail "$variant resumed after kill -9: other bits"
    cmp -s $killed/metrics.csv runs/routing/$variant/metrics.csv || fail "$variant resumed after kill -9: other metrics"
done

# Local heads alone keep keys and values while they write, in either variant.
"$routing" train local "${official[@]:1}" "${small[@]}" train.steps=2 name=local >/dev/null || fail "a run with local heads"
"$routing" train "${lucidrains[@]}" "${small[@]}" model.n_local_attn_heads=4 train.steps=2 name=locals >/dev/null || fail "variant B with local heads"
for run in local locals; do
    for cache in yes no; do
        "$routing" eval runs/routing/$run --generate "The house" eval.length=150 eval.cache=$cache >$cache.txt || fail "$run writes nothing"
    done
    cmp -s yes.txt no.txt || fail "$run writes another text with caches"
done

# ---- Wrong inputs
: >empty.txt
head -c 300 text.txt >short.txt
for variant in official lucidrains; do
    declare -n words=$variant
    expect 2 'empty.txt: holds no text' "$routing" train "${words[@]}" "${small[@]}" data.path=empty.txt
    expect 2 '[0-9]+ tokens of text, fewer than one sequence of 12[89]' "$routing" train "${words[@]}" "${small[@]}" data.path=short.txt
    expect 2 'sequences of 96 tokens \(data.length\), expected a multiple of the model.s block of 64' "$routing" train "${words[@]}" "${small[@]}" data.length=96
    expect 2 '(vocab_size|num_tokens) is 200, but the ids of data.set text .* go up to 255' "$routing" train "${words[@]}" "${small[@]}" "$(vocabulary $variant)=200"
done
expect 2 'does not fit this model: 3 of another shape' "$routing" eval runs/routing/official model.vocab_size=300
expect 2 'does not fit this model: [0-9]+ of another shape' "$routing" eval runs/routing/lucidrains model.num_tokens=300
expect 2 'empty.txt: holds no text' "$routing" eval runs/routing/official data.path=empty.txt
expect 2 '--generate needs a value' "$routing" eval runs/routing/official --generate ""
finish
