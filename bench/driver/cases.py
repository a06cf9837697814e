"""The cases of one bench. One that cannot be measured is left out and named at the end; the others are measured all the same."""
import sys
from contextlib import contextmanager

from driver.measure import print_machine, print_result
from driver.side import SideError


class Cases:
    def __init__(self, options):
        self.chosen = options.cases
        self.lines, self.left_out = [], []
        print_machine()

    def wanted(self, name):
        return self.chosen in name

    @contextmanager
    def case(self, name):
        """What fails inside costs this case alone."""
        try:
            yield
        except SideError as problem:
            print(f"{name}: {problem}", flush=True)
            self.left_out.append(name)

    def add(self, **line):
        """A result: the arguments of print_result."""
        self.lines.append(line)

    def close(self):
        """Prints the results, the lowest ratio last. Returns the exit code: 1 if a case is missing."""
        if self.left_out:
            print(f"{len(self.left_out)} cases without a result: {' '.join(self.left_out)}", file=sys.stderr)
        if not self.lines and not self.left_out:
            raise SideError(f"no case has '{self.chosen}' in its name")
        for line in sorted(self.lines, key=lambda line: -line["ratio"]):
            print_result(**line)
        return 1 if self.left_out else 0
