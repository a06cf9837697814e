#!/usr/bin/env bash
# Whole programs on the emulated GPU (tests/cuda_emulation): a training that gives the CPU's losses, and what is said where there is no
# GPU.
. tests/scripts/lib/common.sh
build=${ZOO_BUILD:-$root/build/release}
emulated=$build/libzoo_cuda_emulated.so

# ---- Without: one line, and nothing is written.
export ZOO_CUDA_LIBRARY=$PWD/nowhere.so
expect 2 'device cuda: there is no .*/nowhere.so; build it with' "$crossvit" train device=cuda
expect 2 'device cuda: there is no' "$crossvit" eval --golden "$root/models/crossvit/golden/losses.safetensors" device=cuda
echo 'no library' >nowhere.so
expect 2 'device cuda: cannot be loaded' "$crossvit" train device=cuda
export ZOO_CUDA_LIBRARY=$build/libzoo_cuda.so
if [ -f "$ZOO_CUDA_LIBRARY" ] && ! nvidia-smi >/dev/null 2>&1; then
    expect 2 'device cuda: no NVIDIA driver is loaded' "$crossvit" train device=cuda
fi
[ -z "$(ls runs/crossvit 2>/dev/null)" ] || fail "a run without its device left $(ls runs/crossvit)"
expect 2 'device is gpu' "$crossvit" train device=gpu

# ---- A GPU or a driver that is too old, none at all, and memory that is full: one line each.
export ZOO_CUDA_LIBRARY=$emulated
EMULATED_CAPABILITY=75 expect 2 'device cuda: this GPU has compute capability 7\.5, and 8\.0 \(Ampere\) is the least' "$crossvit" train device=cuda
EMULATED_DRIVER=11040 expect 2 'device cuda: the NVIDIA driver knows CUDA 11\.4 and this build needs 13\.0; update' "$crossvit" train device=cuda
EMULATED_DRIVER=0 expect 2 'device cuda: no NVIDIA driver is loaded' "$crossvit" train device=cuda
EMULATED_GPUS=0 expect 2 'device cuda: there is a driver but no GPU' "$crossvit" train device=cuda
[ -z "$(ls runs/crossvit 2>/dev/null)" ] || fail "a run without its device left $(ls runs/crossvit)"
full() { EMULATED_MEMORY=$1 expect 2 "$2" "$crossvit" "${micro[@]}" device=cuda "${@:3}"; }
full 100000 'out of memory: [0-9.]+ MB for parameters, .*; take a smaller config of the model'
full 1M 'device cuda: [0-9]+ bytes of memory for uploads: out of memory; lower train\.batch_size'
full 8M 'out of memory in the first op: [0-9]+ bytes of scratch; lower train\.batch_size'
full 40M 'out of memory on the GPU: linear needs [0-9]+ bytes more; lower train\.batch_size'
full 56M 'out of memory in [a-z_ ]+: a tensor of [0-9.]+ MB beside [0-9.]+ MB in use; lower train\.batch_size' data.limit_train=4000 train.batch_size=3000

# ---- Twenty steps of a small CrossViT with both branches fused, of images that are erased and mixed: the losses of every step,
# both validations, and the test.
augmented=(data.erase_probability=0.5 train.mixup=0.8 train.cutmix=1)
export ZOO_CUDA_LIBRARY=$emulated
for device in cpu cuda; do
    "$crossvit" "${micro[@]}" "${augmented[@]}" name=$device device=$device >$device.txt 2>&1 || fail "device=$device: $(tail -n 2 $device.txt)"
done
same_losses runs/crossvit/cpu/metrics.csv runs/crossvit/cuda/metrics.csv 1e-4 || fail "other losses than on the CPU"
[ "$(grep -c , runs/crossvit/cuda/metrics.csv)" = 21 ] || fail "not a row a step"
[ "$(grep 'test: top-1' cpu.txt | cut -d '(' -f 1)" = "$(grep 'test: top-1' cuda.txt | cut -d '(' -f 1)" ] || fail "another test"

# A run changes its device where it is resumed, and its weights are evaluated on either.
sed -i 's/finished/started/' runs/crossvit/cuda/status
rm -r runs/crossvit/cuda/checkpoints/20
ln -sfn 10 runs/crossvit/cuda/checkpoints/last
ln -sfn 10 runs/crossvit/cuda/checkpoints/best
"$crossvit" train --resume runs/crossvit/cuda device=cpu >resumed.txt 2>&1 || fail "resumed on the CPU: $(tail -n 2 resumed.txt)"
same_losses runs/crossvit/cpu/metrics.csv runs/crossvit/cuda/metrics.csv 1e-4 || fail "resumed on the CPU: other losses"
"$crossvit" eval runs/crossvit/cpu device=cuda >eval.txt 2>&1 || fail "eval: $(tail -n 2 eval.txt)"
[ "$(grep 'test: top-1' cpu.txt | cut -d '(' -f 1)" = "$(grep 'test: top-1' eval.txt | cut -d '(' -f 1)" ] || fail "evaluated otherwise"
finish
