#!/usr/bin/env bash
# Several ranks train as one does, whatever their number: the same curve, with augmentation and dropout on, from any checkpoint of
# any number of them; and a rank that dies leaves a run that goes on.
. tests/scripts/lib/common.sh
models=$(dirname "$crossvit")
preset=$(basename "$(dirname "$models")")

# One process neither needs MPI nor loads it.
LD_DEBUG=files "$crossvit" train --help 2>&1 | grep -q 'libmpi' && fail "a single process loads MPI"
OMPI_COMM_WORLD_SIZE=2 ZOO_MPI_LIBRARY=/nowhere.so expect 2 'this build has no MPI: install' "$crossvit" train
OMPI_COMM_WORLD_SIZE=2 expect 2 'eval is one process' "$crossvit" eval

if ! command -v mpirun >/dev/null || [ ! -e "$(dirname "$models")/comm/libzoo_mpi.so" ]; then
    [ $failures = 0 ] && exit 77
    finish
fi
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0" # MPI's own
ranks() {
    local n=$1
    shift
    mpirun --allow-run-as-root --oversubscribe -n "$n" "$@"
}

# The largest difference of the losses in two metrics.csv, and how many steps they have in common.
difference() {
    join -t, <(tail -n +2 "$1" | cut -d, -f1,4 | sort -t, -k1,1) <(tail -n +2 "$2" | cut -d, -f1,4 | sort -t, -k1,1) |
        awk -F, '{ d = $2 > $3 ? $2 - $3 : $3 - $2; if (d > most) most = d; if ($2 == "nan" || $3 == "nan") most = 1 }
                 END { printf "%g %d\n", most, NR }'
}

# same STEPS ONE MANY: so many steps in both, no losses 1e-5 apart
same() {
    difference "$2" "$3" | awk -v steps="$1" '{ exit !($1 < 1e-5 && $2 == steps) }' ||
        fail "$2 and $3: largest difference and steps: $(difference "$2" "$3"), not $1"
}

cat >curve.yaml <<'END'
base: default
model: {drop_rate: 0.1, drop_path_rate: 0.1}
data: {limit_train: 260, limit_test: 64, hold_out: 100, threads: 1, auto_augment: rand-m9-mstd0.5-inc1, erase_probability: 0.25}
train: {epochs: 10, batch_size: 16, lr: 3e-4, mixup: 0.8, cutmix: 1}
eval: {batch_size: 16}
threads: 1
END
run=runs/crossvit
"$crossvit" train "$PWD/curve.yaml" name=one >one.txt || fail "one rank: $(tail -n 3 one.txt)"
ranks 2 "$crossvit" train "$PWD/curve.yaml" name=two >two.txt 2>&1 || fail "two ranks: $(tail -n 3 two.txt)"
ranks 4 "$crossvit" train "$PWD/curve.yaml" name=four >four.txt 2>&1 || fail "four ranks: $(tail -n 3 four.txt)"
same 100 $run/one/metrics.csv $run/two/metrics.csv
same 100 $run/one/metrics.csv $run/four/metrics.csv
for text in two.txt four.txt; do
    [ "$(grep -c 'test: top-1' $text)" = 1 ] || fail "not one rank alone speaks: $(grep 'test:' $text)"
done
[ "$(head -n 1 $run/two/metrics.csv)" = "$(head -n 1 $run/one/metrics.csv)" ] || fail "other columns"

# A rank is killed in the middle of a run of two, which saves after every step; it goes on with one, and with four.
mpirun --allow-run-as-root --oversubscribe -n 2 "$crossvit" train "$PWD/curve.yaml" name=killed save_seconds=0.0001 \
    >killed.txt 2>killed.err &
launcher=$!
for _ in $(seq 400); do
    [ -e $run/killed/checkpoints/last ] && break
    sleep 0.05
done
kill -9 "$(pgrep -P $launcher | tail -n 1)"
wait $launcher && fail "a run of which a rank was killed ends well"
[ "$(grep -c 'another rank has ended.*--resume runs/crossvit/killed' killed.err)" = 1 ] || fail "no clear line: $(cat killed.err)"
grep -q finished $run/killed/status && fail "the run was over before it was killed"
cp -r $run/killed $run/with_one
cp -r $run/killed $run/with_four
"$crossvit" train --resume $run/with_one >resumed.txt 2>&1 || fail "a run of two goes on with one: $(tail -n 3 resumed.txt)"
ranks 4 "$crossvit" train --resume $run/with_four >resumed.txt 2>&1 || fail "a run of two goes on with four: $(tail -n 3 resumed.txt)"
same 100 $run/one/metrics.csv $run/with_one/metrics.csv
same 100 $run/one/metrics.csv $run/with_four/metrics.csv

# A language model with clusters that follow the tokens, in parts of a batch; and the other variant's k-means.
cat >recall.yaml <<'END'
base: experiment
model: {max_target_length: 128, query_shape: [16], memory_flange: [16], sparsity_cluster_attention_window: 16,
        max_relative_position: 33, layer_prepostprocess_dropout: 0.1, target_dropout: 0.1}
data: {pairs: 4, threads: 1}
train: {steps: 10, batch_size: 8, accumulate: 2, validate_every: 10}
eval: {batch_size: 4}
threads: 1
arms: null
seeds: []
claim: null
END
cat >kmeans.yaml <<'END'
base: recall.yaml
model: {variant: lucidrains, num_tokens: 192, dim: 32, depth: 2, max_seq_len: 128, heads: 4, dim_head: 8, causal: true, window_size: 16,
        n_local_attn_heads: [4, 2], attn_dropout: 0.1, ff_dropout: 0.1, layer_dropout: 0.1}
END
tr -cd '\n -~' <"$root/docs/add-a-paper.md" >text.txt
cat >characters.yaml <<'END'
base: kmeans.yaml
model: {num_tokens: 128}
data: {set: text, path: text.txt, tokenizer: characters}
train: {loss: all}
END
cat >mixer.yaml <<'END'
base: default
data: {limit_train: 180, limit_test: 64, hold_out: 20, threads: 1}
train: {epochs: 1, batch_size: 16}
threads: 1
END
export XDG_CACHE_HOME # of each run another: ranks learn a vocabulary together
for model in routing/recall routing/kmeans routing/characters ninformer/mixer; do
    name=${model#*/} program=$models/${model%/*}
    XDG_CACHE_HOME=$PWD/cache1
    "$program" train "$PWD/$name.yaml" name="$name-1" >one.txt 2>&1 || fail "$model with one rank: $(tail -n 3 one.txt)"
    XDG_CACHE_HOME=$PWD/cache2
    ranks 2 "$program" train "$PWD/$name.yaml" name="$name-2" >two.txt 2>&1 || fail "$model with two: $(tail -n 3 two.txt)"
    same 10 "runs/${model%/*}/$name-1/metrics.csv" "runs/${model%/*}/$name-2/metrics.csv"
done

# Memory that the host must copy from and to: two ranks on the emulated GPU are one on the CPU.
gpu=$(dirname "$models")/libzoo_cuda_emulated.so
if [ -e "$gpu" ] && [ "$preset" = release ]; then
    short=(data.limit_train=52 data.hold_out=20 data.limit_test=16 train.epochs=1)
    "$crossvit" train "$PWD/curve.yaml" name=cpu "${short[@]}" >one.txt 2>&1 || fail "a short run: $(tail -n 3 one.txt)"
    ZOO_CUDA_LIBRARY=$gpu ZOO_NCCL_LIBRARY='' ranks 2 "$crossvit" train "$PWD/curve.yaml" name=gpus device=cuda "${short[@]}" \
        >two.txt 2>&1 || fail "two ranks on the emulated GPU: $(tail -n 3 two.txt)"
    same 2 $run/cpu/metrics.csv $run/gpus/metrics.csv
fi

# What a user can get wrong is said once.
ranks 3 "$crossvit" train "$PWD/curve.yaml" name=three >out.txt 2>err.txt && fail "three ranks share 16 rows"
[ "$(grep -c 'expected a multiple of 6 for 3 ranks' err.txt)" = 1 ] || fail "not said once: $(cat err.txt)"
[ -e $run/three ] && fail "a run that never began left its folder"
ranks 2 "$crossvit" train train.batch_sise=3 >out.txt 2>err.txt && fail "an unknown key is taken"
[ "$(grep -c 'did you mean batch_size' err.txt)" = 1 ] || fail "not said once: $(cat err.txt)"

# The launcher's first rank builds for all of a machine.
ZOO_PRESET=$preset ranks 2 "$root/train" crossvit --help >help.txt 2>&1 || fail "./train under mpirun: $(tail -n 3 help.txt)"
[ "$(grep -c '^usage' help.txt)" = 1 ] || fail "help for one rank: $(head -n 2 help.txt)"
finish
