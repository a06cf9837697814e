#!/usr/bin/env bash
# Steps as CUDA graphs, on the emulated GPU: bit for bit what kernels give that are started one by one, whatever is done in the steps and
# between them; and few graphs are made, which take over what changes.
. tests/scripts/lib/common.sh
build=${ZOO_BUILD:-$root/build/release}
export ZOO_CUDA_LIBRARY=$build/libzoo_cuda_emulated.so ZOO_CUDA_GRAPH

ZOO_CUDA_GRAPH=2 expect 2 'ZOO_CUDA_GRAPH=2: neither 0 nor 1 nor report' "$crossvit" train device=cuda

# same NAME MODEL: both runs have the same rows and end in the same bits
same() {
    local plain=runs/$2/$1-0 graphs=runs/$2/$1-report file
    cmp "$plain/metrics.csv" "$graphs/metrics.csv" || fail "$1: other rows with graphs"
    for file in model state; do
        [ "$(tensors "$plain/checkpoints/last/$file.safetensors")" = "$(tensors "$graphs/checkpoints/last/$file.safetensors")" ] ||
            fail "$1: other tensors with graphs in $file.safetensors"
    done
}

# both NAME MODEL ARGUMENTS...: trains it without graphs and with them
both() {
    local name=$1 model=$2
    shift 2
    for ZOO_CUDA_GRAPH in 0 report; do
        "$build/models/$model" train "$@" name="$name-$ZOO_CUDA_GRAPH" device=cuda >"$name-$ZOO_CUDA_GRAPH.txt" 2>&1 ||
            fail "$name, ZOO_CUDA_GRAPH=$ZOO_CUDA_GRAPH: $(tail -n 2 "$name-$ZOO_CUDA_GRAPH.txt")"
    done
    same "$name" "$model"
    grep -q 'device cuda:' "$name-0.txt" && fail "$name: reported without being asked"
}

# graphs NAME STEPS LEAST MOST: of so many steps at least so many graphs were launched; at most so many were made, the others updated
graphs() {
    local line
    line=$(grep '^device cuda: ' "$1-report.txt")
    echo "$1: $line"
    [[ $line =~ ^"device cuda: $2 steps; "([0-9]+)" graphs launched, "([0-9]+)" made, "([0-9]+)" updated"$ ]] ||
        { fail "$1: not $2 steps: $line"; return; }
    [ "${BASH_REMATCH[1]}" -ge "$3" ] || fail "$1: fewer graphs than $3: $line"
    [ "${BASH_REMATCH[2]}" -le "$4" ] || fail "$1: more than $4 graphs made: $line"
    [ $((BASH_REMATCH[2] + BASH_REMATCH[3])) = "${BASH_REMATCH[1]}" ] || fail "$1: graphs that were neither made nor updated: $line"
}

# Two epochs, with a validation and a checkpoint after each.
both steps crossvit "${micro[@]:1}"
graphs steps 20 16 3
run=runs/crossvit/steps-report
cp -r $run runs/crossvit/resumed-report
cp -r runs/crossvit/steps-0 runs/crossvit/resumed-0
run=runs/crossvit/resumed-report
sed -i 's/finished/started/' $run/status
rm -r $run/checkpoints/20
ln -sfn 10 $run/checkpoints/last
ln -sfn 10 $run/checkpoints/best
"$crossvit" train --resume $run >resumed-report.txt 2>&1 || fail "resumed: $(tail -n 2 resumed-report.txt)"
same resumed crossvit
graphs resumed 10 7 2

# Two branches in bf16; the last batch of each of four epochs is smaller; everything that is drawn, on the device and on the host.
both uneven crossvit "${micro[@]:1}" train.epochs=4 train.batch_size=12 train.drop_last=no precision=bf16 train.clip_norm=1 \
    model.drop_rate=0.1 model.attn_drop_rate=0.1 model.drop_path_rate=0.2
graphs uneven 16 10 4

# Steps that wait in the middle, for answers that are counted from logits, and in parts of a batch; the k-means after each.
cat >recall.yaml <<'END'
base: experiment
model: {variant: lucidrains, num_tokens: 192, dim: 16, depth: 2, max_seq_len: 32, heads: 4, dim_head: 4, causal: true, window_size: 8,
        n_local_attn_heads: [4, 2], attn_dropout: 0.1, ff_dropout: 0.1}
data: {pairs: 4, threads: 1, limit_valid: 64, limit_test: 64}
train: {steps: 10, batch_size: 4, accumulate: 2, validate_every: 5}
eval: {batch_size: 2, ngram: 0}
threads: 1
arms: null
seeds: []
claim: null
END
both recall routing "$PWD/recall.yaml"
graphs recall 10 7 12
finish
