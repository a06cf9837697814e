"""./bench/run: finds the bench by its name and runs it. Every module of driver/benches brings its own."""
import argparse
import difflib
import importlib
import pkgutil
import sys

from driver import benches, environment
from driver.side import SideError


def find_benches():
    """{name: (what it measures, function)} of all modules, in the order of their names."""
    found = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(benches.__path__)):
        found.update(importlib.import_module(f"driver.benches.{module}").BENCHES)
    return found


def parse(arguments):
    parser = argparse.ArgumentParser(prog="./bench/run", description="Measures ours beside a peer, in one run.")
    parser.add_argument("name", nargs="?", help="a bench of --list")
    parser.add_argument("--list", action="store_true", help="the names, one a line")
    parser.add_argument("--rounds", type=int, default=11, metavar="N", help="rounds that count (default 11)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of each side (default 2)")
    parser.add_argument("--compile-limit", type=float, default=300, metavar="SECONDS",
                        help="how long torch.compile may take; 0: eager alone (default 300)")
    parser.add_argument("--cases", default="", metavar="TEXT", help="only those with TEXT in their name")
    parser.add_argument("--keep-all", action="store_true",
                        help="also counts turns beside which the peak fell: for trying a bench on a busy machine")
    options = parser.parse_args(arguments)
    if not options.list and not options.name:
        parser.print_help()
        sys.exit(0)
    if options.rounds < 1 or options.threads < 1:
        parser.error("--rounds and --threads are above 0")
    return options


def main():
    options = parse(sys.argv[1:])
    known = find_benches()
    if options.list:
        width = max(map(len, known))
        print("\n".join(f"{name:<{width}}  {known[name][0]}" for name in sorted(known)))
        return 0
    if options.name not in known:
        near = difflib.get_close_matches(options.name, known, 1, 0)
        print(f"unknown bench {options.name}; did you mean {near[0]}? ./bench/run --list lists them", file=sys.stderr)
        return 2
    environment.build()
    environment.enter()
    try:
        return known[options.name][1](options)
    except SideError as problem:
        print(f"bench {options.name}: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
