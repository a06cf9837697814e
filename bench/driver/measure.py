"""Turns that alternate, the processors' peak read beside every turn, and the median of the ratios.

On a shared machine a compute-bound figure halves for seconds at a time. So one round is a short turn of every side, one after
the other; the peak is read before and after each turn; a turn beside which the peak fell by more than a tenth below the
best of the run is thrown away; and only turns of one round are compared."""
import statistics
import time
from dataclasses import dataclass, field

from driver.side import SideError

FALL = 0.9             # of the best peak seen: below it a turn does not count
SETTLE_SECONDS = 0.03  # idle OpenMP threads spin some milliseconds before they sleep
PATIENCE = 4           # rounds made for each that shall count, at most
READINGS = 25          # of the peak before the first turn: half a second
best_peak = 0.0        # GFLOP/s, over all cases of this run


class NotQuiet(SideError):
    """Too few turns counted: the machine, not the code, is to blame."""


@dataclass
class Turn:
    seconds: float
    peak: float  # the lower of the two readings beside it


@dataclass
class Result:
    """Of one peer beside ours. ratio > 1: ours is faster."""
    ours: float   # median seconds
    peer: float
    ratio: float
    spread: float  # interquartile range of the ratios, as a share of the median
    rounds: int
    peak: float    # best GFLOP/s of the run


@dataclass
class Rounds:
    ours: list = field(default_factory=list)
    peers: dict = field(default_factory=dict)  # name -> [Turn]


def spread_of(values):
    if len(values) < 2:
        return float("nan")
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / statistics.median(values)


def read_peak(ours):
    global best_peak
    peak = ours.peak()
    best_peak = max(best_peak, peak)
    return peak


def one_round(ours, peers, seconds, rounds):
    before = read_peak(ours)
    for side in [ours, *peers]:
        time.sleep(SETTLE_SECONDS)
        taken = side.turn(seconds)
        time.sleep(SETTLE_SECONDS)
        after = read_peak(ours)
        turns = rounds.ours if side is ours else rounds.peers[side.name]
        turns.append(Turn(taken, min(before, after)))
        before = after


def warm_up(ours, peers):
    """One round that does not count, and the peak."""
    one_round(ours, peers, 0, Rounds(peers={p.name: [] for p in peers}))
    for _ in range(READINGS):
        read_peak(ours)


def quiet(turn, options):
    return options.keep_all or turn.peak >= FALL * best_peak


def quiet_pairs(rounds, name, options):
    """[(ours, peer)]: seconds of the rounds in which both turns count."""
    pairs = zip(rounds.ours, rounds.peers[name])
    return [(a.seconds, b.seconds) for a, b in pairs if quiet(a, options) and quiet(b, options)]


def lowest_peak(rounds):
    return min(turn.peak for turns in [rounds.ours, *rounds.peers.values()] for turn in turns)


def demand(count, of, options):
    if count < min(3, options.rounds):
        raise NotQuiet(f"no result: the peak fell by more than a tenth beside {of - count} of {of} rounds; something else is "
                       "running here")


def alternate(ours, peers, options, seconds=0.2):
    """{peer's name: Result}."""
    warm_up(ours, peers)
    rounds = Rounds(peers={p.name: [] for p in peers})
    for _ in range(PATIENCE * options.rounds):
        one_round(ours, peers, seconds, rounds)
        if min(len(quiet_pairs(rounds, p.name, options)) for p in peers) >= options.rounds:
            break
    if options.keep_all:
        print(f"all turns were kept (--keep-all), the peak beside them from {lowest_peak(rounds):.0f} to {best_peak:.0f} "
              "GFLOP/s: no measurement", flush=True)
    results = {}
    for peer in peers:
        pairs = quiet_pairs(rounds, peer.name, options)
        demand(len(pairs), len(rounds.ours), options)
        ratios = [b / a for a, b in pairs]
        results[peer.name] = Result(statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs),
                                    statistics.median(ratios), spread_of(ratios), len(pairs), best_peak)
    return results


def alone(ours, options, seconds=0.2):
    """(median seconds, spread, best peak) of a side that has no peer."""
    warm_up(ours, [])
    rounds = Rounds()
    for _ in range(PATIENCE * options.rounds):
        one_round(ours, [], seconds, rounds)
        counted = [turn.seconds for turn in rounds.ours if quiet(turn, options)]
        if len(counted) >= options.rounds:
            break
    demand(len(counted), len(rounds.ours), options)
    return statistics.median(counted), spread_of(counted), best_peak


def print_machine():
    with open("/proc/cpuinfo") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    print(f"{names[0] if names else 'unknown processor'}, {len(names)} processors")


def print_result(name, ours, peer, ratio, spread, unit, peak=None):
    line = f"RESULT name={name} ours={ours:.4g} peer={peer:.4g} ratio={ratio:.3f} spread={spread:.3f} unit={unit}"
    print(line + (f" peak={peak:.4g}" if peak else ""), flush=True)
