"""The three products of a linear layer beside torch's, at the shapes of CrossViT-Ti (batch 32) and CrossViT-S."""
from driver.compare import compare
from driver.environment import WORK
from driver.measure import alternate, print_machine, print_worst_last
from driver.side import ours, torch_side

SHAPES = [(12832, 288, 96), (12832, 96, 96), (12832, 384, 96), (12832, 96, 384),
          (6304, 576, 192), (6304, 192, 768), (6304, 384, 1536)]  # tokens, outputs, inputs
DIRECTIONS = ["forward", "input", "weight"]


def run(options):
    folder = WORK / "linear"
    lines = []
    print_machine()
    with ours("linear") as mine, torch_side() as peer:
        for shape in SHAPES:
            for direction in DIRECTIONS:
                words = dict(zip("mnk", shape)) | {"direction": direction, "threads": options.threads}
                mine.prepare(folder, words)
                mine.check()
                peer.prepare(folder, {"case": "linear"} | words)
                peer.check()
                compare(folder, peer.name)
                r = alternate(mine, [peer], options, seconds=0.1)[peer.name]
                name = f"linear-{'x'.join(map(str, shape))}-{direction}"
                print(f"{name:<32} {1e3 * r.ours:8.3f} ms  {1e3 * r.peer:8.3f} ms  {r.ratio:6.3f}  "
                      f"{100 * mine.flop / r.ours / 1e9 / r.peak:3.0f} % of the peak", flush=True)
                lines.append(dict(name=name, ours=mine.flop / r.ours / 1e9, peer=mine.flop / r.peer / 1e9, ratio=r.ratio,
                                  spread=r.spread, unit="GFLOP/s", peak=r.peak))
    print_worst_last(lines)
    return 0


BENCHES = {"linear": ("linear layers: forward, gradients by input and by weight; peer PyTorch", run)}
