"""What a step does beside products and attention, at the shapes of CrossViT-Ti (batch 32), beside torch; and the memory's
bandwidth read in the same run, which bounds all but the convolutions."""
from driver.cases import Cases
from driver.compare import make_ready
from driver.environment import WORK
from driver.measure import alternate
from driver.side import ours, torch_eager

BATCH = 32
OPS = {  # case -> words
    "layer_norm-12832x96": {"op": "layer_norm", "rows": 12832, "cols": 96},
    "layer_norm-6304x192": {"op": "layer_norm", "rows": 6304, "cols": 192},
    "batch_norm-32x64x56x56": {"op": "batch_norm", "rows": BATCH, "channels": 64, "side": 56},
    "batch_norm-100352x64": {"op": "batch_norm", "rows": 100352, "cols": 64},  # the same with channels last
    "gelu-12832x384": {"op": "gelu", "rows": 12832, "cols": 384},
    "gelu-6304x768": {"op": "gelu", "rows": 6304, "cols": 768},
    "cross_entropy-2048x1000": {"op": "cross_entropy", "rows": 2048, "cols": 1000},
    "adamw-7M": {"op": "adamw", "rows": 7000, "cols": 1000},
    "bicubic-240-224": {"op": "bicubic", "rows": BATCH, "channels": 3, "side": 240, "out_side": 224},
    "stem-patch12": {"op": "convolution", "rows": BATCH, "channels": 3, "out_channels": 96, "side": 240, "kernel": 12,
                     "stride": 12, "pad": 0},
    "stem-patch16": {"op": "convolution", "rows": BATCH, "channels": 3, "out_channels": 192, "side": 224, "kernel": 16,
                     "stride": 16, "pad": 0},
    "stem-dagger-1": {"op": "convolution", "rows": BATCH, "channels": 3, "out_channels": 32, "side": 240, "kernel": 7,
                      "stride": 4, "pad": 3},  # the three of CrossViT-9-dagger's small branch
    "stem-dagger-2": {"op": "convolution", "rows": BATCH, "channels": 32, "out_channels": 64, "side": 60, "kernel": 3,
                      "stride": 3, "pad": 0},
    "stem-dagger-3": {"op": "convolution", "rows": BATCH, "channels": 64, "out_channels": 128, "side": 20, "kernel": 3,
                      "stride": 1, "pad": 1},
}


def measure(cases, name, words, mine, peer, options):
    make_ready(mine, [peer], WORK / "elementwise", words)
    bandwidth = mine.bandwidth()
    r = alternate(mine, [peer], options, seconds=0.05)[peer.name]
    bandwidth = max(bandwidth, mine.bandwidth())
    work, peak, unit = (mine.flop, r.peak, "GFLOP/s") if mine.flop else (mine.bytes, bandwidth, "GB/s")
    rate = work / r.ours / 1e9
    print(f"{name:<42} {1e3 * r.ours:8.3f} ms  {1e3 * r.peer:8.3f} ms  {r.ratio:6.3f}  {rate:6.1f} of {peak:.1f} {unit}",
          flush=True)
    cases.add(name=name, ours=rate, peer=work / r.peer / 1e9, ratio=r.ratio, spread=r.spread, unit=unit, peak=peak)


def run(options):
    cases = Cases(options)
    with ours("elementwise") as mine, torch_eager("elementwise") as peer:
        for case, words in OPS.items():
            for backward in ["no", "yes"]:
                name = f"elementwise-{case}-{'both' if backward == 'yes' else 'forward'}"
                if not cases.wanted(name) or (words["op"] == "adamw" and backward == "yes"):
                    continue
                with cases.case(name):
                    measure(cases, name, words | {"backward": backward, "threads": options.threads}, mine, peer, options)
    return cases.close()


BENCHES = {"elementwise": ("LayerNorm, BatchNorm, GELU, cross-entropy, AdamW, bicubic, stems; peer PyTorch, and the bandwidth", run)}
