"""Dense attention beside torch's scaled_dot_product_attention, at the shapes of vision and of longer texts; and its memory,
which has to grow with the tokens, not with their square."""
from itertools import product

from driver.cases import Cases
from driver.compare import make_ready
from driver.environment import WORK
from driver.measure import alternate
from driver.side import ours, torch_eager

SHAPES = [(32, 3, 401, 32), (32, 3, 197, 64), (4, 8, 1024, 64), (1, 8, 4096, 64)]  # batch, heads, tokens, width
LONGER = [4096, 8192, 16384]
YES = {False: "no", True: "yes"}


def words_of(shape, precision, causal, backward, threads):
    return dict(zip(["batch", "heads", "tokens", "width"], shape)) | {
        "precision": precision, "causal": YES[causal], "backward": YES[backward], "threads": threads}


def measure_times(cases, options):
    with ours("attention") as mine, torch_eager("attention") as peer:
        for shape, precision, causal, backward in product(SHAPES, ["fp32", "bf16"], [False, True], [False, True]):
            name = "-".join(["attention", "x".join(map(str, shape)), precision, "causal" if causal else "full",
                             "both" if backward else "forward"])
            if not cases.wanted(name):
                continue
            with cases.case(name):
                make_ready(mine, [peer], WORK / "attention", words_of(shape, precision, causal, backward, options.threads))
                r = alternate(mine, [peer], options)[peer.name]
                print(f"{name:<45} {1e3 * r.ours:8.2f} ms  {1e3 * r.peer:8.2f} ms  {r.ratio:6.3f}", flush=True)
                cases.add(name=name, ours=mine.flop / r.ours / 1e9, peer=mine.flop / r.peer / 1e9, ratio=r.ratio,
                          spread=r.spread, unit="GFLOP/s", peak=r.peak)


def measure_memory(cases, options):
    """Tensors of forward and backward at three lengths; the peer is the shortest one's, grown as the tokens are."""
    first = None
    for tokens in LONGER:
        name = f"attention-memory-{tokens}"
        if not cases.wanted("attention-memory"):
            continue
        with cases.case(name), ours("attention") as mine:
            mine.prepare(WORK / "attention", words_of((1, 8, tokens, 64), "fp32", False, True, options.threads))
            mine.turn(0)
            taken = mine.memory()[1] / 1e6
            first = first or taken / tokens
            print(f"{name:<45} {taken:8.1f} MB of tensors", flush=True)
            cases.add(name=name, ours=taken, peer=first * tokens, ratio=first * tokens / taken, spread=0, unit="MB")


def run(options):
    cases = Cases(options)
    measure_memory(cases, options)
    measure_times(cases, options)
    return cases.close()


BENCHES = {"attention": ("dense attention, forward and backward, full and causal, fp32 and bf16; peer PyTorch", run)}
