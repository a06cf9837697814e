"""The most that is resident in a process that trains or runs CrossViT-Ti with batch 32, after some steps."""
from driver.cases import Cases
from driver.compare import compare
from driver.environment import WORK
from driver.side import SideError, openvino, ours, torch_eager

STEPS = 3
PEERS = {"train": [torch_eager], "infer": [openvino, torch_eager]}  # the first is the peer, others are printed beside


def resident(side, folder, words):
    """MB."""
    with side:
        side.prepare(folder, words)
        side.check()
        for _ in range(STEPS):
            side.turn(0)
        process, tensors = side.memory()
    print(f"{side.name:<12} {process / 1e6:8.0f} MB" + (f", of which its tensors {tensors / 1e6:.0f} MB" if tensors else ""),
          flush=True)
    return process / 1e6


def peer_resident(make, program, folder, words):
    """MB of a peer that computes the same; None if it cannot be had."""
    try:
        side = make(program)
        taken = resident(side, folder, words)
        compare(folder, side.name, words["precision"])
        return taken
    except SideError as problem:
        if make is torch_eager:
            raise
        print(f"left out: {problem}", flush=True)
        return None


def most_resident(cases, program, name, words, makers):
    """Adds a result line."""
    folder = WORK / name
    print(f"{name}:")
    with cases.case(name):
        mine = resident(ours(program), folder, words)
        peers = [taken for make in makers if (taken := peer_resident(make, program, folder, words))]
        cases.add(name=name, ours=mine, peer=peers[0], ratio=peers[0] / mine, spread=0, unit="MB")


def run(options):
    cases = Cases(options)
    for mode, makers in PEERS.items():
        for precision in ["fp32", "bf16"]:
            name = f"memory-{mode}-{precision}"
            if cases.wanted(name):
                most_resident(cases, "crossvit", name, {"mode": mode, "config": "tiny", "batch": 32, "precision": precision,
                                                        "threads": options.threads}, makers)
    return cases.close()


BENCHES = {"memory": ("peak resident memory, training (peer PyTorch) and inference (peer OpenVINO)", run)}
