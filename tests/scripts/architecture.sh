#!/usr/bin/env bash
# The order of the house (docs: the README's floors): includes only go downwards, no model includes another, every folder says
# what it is for, and oneDNN stays behind one door. The script first shows, on a small tree made for it, that it sees each
# kind of violation. (That no floor calls upwards is checked by the linker: the target `floors`, part of `checks`.)
. tests/scripts/lib/common.sh

# Lowest first.
floors="common/base common/kernels common/tensor common/comm common/autograd common/attention common/nn common/data common/run
datasets common/hosts models"

# The C files of a tree: FILE:LINE:INCLUDED for every include in quotes or brackets.
includes() {
    find "$1"/common "$1"/datasets "$1"/models -name '*.[ch]' -print0 2>/dev/null |
        xargs -0 -r grep -HnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*["<]' |
        sed -E "s|^$1/||; s|^([^:]*:[0-9]+):[^\"<]*[\"<]([^\">]*)[\">].*|\1:\2|"
}

upward_includes() {
    includes "$1" | awk -F: -v floors="$floors" '
        function floor_of(path,   i) {
            for (i = 1; i <= n; i++)
                if (index(path, name[i] "/") == 1)
                    return i
            return 0
        }
        BEGIN { n = split(floors, name, /[ \n]+/) }
        $1 ~ /^models\/[^\/]*\/tests\// { next }
        $3 ~ /^(common|datasets|models)\// {
            if (floor_of($3) == 0)
                print $1 ":" $2 ": " $3 " is on no floor"
            else if (floor_of($3) > floor_of($1))
                print $1 ":" $2 ": includes upwards: " $3
        }
        $3 ~ /^(tests|bench|support)\// { print $1 ":" $2 ": includes upwards: " $3 }'
}

# A header named without its folder would escape the check above.
includes_from_elsewhere() {
    includes "$1" | awk -F: '$3 ~ /^\.\.?\// { print $1 ":" $2 ": not written from the root: " $3 }'
    includes "$1" | while IFS=: read -r file line header; do
        case $header in
        */*) ;;
        *) [ -e "$1/${file%/*}/$header" ] && echo "$file:$line: not written from the root: $header" ;;
        esac
    done
}

models_of_models() {
    includes "$1" | awk -F: '
        $1 ~ /^models\// && $3 ~ /^models\// {
            split($1, mine, "/")
            split($3, theirs, "/")
            if (mine[2] != theirs[2])
                print $1 ":" $2 ": one model includes another: " $3
        }'
}

folders_without_readme() {
    local folder
    for folder in common/*/ datasets/ models/*/ tests/ bench/ tools/ docs/; do
        for folder in "$1"/$folder; do
            [ ! -d "$folder" ] || [ -e "$folder/README.md" ] || echo "${folder#"$1"/} has no README.md"
        done
    done
    for folder in $floors; do
        [ "$folder" = models ] || [ -d "$1/$folder" ] || echo "$folder/ is missing: a floor without code says so in its README.md"
    done
}

# oneDNN's header, and those of ours that bring it along, are for common/kernels/cpu/dnnl*.
onednn_elsewhere() {
    local bringing='oneapi/dnnl/[^:]*|dnnl\.h|dnnl_[a-z]*\.h' more
    while :; do
        more=$(includes "$1" | awk -F: -v h="^($bringing)$" '$3 ~ h && $1 ~ /\.h$/ { print $1 }' | sort -u | paste -sd'|')
        [ -z "$more" ] || [ "${bringing%"|$more"}" != "$bringing" ] && break
        bringing="oneapi/dnnl/[^:]*|dnnl\.h|dnnl_[a-z]*\.h|$more"
    done
    includes "$1" | awk -F: -v h="^($bringing)$" '
        $3 ~ h && $1 !~ /^common\/kernels\/cpu\/dnnl[^\/]*$/ { print $1 ":" $2 ": brings oneDNN along: " $3 }'
}

violations() {
    upward_includes "$1"
    includes_from_elsewhere "$1"
    models_of_models "$1"
    folders_without_readme "$1"
    onednn_elsewhere "$1"
}

# ---- Does it see them?

put() {
    mkdir -p "$(dirname "house/$1")"
    printf '%s\n' "${@:2}" >"house/$1"
}

small_house() {
    rm -rf house
    local folder
    for folder in $floors models/one models/two tests bench tools docs; do
        [ "$folder" = models ] || put "$folder/README.md" "# $folder"
    done
    put common/nn/layers.c '#include "common/nn/layers.h"' '#include "common/base/error.h"' '#include <stdio.h>'
    put common/kernels/cpu/dnnl.c '#include "common/kernels/cpu/dnnl_plan.h"'
    put common/kernels/cpu/dnnl_plan.h '#include <oneapi/dnnl/dnnl.h>'
    put common/kernels/cpu/dnnl_more.h '#include "common/kernels/cpu/dnnl_plan.h"'
    put common/kernels/cpu/backend.c '#include "common/kernels/cpu/dnnl.h"'
    put models/one/one.c '#include "models/one/one.h"' '#include "datasets/registry.h"' '#include "common/hosts/bert.h"'
    put models/one/tests/test_one.c '#include "support/check.h"' '#include "models/one/one.h"'
    put tests/test_x.c '#include "common/nn/layers.h"'
}

# sees WORDS FILE LINE...: with that file in the house, WORDS are said, once.
sees() {
    small_house
    put "${@:2}"
    [ "$(violations house | grep -cF -- "$1")" = 1 ] || fail "not seen: $1: $(violations house)"
}

small_house
[ -z "$(violations house)" ] || fail "a sound house is refused: $(violations house)"
sees 'common/base/x.c:2: includes upwards: common/tensor/tensor.h' common/base/x.c '' '#include "common/tensor/tensor.h"'
sees 'common/tensor/x.h:1: includes upwards: common/comm/comm.h' common/tensor/x.h '  #  include "common/comm/comm.h"'
sees 'common/run/x.c:1: includes upwards: datasets/registry.h' common/run/x.c '#include "datasets/registry.h"'
sees 'datasets/x.c:1: includes upwards: common/hosts/bert.h' datasets/x.c '#include "common/hosts/bert.h"'
sees 'common/hosts/x.c:1: includes upwards: models/one/one.h' common/hosts/x.c '#include <models/one/one.h>'
sees 'common/nn/x.c:1: includes upwards: tests/support/x.h' common/nn/x.c '#include "tests/support/x.h"'
sees 'common/odd/odd.h is on no floor' models/one/x.c '#include "common/odd/odd.h"'
sees 'common/nn/x.c:1: not written from the root: ../tensor/tensor.h' common/nn/x.c '#include "../tensor/tensor.h"'
sees 'common/nn/x.c:1: not written from the root: layers.c' common/nn/x.c '#include "layers.c"'
sees 'models/one/x.c:1: one model includes another: models/two/two.h' models/one/x.c '#include "models/two/two.h"'
sees 'models/one/tests/test_x.c:1: one model includes another' models/one/tests/test_x.c '#include "models/two/two.h"'
sees 'common/nn/x.c:1: brings oneDNN along: oneapi/dnnl/dnnl.h' common/nn/x.c '#include <oneapi/dnnl/dnnl.h>'
sees 'common/kernels/cpu/x.c:1: brings oneDNN along: dnnl.h' common/kernels/cpu/x.c '#include <dnnl.h>'
sees 'brings oneDNN along: common/kernels/cpu/dnnl_plan.h' common/nn/x.c '#include "common/kernels/cpu/dnnl_plan.h"'
sees 'brings oneDNN along: common/kernels/cpu/dnnl_more.h' common/nn/x.c '#include "common/kernels/cpu/dnnl_more.h"'
sees 'models/three/ has no README.md' models/three/three.c ''
sees 'common/odd/ has no README.md' common/odd/odd.c ''
for folder in $floors models/two tests bench tools docs; do
    [ "$folder" = models ] && continue
    small_house
    rm "house/$folder/README.md"
    touch "house/$folder/x.c"
    [ "$(violations house)" = "$folder/ has no README.md" ] || fail "no README seen in $folder: $(violations house)"
done
small_house
rm -r house/common/comm
violations house | grep -q 'common/comm/ is missing' || fail "a missing floor is not seen"

# ---- The house itself.

found=$(cd "$root" && violations .)
[ -z "$found" ] || fail "$found"
[ "$(cd "$root" && includes . | wc -l)" -gt 200 ] || fail "hardly any include was found: was this the project?"
finish
