"""The training step of CrossViT-Ti on all threads beside the same on one; both must give the same bits."""
from driver.cases import Cases
from driver.environment import WORK
from driver.measure import alternate
from driver.side import SideError, ours

BATCH = 32
PEAKS = 10  # readings on one thread


def prepare(side, folder, words):
    """What the check wrote."""
    side.prepare(folder, words)
    side.check()
    return (folder / "ours.safetensors").read_bytes()


def run(options):
    cases = Cases(options)
    for precision in ["fp32", "bf16"]:
        name = f"threads-{precision}"
        if not cases.wanted(name):
            continue
        words = {"mode": "train", "config": "tiny", "batch": BATCH, "precision": precision}
        with cases.case(name), ours("crossvit") as mine, ours("crossvit", "one thread") as one:
            same = prepare(mine, WORK / name, words | {"threads": options.threads})
            if same != prepare(one, WORK / name, words | {"threads": 1}):
                raise SideError("no result: loss and gradients depend on the number of threads")
            one_peak = max(one.peak() for _ in range(PEAKS))
            r = alternate(mine, [one], options)[one.name]
            print(f"{name}: {r.ratio:.3f} with {options.threads} threads; multiply-adds in registers {r.peak / one_peak:.3f}")
            cases.add(name=name, ours=BATCH / r.ours, peer=BATCH / r.peer, ratio=r.ratio, spread=r.spread, unit="images/s",
                      peak=BATCH / r.peer * r.peak / one_peak)
    return cases.close()


BENCHES = {"threads": ("the training step on 2 threads; peer ours on 1", run)}
