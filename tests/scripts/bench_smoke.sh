#!/usr/bin/env bash
# Our side of every bench speaks its protocol once, on tiny sizes and without a peer: that it runs, never how fast.
. tests/scripts/lib/common.sh
programs=${ZOO_BUILD:-$root/build/release}/bench

# speaks PROGRAM WORD...: prepares the case, and every command is answered. `files` are what it leaves.
files='inputs ours'
speaks() {
    local program=$1 case=${*:2} folder=$work/case answers
    rm -rf "$folder"
    printf '%s\n' "prepare $folder $case" check 'turn 0.01' peak bandwidth memory | "$programs/$program" >answers.txt 2>err.txt ||
        fail "$program $case: exit $?: $(tail -n 2 err.txt)"
    answers=$(sed -E 's/[0-9.]+(e[+-]?[0-9]+)?/N/g' answers.txt | paste -sd'|')
    [ "$answers" = 'ready flop=N bytes=N items=N|done|turn N N|peak N|bandwidth N|memory N N' ] || fail "$program $case: $(cat answers.txt err.txt)"
    for file in $files; do
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
speaks ninformer mode=train config=default batch=2 threads=2
speaks routing mode=train config=lucidrains batch=1 threads=2
for backward in no yes; do
    for causal in no yes; do
        speaks attention mechanism=dense batch=2 heads=3 tokens=17 width=8 backward=$backward causal=$causal threads=2
    done
done
for mechanism in windowed windowed-relative routed routed-relative; do
    speaks attention mechanism=$mechanism batch=2 heads=3 tokens=24 width=8 block=6 clusters=4 backward=yes causal=yes threads=2
    speaks attention mechanism=$mechanism batch=1 heads=2 tokens=17 width=5 backward=no causal=no threads=1
done
for direction in forward input weight; do
    speaks linear m=33 n=20 k=12 direction=$direction threads=2
done
if grep -qw avx512_bf16 /proc/cpuinfo; then
    speaks attention batch=2 heads=3 tokens=17 width=8 backward=yes causal=no precision=bf16 threads=2
    for mechanism in windowed-relative routed; do
        speaks attention mechanism=$mechanism batch=2 heads=3 tokens=24 width=8 block=6 clusters=4 backward=yes causal=yes \
            precision=bf16 threads=2
    done
    speaks linear m=33 n=20 k=12 direction=forward precision=bf16 threads=2
fi
for backward in no yes; do
    for op in 'layer_norm cols=12' 'gelu cols=12' 'cross_entropy cols=12' 'bicubic channels=3 side=9 out_side=7' \
        'convolution channels=4 out_channels=8 side=9 kernel=3 stride=2 pad=1'; do
        # shellcheck disable=SC2086 # several words
        speaks elementwise op=$op rows=5 backward=$backward threads=2
    done
done
speaks elementwise op=adamw rows=5 cols=7 threads=2
mkdir -p "$work/images/train/chart"
cp "$root/docs/report.png" "$work/images/train/chart"
files=ours speaks data folder="$work/images" batch=1 threads=2
refuses crossvit 'mode=train.infer' "prepare $work/case mode=fly"
refuses crossvit 'defalt' "prepare $work/case config=defalt"
refuses attention 'known mechanism' "prepare $work/case tokens=4 mechanism=dens" "prepare $work/case tokens=-1"
refuses attention 'divide the tokens' "prepare $work/case tokens=24 block=5" "prepare $work/case tokens=24 clusters=7"
refuses elementwise 'known op' "prepare $work/case op=dance" "prepare $work/case op=adamw backward=yes" \
    "prepare $work/case op=gelu rows=0"
refuses data 'nowhere' "prepare $work/case folder=$work/nowhere"
refuses linear 'fp32.bf16' "prepare $work/case m=4 n=4 k=4 precision=fp8"
refuses linear 'no colour=red' "prepare $work/case m=4 n=4 k=4 colour=red"
refuses linear 'nothing is prepared|unknown command' check 'turn 1' dance

# The command itself, where there is a Python to run it.
if command -v python3 >/dev/null; then
    "$root/bench/run" --list >list.txt || fail "bench/run --list"
    grep -q '^crossvit-ti-train-fp32 ' list.txt || fail "bench/run --list: $(cat list.txt)"
    expect 2 'did you mean crossvit-ti-train-fp32' "$root/bench/run" crosvit-ti-train-fp32
fi
finish
