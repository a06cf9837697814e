"""What the benches stand on: our side built, and a Python environment for the peers in build/bench/venv."""
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / os.environ.get("ZOO_PRESET", "release")
WORK = ROOT / "build" / "bench"
VENV = WORK / "venv"
LOG = WORK / "log.txt"
OPTIONAL = "openvino"


def stop(line):
    print(line, file=sys.stderr)
    sys.exit(2)


def logged(command):
    """Whether it succeeded; its output goes to LOG."""
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        with open(LOG, "a") as out:
            return subprocess.run(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, check=False).returncode == 0
    except OSError as problem:
        stop(f"{command[0]}: {problem}")


def run_quietly(command, what):
    """Of a failure the last lines are shown."""
    if not logged(command):
        print("".join(LOG.read_text().splitlines(keepends=True)[-15:]), file=sys.stderr, end="")
        stop(f"{what} failed; all of its output is in {LOG}")


def build():
    if not (BUILD / "build.ninja").exists():
        run_quietly(["cmake", "--preset", BUILD.name], "cmake")
    run_quietly(["ninja", "-C", str(BUILD), "bench"], "building our side")


def make_environment(python):
    """Packages that the system's Python already has are taken as they are; torch comes as the CPU wheel where PyTorch's own
    index can be reached. OpenVINO is not to be had everywhere: without it the other peers are measured."""
    print("making the peers' environment in build/bench/venv ...", file=sys.stderr)
    run_quietly([sys.executable, "-m", "venv", "--system-site-packages", str(VENV)], "python3 -m venv")
    install = [str(python), "-m", "pip", "install"]
    run_quietly([*install, "--extra-index-url", "https://download.pytorch.org/whl/cpu", "-r", "bench/requirements.txt"],
                "installing the peers")
    if not logged([*install, OPTIONAL]):
        print(f"{OPTIONAL} could not be installed ({LOG} says why); going on without it", file=sys.stderr)


def enter():
    """Goes on under the environment's Python, making it first."""
    python = VENV / "bin" / "python"
    if Path(sys.prefix) == VENV:
        return
    wanted = (ROOT / "bench" / "requirements.txt").read_text() + OPTIONAL + "\n"
    done = VENV / "requirements.txt"
    if not done.exists() or done.read_text() != wanted:
        make_environment(python)
        done.write_text(wanted)
    os.execv(python, [str(python), "-m", "driver", *sys.argv[1:]])
