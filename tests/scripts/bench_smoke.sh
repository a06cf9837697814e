#!/usr/bin/env bash
# Our side of every bench speaks its protocol once, on tiny sizes and without a peer: that it runs, never how fast.
. tests/scripts/lib/common.sh
programs=${ZOO_BUILD:-$root/build/release}/bench

# speaks PROGRAM WORD...: prepares the case, and every command is answered.
speaks() {
    local program=$1 case=${*:2} folder=$work/case answers
    rm -rf "$folder"
    printf '%s\n' "prepare $folder $case" check 'turn 0.01' peak memory | "$programs/$program" >answers.txt 2>err.txt ||
        fail "$program $case: exit $?: $(tail -n 2 err.txt)"
    answers=$(sed -E 's/[0-9.]+(e[+-]?[0-9]+)?/N/g' answers.txt | paste -sd'|')
    [ "$answers" = 'ready flop=N items=N|done|turn N N|peak N|memory N N' ] || fail "$program $case: $(cat answers.txt err.txt)"
    for file in inputs ours; do
        [ -s "$folder/$file.safetensors" ] || fail "$program $case: no $file.safetensors"
    done
}

# refuses PROGRAM PATTERN LINE...: each line is answered with an error that helps, and the side goes on.
refuses() {
    printf '%s\n' "${@:3}" | "$programs/$1" >answers.txt 2>&1 || fail "$1 ends with $? after: ${*:3}"
    [ "$(grep -cE "^error .*$2" answers.txt)" = $(($# - 2)) ] || fail "$1 says to '${*:3}': $(cat answers.txt)"
}

speaks crossvit mode=train config=parity batch=2 threads=2
speaks crossvit mode=infer config=parity batch=1 threads=1
for backward in no yes; do
    for causal in no yes; do
        speaks attention mechanism=dense batch=2 heads=3 tokens=17 width=8 backward=$backward causal=$causal threads=2
    done
done
for direction in forward input weight; do
    speaks linear m=33 n=20 k=12 direction=$direction threads=2
done
refuses crossvit 'mode=train.infer' "prepare $work/case mode=fly"
refuses crossvit 'defalt' "prepare $work/case config=defalt"
refuses attention 'known mechanism' "prepare $work/case tokens=4 mechanism=dens" "prepare $work/case tokens=-1"
refuses linear 'no colour=red' "prepare $work/case m=4 n=4 k=4 colour=red"
refuses linear 'nothing is prepared|unknown command' check 'turn 1' dance

# The command itself, where there is a Python to run it.
if command -v python3 >/dev/null; then
    "$root/bench/run" --list >list.txt || fail "bench/run --list"
    grep -q '^crossvit-ti-train-fp32 ' list.txt || fail "bench/run --list: $(cat list.txt)"
    expect 2 'did you mean crossvit-ti-train-fp32' "$root/bench/run" crosvit-ti-train-fp32
fi
finish
