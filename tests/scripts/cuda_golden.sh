#!/usr/bin/env bash
# The golden files in the models' folders on the device cuda: the emulated one, or what ZOO_CUDA_LIBRARY names.
. tests/scripts/lib/common.sh
build=${ZOO_BUILD:-$root/build/release}
export ZOO_CUDA_LIBRARY=${ZOO_CUDA_LIBRARY:-$build/libzoo_cuda_emulated.so}

for file in "$root"/models/*/golden/*.safetensors; do
    model=${file%/golden/*} model=${model##*/}
    "$build/models/$model" eval --golden "$file" device=cuda >out.txt 2>&1 ||
        fail "$file: $(grep FAIL out.txt | head -n 2) $(tail -n 1 out.txt)"
done
finish
