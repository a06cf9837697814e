"""Every mechanism of common/attention beside dense attention at the same shapes. A new mechanism adds one line here, and one
to the list in bench/attention.c."""
from driver.environment import WORK
from driver.measure import alone, alternate, print_machine, print_worst_last
from driver.side import ours

MECHANISMS = [
    "dense",
]
TOKENS = [256, 512, 1024, 2048, 4096, 8192, 16384]
HEADS, WIDTH = 8, 64


def against_dense(mechanism, mine, dense, words, options):
    """seconds of ours and of dense, their ratio, spread, best peak."""
    if mechanism == "dense":
        seconds, spread, peak = alone(mine, options)
        return seconds, seconds, 1.0, spread, peak
    r = alternate(mine, [dense], options)[dense.name]
    return r.ours, r.peer, r.ratio, r.spread, r.peak


def run(options):
    folder = WORK / "mechanisms"
    lines = []
    print_machine()
    print(f"{'mechanism':<12} {'tokens':>6} {'':<8} {'ms':>10} {'GFLOP/s':>8} {'MB':>8}   ratio to dense: time, memory, FLOPs")
    for mechanism in MECHANISMS:
        for tokens in TOKENS:
            for backward in ["no", "yes"]:
                words = {"batch": 1, "heads": HEADS, "tokens": tokens, "width": WIDTH, "backward": backward,
                         "threads": options.threads}
                with ours("attention") as mine, ours("attention") as dense:
                    mine.prepare(folder, words | {"mechanism": mechanism})
                    dense.name = "dense"
                    dense.prepare(folder, words | {"mechanism": "dense"})
                    dense.turn(0)
                    seconds, peer, ratio, spread, peak = against_dense(mechanism, mine, dense, words, options)
                    memory, dense_memory = mine.memory()[1], dense.memory()[1]
                what = "both" if backward == "yes" else "forward"
                print(f"{mechanism:<12} {tokens:6d} {what:<8} {1e3 * seconds:10.2f} {mine.flop / seconds / 1e9:8.1f} "
                      f"{memory / 1e6:8.1f}   {seconds / peer:.3f} {memory / dense_memory:.3f} {mine.flop / dense.flop:.3f}",
                      flush=True)
                lines.append(dict(name=f"mechanisms-{mechanism}-{tokens}-{what}", ours=mine.flop / seconds / 1e9,
                                  peer=dense.flop / peer / 1e9, ratio=ratio, spread=spread, unit="GFLOP/s", peak=peak))
    print_worst_last(lines)
    return 0


BENCHES = {"mechanisms": ("the mechanisms of common/attention, 256 to 16,384 tokens; peer our dense attention", run)}
