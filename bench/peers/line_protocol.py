"""A peer's end of the protocol of bench/side/side.h. A case has operation() and check(), which returns named results."""
import sys
import time


def peak_resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def turn(case, seconds):
    """Seconds of one operation, and how many were made."""
    begun, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - begun < seconds:
        case.operation()
        count += 1
    return (time.perf_counter() - begun) / count, count


class Peer:
    def __init__(self, prepare, write):
        self.prepare, self.write = prepare, write
        self.case = self.folder = None

    def obey(self, command, *words):
        if command == "prepare":
            self.folder, self.case = words[0], None
            self.case = self.prepare(self.folder, dict(word.split("=") for word in words[1:]))
            return "ready"
        if command == "check":
            self.write(f"{self.folder}/peer.safetensors", self.case.check())
            return "done"
        if command == "turn":
            return "turn %.9g %d" % turn(self.case, float(words[0]))
        if command == "memory":
            return f"memory {peak_resident()} 0"
        return f"error unknown command {command}"


def serve(prepare, write):
    """prepare(folder, words) makes a case; write(path, results) a safetensors file. Ends with stdin."""
    peer = Peer(prepare, write)
    for line in sys.stdin:
        try:
            answer = peer.obey(*line.split())
        except Exception as problem:  # whatever a peer dies of is one line for the driver
            answer = f"error {type(problem).__name__}: {' '.join(str(problem).split())}"
        print(answer, flush=True)
