#!/usr/bin/env bash
# The golden files of every model: those in its folder, all of ../shared/golden where that is here; and altered copies must fail.
. tests/scripts/lib/common.sh

# The first name of a section of the file: first FILE output
first() {
    local n
    n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    head -c $((8 + n)) "$1" | tail -c "$n" | grep -oE "\"$2/[^\"]+\": ?\{" | head -n 1 | cut -d '"' -f 2
}

# One byte of a tensor's data changed: byte 3 of a float is its exponent. $1 file, $2 name of the tensor.
alter() {
    local n at
    n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    at=$(head -c $((8 + n)) "$1" | tail -c "$n" | grep -oE "\"$2\": ?\{[^}]*\}" | grep -oE 'data_offsets": ?\[[0-9]+' | grep -oE '[0-9]+$')
    [ -n "$at" ] || return 1
    cp "$1" altered.safetensors && chmod u+w altered.safetensors
    printf '\x7e' | dd of=altered.safetensors bs=1 seek=$((8 + n + at + 3)) conv=notrunc status=none
}

for folder in "$root"/models/*/golden; do
    model=${folder%/golden} model=${model##*/}
    program=${ZOO_BUILD:-$root/build/release}/models/$model
    for file in "$folder"/*.safetensors "$root/../shared/golden/$model"/*.safetensors; do
        [ -f "$file" ] || continue
        "$program" eval --golden "$file" >out.txt 2>&1 || fail "$file: $(grep FAIL out.txt | head -n 2) $(tail -n 1 out.txt)"
    done
    for file in "$folder"/*.safetensors; do # the first output, and the first gradient where there is one
        for tensor in $(first "$file" output) $(first "$file" grad); do
            alter "$file" "$tensor" || fail "$file: $tensor cannot be altered"
            "$program" eval --golden altered.safetensors >out.txt 2>&1
            [ $? = 1 ] || fail "$file: altered $tensor was accepted"
        done
    done
done
finish
