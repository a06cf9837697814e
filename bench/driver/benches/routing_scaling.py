"""Time and memory of routed attention, of local windows and of dense attention from 1k to 64k tokens, beside torch's
scaled_dot_product_attention: causal, forward and backward, two heads of 64 (with which dense attention of 64k tokens takes
seconds, not minutes).

Routing has about sqrt(N) clusters of as many members, chosen by the queries' products with the centres, so it should grow as
N^1.5; windows are blocks of 256 tokens that see the block before them, N; dense attention grows as N^2. The exponents are
those of the straight line through the logarithms from 4k tokens on; their peer is the formula's."""
import math
from argparse import Namespace
from contextlib import ExitStack

from driver.cases import Cases
from driver.environment import WORK
from driver.measure import alternate
from driver.side import ours, torch_eager

TOKENS = [1024, 2048, 4096, 8192, 16384, 32768, 65536]
TIME = {"routed": 1.5, "windowed": 1.0, "dense": 2.0, "torch": 2.0}  # the powers of the formulas
MEMORY = {"routed": 1.5, "windowed": 1.0, "dense": 1.0}
FIT_FROM = 4096
LONG = 16384  # from here on three rounds are enough: a turn takes seconds


def slope(points):
    """Of the straight line through (x, y)."""
    x_mean, y_mean = (sum(values) / len(points) for values in zip(*points))
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / sum((x - x_mean) ** 2 for x, _ in points)


def exponent(series):
    """{tokens: value} -> the power with which it grows."""
    return slope([(math.log2(n), math.log2(value)) for n, value in series.items() if n >= FIT_FROM])


def measure(tokens, options):
    """{side: seconds}, {side: bytes of tensors}, {side: spread}."""
    words = {"batch": 1, "heads": 2, "tokens": tokens, "width": 64, "causal": "yes", "backward": "yes",
             "threads": options.threads}
    fewer = Namespace(**vars(options) | {"rounds": min(3, options.rounds) if tokens >= LONG else options.rounds})
    with ExitStack() as stack:
        routed, windowed, dense = (stack.enter_context(ours("attention", name)) for name in ["routed", "windowed", "dense"])
        torch = stack.enter_context(torch_eager("attention"))
        torch.name = "torch"
        for side in [routed, windowed, dense]:
            side.prepare(WORK / f"routing-scaling-{side.name}", words | {"mechanism": side.name})
        torch.prepare(WORK / "routing-scaling-dense", words)
        results = alternate(routed, [windowed, dense, torch], fewer)
        seconds = {name: r.peer for name, r in results.items()} | {"routed": results["torch"].ours}
        memory = {side.name: side.memory()[1] for side in [routed, windowed, dense]}
        return seconds, memory, {name: r.spread for name, r in results.items()}


def add_exponents(cases, what, series, powers):
    for name, values in series.items():
        if len([n for n in values if n >= FIT_FROM]) >= 2:
            power = exponent(values)
            cases.add(name=f"routing-scaling-{name}-{what}-exponent", ours=power, peer=powers[name], ratio=powers[name] / power,
                      spread=0, unit="power")


def run(options):
    cases = Cases(options)
    times, memories = {name: {} for name in TIME}, {name: {} for name in MEMORY}
    print(f"{'tokens':>6} {'':<5}" + "".join(f"{name:>12}" for name in TIME))
    for tokens in TOKENS:
        name = f"routing-scaling-{tokens}"
        if not cases.wanted(name):
            continue
        with cases.case(name):
            seconds, memory, spread = measure(tokens, options)
            for side, value in seconds.items():
                times[side][tokens] = value
            for side, value in memory.items():
                memories[side][tokens] = value
            print(f"{tokens:>6} {'ms':<5}" + "".join(f"{1e3 * seconds[side]:12.2f}" for side in TIME))
            print(f"{'':>6} {'MB':<5}" + "".join(f"{memory[side] / 1e6:12.1f}" for side in MEMORY), flush=True)
            for side in MEMORY:
                cases.add(name=f"routing-scaling-{side}-{tokens}", ours=1e3 * seconds[side], peer=1e3 * seconds["torch"],
                          ratio=seconds["torch"] / seconds[side], spread=spread["torch"], unit="ms")
            cases.add(name=f"routing-scaling-memory-{tokens}", ours=memory["routed"] / 1e6, peer=memory["dense"] / 1e6,
                      ratio=memory["dense"] / memory["routed"], spread=0, unit="MB")
    add_exponents(cases, "time", times, TIME)
    add_exponents(cases, "memory", memories, MEMORY)
    return cases.close()


BENCHES = {"routing-scaling": ("routed, windowed and dense attention from 1k to 64k tokens, both ways; peer torch's", run)}
