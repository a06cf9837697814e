"""Dense attention beside torch's scaled_dot_product_attention, at the shapes of vision and of longer texts."""
from driver.compare import compare
from driver.environment import WORK
from driver.measure import alternate, print_machine, print_worst_last
from driver.side import ours, torch_side

SHAPES = [(32, 3, 401, 32), (32, 3, 197, 64), (4, 8, 1024, 64), (1, 8, 4096, 64)]  # batch, heads, tokens, width


def case_words(shape, causal, backward, threads):
    words = dict(zip(["batch", "heads", "tokens", "width"], shape))
    return words | {"causal": "yes" if causal else "no", "backward": "yes" if backward else "no", "threads": threads}


def run(options):
    folder = WORK / "attention"
    lines = []
    print_machine()
    with ours("attention") as mine, torch_side() as peer:
        for shape in SHAPES:
            for causal in [False, True]:
                for backward in [False, True]:
                    words = case_words(shape, causal, backward, options.threads)
                    mine.prepare(folder, words)
                    mine.check()
                    peer.prepare(folder, {"case": "attention"} | words)
                    peer.check()
                    compare(folder, peer.name)
                    r = alternate(mine, [peer], options)[peer.name]
                    name = "-".join(["attention", "x".join(map(str, shape)), "causal" if causal else "full",
                                     "both" if backward else "forward"])
                    print(f"{name:<40} {1e3 * r.ours:8.2f} ms  {1e3 * r.peer:8.2f} ms  {r.ratio:6.3f}", flush=True)
                    lines.append(dict(name=name, ours=mine.flop / r.ours / 1e9, peer=mine.flop / r.peer / 1e9, ratio=r.ratio,
                                      spread=r.spread, unit="GFLOP/s", peak=r.peak))
    print_worst_last(lines)
    return 0


BENCHES = {"attention": ("dense attention, forward and backward, full and causal; peer PyTorch", run)}
