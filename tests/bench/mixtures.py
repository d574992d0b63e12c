"""Thousands of random mixtures on a turned clock, judged by an oracle that knows the truth.

    python -m tests.bench.mixtures --count 3000               a table of what failed, and the worst seeds
    python -m tests.bench.mixtures --seed 17                  one mixture, and what failed in it
    python -m tests.bench.mixtures --seed 17 --trace          the same, with every call, verdict and bench
    python -m tests.bench.mixtures --seed 17 --shrink LOST    with only what the failure needs left in it

`--request 5` and `--between 12 14.5` show a part of a trace, `--with BARE` runs only mixtures that have this.
"""

import argparse
import math
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from statistics import median

from tests.support.mixture_oracle import HARD, Failure, Judgement, judge
from tests.support.mixture_run import Run
from tests.support.mixture_shrink import shrunk
from tests.support.mixture_trace import Trace, logged_to
from tests.support.mixtures import Mixture, mixture

_WORST = 8  # seeds of a kind that are shown
_WORDS = 3  # findings of a seed


def judged(seed: int) -> Judgement:
    """The judgement of one mixture."""
    return judge(Run(mixture(seed)).run())


def _say(words: object) -> None:
    sys.stdout.write(f"{words}\n")


def _table(judgements: list[Judgement], seconds: float) -> None:
    requests = sum(one.requests for one in judgements)
    _say(f"{len(judgements)} mixtures, {requests} requests in {seconds:.0f} s")
    _spread("upstream calls for each served request", [one.calls for one in judgements])
    _spread("calls for a poisoned request", [one.poisoned_calls for one in judgements])
    _spread("rest of the worst healthy key", [one.rest for one in judgements])
    _say(f"\n{'':>10} {'found':>7} {'in mixtures':>11}  worst seeds (found)")
    for failure in Failure:
        counts = {one.seed: one.counts[failure] for one in judgements if one.counts[failure]}
        worst = sorted(counts.items(), key=lambda item: -item[1])[:_WORST]
        shown = ", ".join(f"{seed} ({count})" for seed, count in worst)
        _say(f"{failure.name:>10} {sum(counts.values()):>7} {len(counts):>11}  {shown}")
        if failure in HARD and worst:
            for seed, _ in worst[:2]:
                one = next(one for one in judgements if one.seed == seed)
                first = next(finding for finding in one.findings if finding.failure is failure)
                _say(f"{'':>20} seed {seed}: {first}")
    dearest = sorted((one for one in judgements if one.served >= 10), key=lambda one: -one.calls)[:_WORST]
    _say("dearest:   " + ", ".join(f"{one.seed} ({one.calls:.2f} calls)" for one in dearest))


def _spread(name: str, values: Iterable[float]) -> None:
    known = sorted(value for value in values if not math.isnan(value))
    if known:
        places = [known[min(len(known) - 1, int(len(known) * part))] for part in (0.1, 0.9, 0.99)]
        low, high, top = (f"{value:.3f}" for value in places)
        _say(f"{name}: median {median(known):.3f}, 10 % {low}, 90 % {high}, 99 % {top}, most {known[-1]:.3f}")


def _one(chosen: Mixture, options: argparse.Namespace) -> None:
    _say(chosen)
    trace = Trace()
    with logged_to(trace):
        run = Run(chosen, trace if options.trace else None).run()
    judgement = judge(run)
    low, high = options.between or (0.0, float("inf"))
    for line in trace.said(judgement.findings) if options.trace else ():
        if low <= line.at <= high and (options.request is None or line.number in {-1, options.request}):
            _say(line)
    counts = ", ".join(f"{failure.name} {count}" for failure, count in judgement.counts.items()) or "nothing"
    _say(f"{judgement.served} of {judgement.plain} plain requests served, {judgement.calls:.2f} calls each")
    _say(f"found: {counts}")
    seen: Counter[Failure] = Counter()
    for finding in judgement.findings if not options.trace else ():
        seen[finding.failure] += 1
        if seen[finding.failure] <= _WORDS:
            _say(f"  {finding}")


def _failing(failure: Failure) -> Callable[[Mixture], bool]:
    def fails(smaller: Mixture) -> bool:
        return judge(Run(smaller).run()).counts[failure] > 0

    return fails


def _has(chosen: Mixture, name: str) -> bool:
    troubles = {ill.trouble.name for key in chosen.keys for ill in key.ills}
    troubles |= {f"ALL_{ill.trouble.name}" for ill in chosen.everywhere}
    troubles |= {f"POISON_{client.poison.name}" for client in chosen.clients if client.share}
    return name in troubles


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="mixtures to run")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--with", dest="has", help="BARE (a key), ALL_BARE (an outage), POISON_BARE, ...")
    parser.add_argument("--seed", type=int, help="only this mixture")
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--shrink", type=lambda name: Failure[name], help=", ".join(Failure.__members__))
    parser.add_argument("--request", type=int, help="in a trace, only this one")
    parser.add_argument("--between", type=float, nargs=2, help="in a trace, only these seconds")
    return parser.parse_args()


def main() -> None:
    """Runs what the command line says."""
    options = _options()
    if options.seed is not None:
        chosen = mixture(options.seed)
        _one(shrunk(chosen, _failing(options.shrink)) if options.shrink else chosen, options)
        return
    seeds = range(options.first, options.first + options.count)
    wanted = [seed for seed in seeds if not options.has or _has(mixture(seed), options.has)]
    began = time.monotonic()
    with multiprocessing.Pool(options.processes) as processes:
        judgements = processes.map(judged, wanted, chunksize=8)
    _table(judgements, time.monotonic() - began)
    sys.exit(any(one.counts[failure] for one in judgements for failure in HARD))


if __name__ == "__main__":
    main()
