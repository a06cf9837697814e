"""The three products of a linear layer beside torch's, at every shape that a block of CrossViT-Ti or -S has, batch 32."""
from itertools import product

from driver.cases import Cases
from driver.compare import make_ready
from driver.environment import WORK
from driver.measure import alternate
from driver.side import ours, torch_eager

BATCH = 32
WIDTHS = {"Ti": (96, 192), "S": (192, 384)}  # of the two branches
TOKENS = (401, 197)
MLP_RATIO = 4


def shapes():
    """(tokens, outputs, inputs) of qkv, proj, fc1, fc2, each once."""
    found = []
    for widths in WIDTHS.values():
        for tokens, width in zip(TOKENS, widths):
            hidden = MLP_RATIO * width
            found += [(BATCH * tokens, n, k) for n, k in [(3 * width, width), (width, width), (hidden, width), (width, hidden)]]
    return list(dict.fromkeys(found))


def run(options):
    cases = Cases(options)
    with ours("linear") as mine, torch_eager("linear") as peer:
        for shape, precision, direction in product(shapes(), ["fp32", "bf16"], ["forward", "input", "weight"]):
            name = f"linear-{'x'.join(map(str, shape))}-{precision}-{direction}"
            if not cases.wanted(name):
                continue
            with cases.case(name):
                words = dict(zip("mnk", shape)) | {"precision": precision, "direction": direction, "threads": options.threads}
                make_ready(mine, [peer], WORK / "linear", words)
                r = alternate(mine, [peer], options, seconds=0.1)[peer.name]
                print(f"{name:<37} {1e3 * r.ours:8.3f} ms  {1e3 * r.peer:8.3f} ms  {r.ratio:6.3f}  "
                      f"{100 * mine.flop / r.ours / 1e9 / r.peak:3.0f} % of the fp32 peak", flush=True)
                cases.add(name=name, ours=mine.flop / r.ours / 1e9, peer=mine.flop / r.peer / 1e9, ratio=r.ratio,
                          spread=r.spread, unit="GFLOP/s", peak=r.peak)
    return cases.close()


BENCHES = {"linear": ("linear layers: forward, gradients by input and by weight, fp32 and bf16; peer PyTorch", run)}
