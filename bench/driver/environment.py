"""What the benches stand on: our side built, and a Python environment for the peers in build/bench/venv."""
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / os.environ.get("ZOO_PRESET", "release")
WORK = ROOT / "build" / "bench"
VENV = WORK / "venv"


def stop(line):
    print(line, file=sys.stderr)
    sys.exit(2)


def run_quietly(command, what):
    """Output goes to a log; of a failure the last lines are shown."""
    WORK.mkdir(parents=True, exist_ok=True)
    log = WORK / "log.txt"
    try:
        with open(log, "a") as out:
            failed = subprocess.run(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, check=False).returncode
    except OSError as problem:
        stop(f"{what}: {problem}")
    if failed:
        print("".join(log.read_text().splitlines(keepends=True)[-15:]), file=sys.stderr, end="")
        stop(f"{what} failed; all of its output is in {log}")


def build():
    if not (BUILD / "build.ninja").exists():
        run_quietly(["cmake", "--preset", BUILD.name], "cmake")
    run_quietly(["ninja", "-C", str(BUILD), "bench"], "building our side")


def enter():
    """Goes on under the environment's Python, making it first. Packages that the system's Python already has are taken
    as they are; torch comes as the CPU wheel where PyTorch's own index can be reached."""
    python = VENV / "bin" / "python"
    if Path(sys.prefix) == VENV:
        return
    wanted = (ROOT / "bench" / "requirements.txt").read_text()
    done = VENV / "requirements.txt"
    if not done.exists() or done.read_text() != wanted:
        print("making the peers' environment in build/bench/venv ...", file=sys.stderr)
        run_quietly([sys.executable, "-m", "venv", "--system-site-packages", str(VENV)], "python3 -m venv")
        run_quietly([str(python), "-m", "pip", "install", "--extra-index-url", "https://download.pytorch.org/whl/cpu",
                     "-r", "bench/requirements.txt"], "installing the peers")
        done.write_text(wanted)
    os.execv(python, [str(python), "-m", "driver", *sys.argv[1:]])
