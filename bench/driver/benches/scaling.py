"""How time and memory grow, beside the formula: dense attention with its tokens, CrossViT with its batch and its width.

Time's formula is the count of multiply-adds at the speed of the series' fastest case, so a ratio is the share of that speed that
a case reaches. Memory's is in its function's comment; ratio < 1: it takes more than that."""
from driver.cases import Cases
from driver.environment import WORK
from driver.measure import alone
from driver.side import ours

TOKENS = [200, 400, 1024, 2048, 4096, 8192, 16384]
BATCHES = [1, 2, 4, 8, 16, 32, 64, 128]
CONFIGS = {"tiny": 96, "small": 192, "base": 384}  # width of the small branch, the large one's is twice that; depth is the same
HEADS, HEAD_WIDTH = 8, 64


def attention_series():
    for tokens in TOKENS:
        yield f"tokens-{tokens}", "attention", {"batch": 1, "heads": HEADS, "tokens": tokens, "width": HEAD_WIDTH,
                                                "backward": "yes"}, tokens


def batch_series():
    for batch in BATCHES:
        yield f"batch-{batch}", "crossvit", {"mode": "train", "config": "tiny", "batch": batch}, batch


def width_series():
    for config, width in CONFIGS.items():
        yield f"width-{width}", "crossvit", {"mode": "train", "config": config, "batch": 4}, width


def measure(program, words, options):
    """flop, seconds, spread, peak, bytes of tensors."""
    with ours(program) as mine:
        mine.prepare(WORK / "scaling", words | {"threads": options.threads})
        seconds, spread, peak = alone(mine, options)
        return {"flop": mine.flop, "seconds": seconds, "spread": spread, "peak": peak, "bytes": mine.memory()[1]}


def straight_line(measured):
    """Bytes as fixed + size * each, through the series' two largest cases: size -> bytes."""
    (low, a), (high, b) = sorted((size, m["bytes"]) for size, m in measured)[-2:]
    each = (b - a) / (high - low)
    return lambda size: a + (size - low) * each


def run_series(cases, series, options):
    measured, names = [], []
    for name, program, words, size in series:
        name = f"scaling-{name}"
        if not cases.wanted(name):
            continue
        with cases.case(name):
            measured.append((size, measure(program, words, options)))
            names.append(name)
    if len(measured) < 2:
        return
    fastest = max(m["flop"] / m["seconds"] for _, m in measured)
    line = straight_line(measured)
    print(f"{'case':<22} {'GFLOP':>9} {'ms':>9} {'formula':>9} {'GFLOP/s':>8} {'MB':>9} {'formula':>9}")
    for name, (size, m) in zip(names, measured):
        rate = m["flop"] / m["seconds"]
        print(f"{name:<22} {m['flop'] / 1e9:9.2f} {1e3 * m['seconds']:9.2f} {1e3 * m['flop'] / fastest:9.2f} "
              f"{rate / 1e9:8.1f} {m['bytes'] / 1e6:9.1f} {line(size) / 1e6:9.1f}", flush=True)
        cases.add(name=name, ours=rate / 1e9, peer=fastest / 1e9, ratio=rate / fastest, spread=m["spread"], unit="GFLOP/s",
                  peak=m["peak"])
        cases.add(name=f"{name}-memory", ours=m["bytes"] / 1e6, peer=line(size) / 1e6, ratio=line(size) / m["bytes"], spread=0,
                  unit="MB")


def run(options):
    cases = Cases(options)
    for series in [attention_series, batch_series, width_series]:
        run_series(cases, series(), options)
    return cases.close()


BENCHES = {"scaling": ("time and memory of attention by tokens, of CrossViT by batch and width; peer the formula", run)}
