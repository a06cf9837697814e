#!/bin/sh
# nvcc.sh OBJECT NVCC ARGUMENTS...: what ptxas says of each kernel goes into OBJECT.ptxas, for tools/cuda-report; the rest is seen.
object=$1
shift
"$@" -Xptxas=-v -o "$object" 2>"$object.said"
status=$?
grep -E '^ptxas info|bytes stack frame|^ *$' "$object.said" >"$object.ptxas"
grep -vE '^ptxas info|bytes stack frame|^ *$' "$object.said" >&2
rm -f "$object.said"
exit $status
