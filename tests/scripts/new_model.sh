#!/usr/bin/env bash
# tools/new-model in a copy of the tree: both skeletons build without a warning, are listed, train, equal their golden file and
# pass their tests; a name that cannot be is one line and exit 2. Then docs/add-a-paper.md: the changes that it shows apply to
# a skeleton, and give the model that it says they give.
. tests/scripts/lib/common.sh

# run WHAT COMMAND...: must succeed; both its streams go to WHAT.txt outside the tree.
run() {
    local out=$work/$1.txt
    shift
    "$@" >"$out" 2>&1 </dev/null || fail "exit $?: $*: $(tail -n 5 "$out")"
}

mkdir tree
tar -C "$root" --exclude=./build --exclude=./runs --exclude=./.git --exclude=./models/linformer -cf - . | tar -xf - -C tree
export ZOO_PRESET=${ZOO_BUILD##*/} # the sanitizers look at the skeleton too
case $ZOO_PRESET in release | debug | asan-ubsan) ;; *) ZOO_PRESET=release ;; esac
cd tree || exit 1

before=$(ls -A . models)
expect 2 "expected one name" tools/new-model
expect 2 "name is 'Two words'" tools/new-model "Two words"
expect 2 "name is '../up'" tools/new-model ../up
expect 2 "name is '9lives'" tools/new-model 9lives
expect 2 "models/crossvit exists" tools/new-model crossvit
expect 2 "target of the build" tools/new-model checks
expect 2 "target of the build" tools/new-model test_me
expect 2 "at most 32" tools/new-model a_name_that_is_longer_than_the_header_has_room
expect 2 "common/nn/layers.h" tools/new-model linear
expect 2 "model of 'sound', expected images or text" tools/new-model hears sound
rm -f out.txt err.txt
[ "$(ls -A . models)" = "$before" ] || fail "a refused name left something behind"

# skeleton KIND PARAMETERS COMPARED TRAINING...: of the smallest config.
skeleton() {
    local kind=$1 parameters=$2 compared=$3 name=new_model_of_$1
    shift 3
    run made tools/new-model "$name" "$kind"
    expect 2 "models/$name exists" tools/new-model "$name"
    grep -rIli skeleton "models/$name" && fail "the template's name is still in models/$name"
    ./train | grep -q "^$name *NewModelOf${kind^}: " || fail "./train does not list $name"
    run dry ./train "$name" tiny --dry-run
    grep "models/$name.*warning" "build/$ZOO_PRESET/build.log" && fail "the skeleton of $kind does not compile without warnings"
    run configs ./eval "$name" --configs
    grep -q "^default *$parameters parameters" "$work/configs.txt" || fail "--configs: $(head -n 1 "$work/configs.txt")"
    run train ./train "$name" tiny "$@"
    [ -s "runs/$name/tiny/report.html" ] || fail "training left no report"
    run eval ./eval "$name" "runs/$name/tiny"
    run golden ./eval "$name" --golden "models/$name/golden/forward.safetensors"
    grep -q "$compared compared, 0 mismatches" "$work/golden.txt" || fail "the golden file: $(tail -n 1 "$work/golden.txt")"
    expect 2 "has no tables yet" ./eval "$name" --table 1
    run ninja ninja -C "build/$ZOO_PRESET" "${name}_test_$name"
    run test "build/$ZOO_PRESET/${name}_test_$name"
}

skeleton images 71,562 35 train.epochs=1 data.limit_train=2000 data.hold_out=200 data.limit_test=200
grep -q "shapes (generated)" "$work/dry.txt" || fail "--dry-run does not find the data"
skeleton text 140,672 32 train.steps=20
run written ./eval new_model_of_text runs/new_model_of_text/tiny --generate "The " eval.length=20
grep -q "^The " "$work/written.txt" || fail "it wrote nothing: $(tail -n 1 "$work/written.txt")"

run made tools/new-model linformer
sed -n '/^```diff$/,/^```$/p' docs/add-a-paper.md | sed '/^```/d' >"$work/changes.diff"
run patch patch -p0 --fuzz=0 -i "$work/changes.diff"
rm models/linformer/golden/forward.safetensors
cp docs/add-a-paper/attention.safetensors models/linformer/golden/
run golden ./eval linformer --golden models/linformer/golden/attention.safetensors
grep -q "11 compared, 0 mismatches" "$work/golden.txt" || fail "the page's golden file: $(tail -n 1 "$work/golden.txt")"
grep "models/linformer.*warning" "build/$ZOO_PRESET/build.log" && fail "the page's model does not compile without warnings"
run configs ./eval linformer --configs
while read -r line; do
    grep -qxF "$line" "$work/configs.txt" || fail "the page says '$line', ./eval linformer --configs does not"
done < <(grep ' parameters .* GMACs ' docs/add-a-paper.md)
expect 2 "model.compressed is 3, does not divide the 16 tokens" ./train linformer model.compressed=3
run ninja ninja -C "build/$ZOO_PRESET" linformer_test_linformer
run test "build/$ZOO_PRESET/linformer_test_linformer"
finish
