#!/usr/bin/env bash
# What tools/cuda-report stands on: a dry run of training on the emulated GPU, and the table that is made of it. The compiler's
# figures are written here, so that no nvcc is needed.
. tests/scripts/lib/common.sh
build=${ZOO_BUILD:-$root/build/release}
library=$build/libzoo_cuda_races.so
[ -f "$library" ] || exit 77 # with a sanitizer there is none

ZOO_CUDA_LIBRARY=$library ZOO_CUDA_DRY=$work/launches "$build/models/ninformer" train default data.set=shapes data.input_size=24 \
    data.hold_out=0 data.mean=0.5 data.limit_train=64 data.limit_test=16 model.image_size=24 model.seq_len=36 model.in_channels=3 \
    model.num_classes=9 train.batch_size=32 train.epochs=1 device=cuda >out.txt 2>err.txt || fail "exit $?: $(tail -n 3 err.txt)"

# A norm of 32 x 36 rows of 64 numbers, 4 rows a block: each is read once, gamma and beta once for all; of mean and rstd a block
# writes a sector each.
rows=$((32 * 36)) cols=64
norm="$((rows / 4))	128	0	$((rows * cols * 4 + 2 * cols * 4))	$((rows * cols * 4 + rows / 4 * 2 * 32))	0	0"
grep -qE "^kernel	[0-9a-f]+	norm.cu:[0-9]+	$norm\$" launches || fail "no norm of $norm in $(grep norm.cu launches | head -n 3)"
grep -qF "cublasLt 1 x [$rows, 128, $cols]	fp32	1	0	0	$((4 * cols * (rows + 128)))	$((4 * rows * 128))	$((2 * rows * 128 * cols))" launches ||
    fail "no product of the feed-forward layers in $(grep cublasLt launches | head -n 3)"

# 40 registers of 256 threads leave room for 48 of 64 warps on both GPUs; 100 KB of shared memory for one block, or two; 80 GB take
# 39.2 and 23.9 ms; 3.12e12 operations in tensor cores 10 and 3.2 ms.
printf '%s\n' "ptxas info    : Compiling entry function 'plain' for 'sm_80'" '    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads' \
    'ptxas info    : Used 40 registers, used 0 barriers, 1024 bytes smem, 400 bytes cmem[0]' \
    "ptxas info    : Compiling entry function 'plain' for 'sm_90'" '    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads' \
    'ptxas info    : Used 40 registers, used 1 barriers, 1024 bytes smem' >ptxas
printf 'kernel\tabc\toptimizer.cu:1\t1\t32\t0\t0\t0\t0\t0\nkernel\tabc\tx.cu:1\t9\t256\t0\t60e9\t20e9\t0\t0\n' >steps
printf 'kernel\tabc\tx.cu:2\t9\t128\t101376\t0\t0\t0\t3.12e12\nkernel\tabc\toptimizer.cu:1\t1\t32\t0\t0\t0\t0\t0\nkernel\tabc\tx.cu:9\t1\t32\t0\t1e12\t0\t0\t0\n' >>steps
printf 'symbol\tabc\tplain\n' | awk -F '\t' -v all=0 -f "$root/tools/cuda-report.awk" ptxas - steps | tr -s ' ' >table
for line in '1 256 40/40 1024 28 75/75 80000.000 0.0 39234.9/23880.6 39.235/23.881' '1 128 40/40 102400 28 6/12 0.000 3120000.0 10000.0/3153.4 10.000/3.153' \
    '3 launches, 80.0 GB, 3.1 TFLOP in products: at the least 49.2 ms on an A100, 27.0 ms on an H100' '1 kernels are compiled for sm_80 and sm_90; 1 of them spill registers'; do
    grep -qF " $line" table || fail "no '$line' in: $(cat table)"
done
finish
