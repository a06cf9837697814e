#!/usr/bin/env bash
# Whatever a user gets wrong is one line on stderr that helps, and exit code 2.
. tests/scripts/lib/common.sh

expect 2 'unknown model crosvit; did you mean crossvit' "$root/train" crosvit
expect 2 'config defalt.*did you mean default' "$crossvit" train defalt
expect 2 'epohcs.*epochs' "$crossvit" train train.epohcs=3
expect 2 'train\.epochs.*3\.5' "$crossvit" train train.epochs=3.5
expect 2 'train\.epochs.*0' "$crossvit" train train.epochs=0
expect 2 'train\.epochs.*flase' "$crossvit" train train.epochs=flase
expect 2 '--resum' "$crossvit" train --resum
expect 2 'not divisible by its patch' "$crossvit" train 'model.img_size=[85, 48]'
expect 2 'not divisible by its 5 heads' "$crossvit" train 'model.num_heads=[5, 4]'
expect 2 'multi_conv' "$crossvit" train 'model.patch_size=[6, 16]'
expect 2 'num_classes is 3' "$crossvit" train model.num_classes=3 name=x
expect 2 'in_chans is 3' "$crossvit" train model.in_chans=3 name=x
expect 2 'even' "$crossvit" train train.batch_size=33 train.mixup=0.5
expect 2 'drop_last is no.*pair images' "$crossvit" train train.drop_last=no train.mixup=0.5
expect 2 'fashon-mnist.*fashion-mnist' "$crossvit" train data.set=fashon-mnist
expect 2 'imagenet' "$crossvit" train tiny
expect 2 '/nowhere' "$crossvit" train data.path=/nowhere
expect 2 'nothing-here' "$crossvit" eval nothing-here
expect 2 'table 3' "$crossvit" eval --table 3
expect 2 'bf16.*AVX512_BF16.*avx2' env ZOO_CPU=avx2 "$crossvit" train precision=bf16
expect 2 'ZOO_CPU|avx1024' env ZOO_CPU=avx1024 "$crossvit" train
expect 2 'nowhere: no run' "$crossvit" train --resume nowhere
expect 2 'seeds: there are no arms' "$crossvit" train seeds=[1]
expect 2 'at least one arm' "$crossvit" train 'arms={}' seeds=[1]
expect 2 'at least one arm, and one of seeds' "$crossvit" train 'arms={a: {}}'
expect 2 '1 stands there twice' "$crossvit" train 'arms={a: {}}' seeds=[1,2,1]
expect 2 'arms.a is no section' "$crossvit" train 'arms={a: 3}' seeds=[1]
expect 2 'arm b: .*train.epochs is x' "$crossvit" train 'arms={a: {}, b: {train: {epochs: x}}}' seeds=[1]
expect 2 'arm b/c' "$crossvit" train 'arms={a: {}, b/c: {}}' seeds=[1]
[ -n "$(ls runs/crossvit 2>/dev/null)" ] && fail "a run that could not begin left a folder"

# What an arm fails at only when it is trained leaves the finished arms as they are.
arms='arms={a: {train: {epochs: 1}}, b: {model: {num_classes: 3}}}'
"$crossvit" "${tiny[@]}" "$arms" seeds=[7] name=arms >/dev/null 2>arms.err
[ $? = 2 ] && grep -q 'num_classes is 3' arms.err || fail "the second arm: $(cat arms.err)"
[ -s runs/crossvit/arms/a/seed7/result.yaml ] || fail "the failure of one arm took the other's files"
rm -rf runs

"$crossvit" eval --help | grep -q "  epochs " || fail "eval --help does not print the keys of a config"
"$crossvit" eval --table 2 | grep -q 'not run' || fail "--table does not say what was not run"
[ -n "$(ls runs/crossvit 2>/dev/null)" ] && fail "a run that could not begin left a folder"

# Data that is not what it should be.
mkdir -p data
printf 'not gzip at all' >data/train-images-idx3-ubyte.gz
expect 2 'train-images' "$crossvit" train data.path="$work/data"

# Weights that are not what they should be.
"$crossvit" train data.limit_train=300 data.limit_test=100 data.hold_out=0 train.epochs=1 >/dev/null || fail "a small run"
weights=runs/crossvit/default/checkpoints/last/model.safetensors
head -c 1000 $weights >short.safetensors
expect 2 'short.safetensors' "$crossvit" eval short.safetensors
expect 2 'does not fit|none of the named configs' "$crossvit" eval $weights config=parity
expect 2 'not a golden file' "$crossvit" eval --golden $weights
printf 'junk' >junk.pth
expect 2 'junk.pth' "$crossvit" eval junk.pth
"$crossvit" eval --attention "$root/docs/report.png" >/dev/null && [ -s attention.png ] || fail "--attention draws nothing"
"$crossvit" eval runs/crossvit/default --features features.safetensors >/dev/null && [ -s features.safetensors ] || fail "--features writes nothing"
printf 'junk' >junk.jpg
expect 2 'junk.jpg' "$crossvit" eval --attention junk.jpg
finish
