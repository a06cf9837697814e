#!/usr/bin/env bash
# A whole run leaves what it should; killed, interrupted and resumed, and with other thread counts, it ends in the same bits.
. tests/scripts/lib/common.sh

"$crossvit" "${tiny[@]}" name=whole >whole.txt || fail "a run ends with $?: $(tail -n 3 whole.txt)"
run=runs/crossvit/whole
for file in config.yaml metrics.csv log.txt report.html result.yaml checkpoints/last/model.safetensors \
    checkpoints/best/model.safetensors checkpoints/last/state.safetensors; do
    [ -s "$run/$file" ] || fail "$run/$file is missing"
done
ls $run/events.out.tfevents.* >/dev/null 2>&1 || fail "no TensorBoard events"
grep -q 'top-1' whole.txt || fail "no test result on stdout"
whole=$(tensors $run/checkpoints/last/model.safetensors)

# Threads of the kernels and of the loader change nothing.
"$crossvit" "${tiny[@]}" name=threads threads=1 data.threads=0 >/dev/null || fail "a run with one thread"
[ "$(tensors runs/crossvit/threads/checkpoints/last/model.safetensors)" = "$whole" ] || fail "threads change the result"

# kill -9 in the middle, with a checkpoint after every step.
"$crossvit" "${tiny[@]}" name=killed save_seconds=0.0001 >killed.txt 2>&1 &
pid=$!
for _ in $(seq 400); do
    [ -e runs/crossvit/killed/checkpoints/last ] && break
    sleep 0.02
done
expect 2 'another process' "$crossvit" train --resume runs/crossvit/killed
kill -9 $pid 2>/dev/null && wait $pid 2>/dev/null
grep -q finished runs/crossvit/killed/status && fail "the run was over before it was killed"
expect 2 'differs from the run' "$crossvit" train --resume runs/crossvit/killed train.lr=1
cp runs/crossvit/killed/config.yaml config.yaml
sed -i 's/epochs: 2/epochs: 3/' runs/crossvit/killed/config.yaml
expect 2 'train.epochs differs from the run' "$crossvit" train --resume runs/crossvit/killed
cp config.yaml runs/crossvit/killed/
"$crossvit" train --resume runs/crossvit/killed >resumed.txt 2>&1 || fail "resuming: $(tail -n 3 resumed.txt)"
[ "$(tensors runs/crossvit/killed/checkpoints/last/model.safetensors)" = "$whole" ] || fail "resumed after kill -9, other bits"
cmp -s runs/crossvit/killed/metrics.csv $run/metrics.csv || fail "resumed after kill -9, other metrics: $(diff runs/crossvit/killed/metrics.csv $run/metrics.csv)"

# Killed before it saved anything, with figures written: it begins again.
sed -i 's/finished/started/' runs/crossvit/threads/status
rm -r runs/crossvit/threads/checkpoints
"$crossvit" train --resume runs/crossvit/threads >resumed.txt 2>&1 || fail "resuming without a checkpoint: $(tail -n 3 resumed.txt)"
[ "$(tensors runs/crossvit/threads/checkpoints/last/model.safetensors)" = "$whole" ] || fail "begun again, other bits"
cmp -s runs/crossvit/threads/metrics.csv $run/metrics.csv || fail "begun again, other metrics"

# SIGINT saves, says how to go on, and exits 130; --resume alone finds the run.
"$crossvit" "${tiny[@]}" name=interrupted train.epochs=2 >interrupted.txt 2>&1 &
pid=$!
for _ in $(seq 400); do
    grep -q 'epoch' interrupted.txt 2>/dev/null && break
    sleep 0.02
done
kill -INT $pid
wait $pid
code=$?
if [ $code = 130 ]; then
    grep -q -- '--resume' interrupted.txt || fail "an interrupted run does not say how to go on"
    "$crossvit" train --resume >resumed.txt 2>&1 || fail "--resume alone: $(tail -n 3 resumed.txt)"
elif [ $code != 0 ]; then
    fail "SIGINT: exit $code"
fi
[ "$(tensors runs/crossvit/interrupted/checkpoints/last/model.safetensors)" = "$whole" ] || fail "interrupted and resumed, other bits"

expect 2 'has finished' "$crossvit" train --resume runs/crossvit/whole

expect 2 'no unfinished run' "$crossvit" train --resume

# A finished run is evaluated, and what its weights give is what the run said.
"$crossvit" eval $run >eval.txt || fail "evaluating a checkpoint"
[ "$(grep -o 'top-1 [0-9.]*' eval.txt | head -n 1)" = "$(grep 'test:' whole.txt | grep -o 'top-1 [0-9.]*')" ] || fail "eval and the run disagree"
finish
