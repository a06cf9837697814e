"""A network's training step or inference beside its peers: the same weights and inputs.

Training's peer is the faster of PyTorch eager and torch.compile; PyTorch with malloc told to keep its memory is printed beside.
Inference's peer is OpenVINO; PyTorch is printed beside, and is the peer where there is no OpenVINO."""
from driver.cases import Cases
from driver.compare import compare
from driver.environment import WORK
from driver.measure import alternate
from driver.side import SideError, openvino, ours, torch_compiled, torch_eager, torch_keeping_memory

PEERS = {"train": [torch_eager, torch_compiled, torch_keeping_memory], "infer": [openvino, torch_eager, torch_compiled]}
TORCH = ["torch eager", "torch.compile"]


def start_peer(make, program, folder, words, options):
    """Prepared, and with the same results as ours, which has written its own; None if it cannot be had."""
    limit = options.compile_limit if make is torch_compiled else None
    if limit == 0:
        return None
    peer = make(program)
    try:
        peer.prepare(folder, words)
        peer.check(limit)
        share = compare(folder, peer.name, words["precision"])
        print(f"{peer.name}: same results, within {100 * share:.0f} % of the tolerance", flush=True)
        return peer
    except SideError as problem:
        peer.process.kill()
        if make is torch_eager:
            raise
        print(f"left out: {problem}", flush=True)
        return None


def print_table(results, items):
    print(f"{'peer':<20} {'ours ms':>8} {'peer ms':>8} {'ours 1/s':>11} {'peer 1/s':>11} {'ratio':>6} {'spread':>6} rounds")
    for peer, r in results.items():
        print(f"{peer:<20} {1e3 * r.ours:8.1f} {1e3 * r.peer:8.1f} {items / r.ours:11.2f} {items / r.peer:11.2f} "
              f"{r.ratio:6.3f} {r.spread:6.3f} {r.rounds:6d}")


def contest(program, name, words, options):
    """(the result that counts, useful flop of ours, images or tokens of a turn); all results are printed."""
    folder = WORK / name
    with ours(program) as mine:
        mine.prepare(folder, words)
        mine.check()
        started = [start_peer(make, program, folder, words, options) for make in PEERS[words["mode"]]]
        peers = [peer for peer in started if peer]
        try:
            results = alternate(mine, peers, options)
        finally:
            for peer in peers:
                peer.__exit__()
    print_table(results, mine.items)
    faster = min((results[n] for n in TORCH if n in results), key=lambda r: r.ratio)
    result = results["openvino"] if words["mode"] == "infer" and "openvino" in results else faster
    print(f"ours: {mine.flop / result.ours / 1e9:.1f} GFLOP/s, fp32 registers give {result.peak:.1f}; ratio to eager "
          f"{results['torch eager'].ratio:.3f}, to the faster of eager and torch.compile {faster.ratio:.3f}", flush=True)
    return result, mine.flop, mine.items


def rate(cases, program, name, words, options, unit="images/s"):
    """Adds a result line of so many a second."""
    words = words | {"threads": options.threads}
    with cases.case(name):
        r, flop, items = contest(program, name, words, options)
        cases.add(name=name, ours=items / r.ours, peer=items / r.peer, ratio=r.ratio, spread=r.spread, unit=unit,
                  peak=r.peak * 1e9 / (flop / items) if words["precision"] == "fp32" else None)


def rate_alone(program, name, words, options):
    """A bench of that one case. Returns the exit code."""
    cases = Cases(options)
    rate(cases, program, name, words, options)
    return cases.close()
