"""A side of a bench: a process that speaks the line protocol of bench/side/side.h. Between its turns it waits for a line,
so its threads sleep."""
import os
import subprocess
import sys
import threading

from driver.environment import BUILD, ROOT


class SideError(Exception):
    pass


class Side:
    def __init__(self, name, command, environment=None):
        self.name = name
        self.flop = self.bytes = self.items = 0
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=os.environ | (environment or {}))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ask(self, line, limit=None):
        """The words of the answer. limit: seconds after which the side is ended."""
        clock = threading.Timer(limit, self.process.kill) if limit else None
        try:
            if clock:
                clock.start()
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            if clock:
                clock.cancel()
        if not answer:
            raise SideError(f"{self.name}: no answer to '{line}'" + (f" within {limit:.0f} s" if limit else ""))
        if answer.startswith("error "):
            raise SideError(f"{self.name}: {answer[6:].strip()}")
        return answer.split()

    def prepare(self, folder, words):
        text = " ".join(f"{key}={value}" for key, value in words.items())
        for word in self.ask(f"prepare {folder} {text}")[1:]:
            key, value = word.split("=")
            setattr(self, key, float(value))

    def check(self, limit=None):
        """Writes what one operation computes."""
        self.ask("check", limit)

    def turn(self, seconds):
        """Seconds of one operation."""
        return float(self.ask(f"turn {seconds}")[1])

    def peak(self):
        """GFLOP/s of the processors just now."""
        return float(self.ask("peak")[1])

    def bandwidth(self):
        """GB/s of the memory just now."""
        return float(self.ask("bandwidth")[1])

    def memory(self):
        """Bytes: the most that was resident in the process; the most that its tensors took (0: not known)."""
        return tuple(int(word) for word in self.ask("memory")[1:])


def ours(program, name="ours"):
    """With the environment that tools/launch gives the product."""
    return Side(name, [str(BUILD / "bench" / program)], {"GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "2000")})


KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "30000000000", "MALLOC_TOP_PAD_": "268435456"}


def peer(program, name, *arguments, environment=None):
    return Side(name, [sys.executable, f"bench/peers/{program}.py", *arguments], environment)


def torch_eager(case):
    return peer("torch_peer", "torch eager", case)


def torch_compiled(case):
    return peer("torch_peer", "torch.compile", case, "--compile")


def torch_keeping_memory(case):
    """glibc told to give no memory back: what PyTorch could do with an allocator of its own."""
    return peer("torch_peer", "torch, malloc tuned", case, environment=KEEP_MEMORY)


def openvino(case):
    return peer("openvino_peer", "openvino", case)
