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

finish() {
    [ $failures = 0 ] && echo "all good"
    exit $((failures > 0))
}
