# What the end-to-end scripts share. Each runs in a folder of its own, which goes when the script ends.
set -u
root=$PWD
crossvit=${ZOO_BUILD:-$root/build/release}/models/crossvit
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0

fail() {
    echo "FAIL: $*" >&2
    failures=$((failures + 1))
}

# expect CODE PATTERN COMMAND...: the exit code, and one line on stderr that matches
expect() {
    local code=$1 pattern=$2 got
    shift 2
    "$@" >out.txt 2>err.txt </dev/null
    got=$?
    [ $got = "$code" ] || fail "exit $got instead of $code: $*: $(tail -n 2 err.txt)"
    if [ -n "$pattern" ]; then
        [ "$(wc -l <err.txt)" = 1 ] || fail "not one line on stderr: $*: $(cat err.txt)"
        grep -qE -- "$pattern" err.txt || fail "no '$pattern' in: $(cat err.txt) ($*)"
    fi
}

# The tensors of a safetensors file, without its header (which holds the config).
tensors() {
    local n
    n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    tail -c +$((9 + n)) "$1" | sha256sum
}

# A run of seconds on a few images: "$crossvit" "${tiny[@]}" name=x
tiny=(train data.limit_train=2800 data.limit_test=300 data.hold_out=200 train.epochs=2)

# Twenty steps in two epochs, a row of metrics each, in seconds even on an emulated GPU.
micro=(train "model.img_size=[24,32]" "model.patch_size=[12,16]" "model.embed_dim=[16,32]" "model.depth=[[1,1,1]]"
    "model.num_heads=[2,2]" data.limit_train=60 data.hold_out=20 data.limit_test=20 train.batch_size=4 train.epochs=2)

# same_losses A.csv B.csv TOLERANCE: the column train_loss of all rows; says how far they are apart at most.
same_losses() {
    paste -d, <(cut -d, -f4 "$1") <(cut -d, -f4 "$2") | awk -F, -v tolerance="$3" '
        NR > 1 { d = $1 - $2; d = d < 0 ? -d : d; most = d > most ? d : most; if ($1 == "" || $2 == "" || d != d) bad = 1 }
        END { printf "losses of %d rows differ by at most %.2g\n", NR - 1, most; exit NR < 2 || bad || most > tolerance }'
}

finish() {
    [ $failures = 0 ] && echo "all good"
    exit $((failures > 0))
}
