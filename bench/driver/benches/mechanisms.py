"""Every mechanism of common/attention beside dense attention at the same shapes. A new mechanism adds one line here, and one
to the list in bench/attention.c."""
from itertools import product

from driver.cases import Cases
from driver.environment import WORK
from driver.measure import alone, alternate
from driver.side import ours

MECHANISMS = [
    "dense",
    "windowed",           # blocks of 256 and their neighbours
    "windowed-relative",  # with Shaw's tables of keys and values
    "routed",             # about sqrt(N) clusters of as many members
    "routed-relative",
]
TOKENS = [256, 512, 1024, 2048, 4096, 8192, 16384]
HEADS, WIDTH = 8, 64


def against_dense(mechanism, mine, dense, options):
    """seconds of ours and of dense, their ratio, spread, best peak."""
    if mechanism == "dense":
        seconds, spread, peak = alone(mine, options)
        return seconds, seconds, 1.0, spread, peak
    r = alternate(mine, [dense], options)[dense.name]
    return r.ours, r.peer, r.ratio, r.spread, r.peak


def measure(cases, name, mechanism, words, options):
    with ours("attention") as mine, ours("attention", "dense") as dense:
        mine.prepare(WORK / "mechanisms", words | {"mechanism": mechanism})
        dense.prepare(WORK / "mechanisms", words | {"mechanism": "dense"})
        dense.turn(0)
        seconds, peer, ratio, spread, peak = against_dense(mechanism, mine, dense, options)
        memory, dense_memory = mine.memory()[1], dense.memory()[1]
    print(f"{name:<36} {1e3 * seconds:10.2f} {mine.flop / seconds / 1e9:8.1f} {memory / 1e6:8.1f}   {seconds / peer:.3f} "
          f"{memory / dense_memory:.3f} {mine.flop / dense.flop:.3f}", flush=True)
    cases.add(name=name, ours=mine.flop / seconds / 1e9, peer=dense.flop / peer / 1e9, ratio=ratio, spread=spread,
              unit="GFLOP/s", peak=peak)


def run(options):
    cases = Cases(options)
    print(f"{'':<36} {'ms':>10} {'GFLOP/s':>8} {'MB':>8}   ratio to dense: time, memory, FLOPs")
    for mechanism, tokens, backward in product(MECHANISMS, TOKENS, ["no", "yes"]):
        name = f"mechanisms-{mechanism}-{tokens}-{'both' if backward == 'yes' else 'forward'}"
        if not cases.wanted(name):
            continue
        words = {"batch": 1, "heads": HEADS, "tokens": tokens, "width": WIDTH, "backward": backward, "threads": options.threads}
        with cases.case(name):
            measure(cases, name, mechanism, words, options)
    return cases.close()


BENCHES = {"mechanisms": ("the mechanisms of common/attention, 256 to 16,384 tokens; peer our dense attention", run)}
