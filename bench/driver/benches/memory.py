"""The most that is resident in a process that trains CrossViT-Ti with batch 32, after some steps."""
from driver.compare import compare
from driver.environment import WORK
from driver.measure import print_machine, print_result
from driver.side import ours, torch_side

STEPS = 3


def run(options):
    folder = WORK / "memory"
    words = {"mode": "train", "config": "tiny", "batch": 32, "threads": options.threads}
    resident = []
    print_machine()
    for side in [ours("crossvit"), torch_side()]:
        with side:
            side.prepare(folder, words)
            side.check()
            for _ in range(STEPS):
                side.turn(0)
            memory = side.memory()
        resident.append(memory[0] / 1e6)
        print(f"{side.name:<12} {resident[-1]:8.0f} MB" +
              (f", of which its tensors {memory[1] / 1e6:.0f} MB" if memory[1] else ""), flush=True)
    compare(folder, "torch eager")
    print_result("memory", resident[0], resident[1], resident[1] / resident[0], 0, "MB")
    return 0


BENCHES = {"memory": ("peak resident memory of the training step; peer PyTorch", run)}
