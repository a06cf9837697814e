"""How long one waits: ./train crossvit, already built, to its first finished step, and ./train --list.

The first step is known from the line that ends an epoch of one step. The peer is what a program on PyTorch waits for before
its first line of its own: importing torch. --list has no peer."""
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from driver.environment import ROOT, stop
from driver.measure import print_machine, print_result, spread_of

ONE_STEP = ["data.hold_out=0", "data.limit_train=128", "train.batch_size=128", "train.epochs=1"]


def seconds_until(command, text, folder):
    """Until a line of the output holds the text; the process group is then ended."""
    begun = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    for line in process.stdout:
        if text in line:
            break
    else:
        stop(f"{' '.join(command)}: no '{text}': {process.stderr.read().strip()}")
    passed = time.monotonic() - begun
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return passed


def seconds_of(command):
    begun = time.monotonic()
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - begun


def run(options):
    print_machine()
    train = str(ROOT / "train")
    subprocess.run([train, "crossvit", "--help"], stdout=subprocess.DEVNULL, check=True)  # builds
    steps, imports, lists = [], [], []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            steps.append(seconds_until([train, "crossvit", *ONE_STEP, f"threads={options.threads}"], "step 1/1", folder))
        imports.append(seconds_of([sys.executable, "-c", "import torch"]))
        lists.append(seconds_of([train, "--list"]))
    ratios = [b / a for a, b in zip(steps, imports)]
    print_result("startup-list", statistics.median(lists), float("nan"), float("nan"), spread_of(lists), "s")
    print_result("startup-first-step", statistics.median(steps), statistics.median(imports), statistics.median(ratios),
                 spread_of(ratios), "s")
    return 0


BENCHES = {"startup": ("./train crossvit to the first finished step, ./train --list; peer importing torch", run)}
