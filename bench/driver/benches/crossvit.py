"""CrossViT-Ti at 240, batch 32, fp32, beside timm's crossvit_tiny_240: the same weights, images and labels."""
from driver.compare import compare
from driver.environment import WORK
from driver.measure import alternate, print_machine, print_result
from driver.side import SideError, ours, torch_side

BATCH = 32


def start_peers(folder, words, options):
    """Eager, and the compiled one if it is ready in time; each is checked against ours, which has written its results."""
    peers = []
    for compiled in [False] + [True] * (options.compile_limit > 0):
        peer = torch_side(compiled)
        try:
            peer.prepare(folder, words)
            peer.check(options.compile_limit if compiled else None)
            share = compare(folder, peer.name)
            print(f"{peer.name}: same results, within {100 * share:.0f} % of the tolerance", flush=True)
            peers.append(peer)
        except SideError as problem:
            peer.process.kill()
            if not compiled:
                raise
            print(f"left out: {problem}", flush=True)
    return peers


def run(name, mode, options):
    folder = WORK / name
    words = {"mode": mode, "config": "tiny", "batch": BATCH, "threads": options.threads}
    print_machine()
    with ours("crossvit") as mine:
        mine.prepare(folder, words)
        mine.check()
        peers = start_peers(folder, words, options)
        results = alternate(mine, peers, options)
        for peer in peers:
            peer.__exit__()
    print(f"{'peer':<14} {'ours s':>8} {'peer s':>8} {'ours img/s':>11} {'peer img/s':>11} {'ratio':>6} {'spread':>6} rounds")
    for peer, r in results.items():
        print(f"{peer:<14} {r.ours:8.3f} {r.peer:8.3f} {BATCH / r.ours:11.2f} {BATCH / r.peer:11.2f} {r.ratio:6.3f} "
              f"{r.spread:6.3f} {r.rounds:6d}")
    faster = min(results.values(), key=lambda r: r.ratio)
    print(f"ours: {mine.flop / faster.ours / 1e9:.1f} GFLOP/s of {faster.peak:.1f} in registers; "
          f"ratio to eager {results['torch eager'].ratio:.3f}")
    print_result(name, BATCH / faster.ours, BATCH / faster.peer, faster.ratio, faster.spread, "images/s",
                 faster.peak * 1e9 / (mine.flop / mine.items))
    return 0


def bench(name, mode, what):
    return name, (what, lambda options: run(name, mode, options))


BENCHES = dict([
    bench("crossvit-ti-train-fp32", "train", "a training step of CrossViT-Ti, batch 32; peer PyTorch"),
    bench("crossvit-ti-infer-fp32", "infer", "inference of CrossViT-Ti, batch 32; peer PyTorch"),
])
