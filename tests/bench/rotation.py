"""How well keys are chosen: the proxy's rotation on a simulated clock, beside the bound and usual programs.

    python -m tests.bench.rotation                          every case, sliding windows, about ten minutes
    python -m tests.bench.rotation --cases others raised    the cases whose names contain these words
    python -m tests.bench.rotation --countings fixed --schedulers bound proxy --seeds 5

The bound is a scheduler that knows what Google knows, but not the future. For each case and scheduler, the
mean of the seeds: the share of the requests and of their tokens that was served, upstream calls for each
answer, the share of what the quotas left that was used, the share of the prompts that was cached, the median
wait, how unevenly the keys were used (the coefficient of variation), the share served of those who came back
when they were told to, and our CPU.
"""

import argparse
import statistics
import sys
import time

from tests.support.google_windows import Counting
from tests.support.quota_cases import CASES, counted
from tests.support.scenario import Scenario
from tests.support.simulation import SCHEDULERS, Simulation
from tests.support.simulation_figures import Figures

_HEADS = ("served", "calls", "used", "tokens", "cached", "wait s", "uneven", "again", "CPU s")


def _row(figures: list[Figures], seconds: float) -> str:
    def mean(name: str) -> float:
        return statistics.fmean(getattr(one, name) for one in figures)

    cells = [
        f"{mean('served'):.1%}",
        f"{mean('calls_per_answer'):.3f}",
        f"{mean('used'):.1%}",
        f"{mean('tokens_served'):.1%}" if any(one.records[0].request.tokens for one in figures) else "-",
        f"{mean('cached'):.1%}" if figures[0].scenario.conversations else "-",
        f"{mean('median_wait'):.2f}",
        f"{mean('unevenness'):.3f}",
        f"{mean('served_again'):.1%}" if figures[0].scenario.returning else "-",
        f"{seconds:.1f}",
    ]
    return "".join(f"{cell:>9}" for cell in cells)


def _parts(scenario: Scenario, figures: list[Figures]) -> dict[str, list[Figures]]:
    """The figures of each client if there are several, and of requests that only their owner can serve."""
    names = [client.name for client in scenario.clients if len(scenario.clients) > 1]
    parts = {name: [one.of(name) for one in figures] for name in names}
    if scenario.bound:
        parts |= {"owned": [one.owned(owned=True) for one in figures]}
        parts |= {"not owned": [one.owned(owned=False) for one in figures]}
    return parts


def _show(name: str, scenario: Scenario, schedulers: list[str], seeds: int) -> None:
    for scheduler in schedulers:
        began = time.process_time()
        figures = [Simulation(scenario, seed).run(SCHEDULERS[scheduler]) for seed in range(1, seeds + 1)]
        row = _row(figures, time.process_time() - began)
        sys.stdout.write(f"{name:<40}{scheduler:<16}{row}\n")
        for part, those in _parts(scenario, figures).items():
            sys.stdout.write(f"{'  ' + part:<40}{scheduler:<16}{_row(those, 0.0)}\n")
        sys.stdout.flush()


def main() -> int:
    """Run what the command line says, and print a line for each case and scheduler."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.rotation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    countings = {counting.name.lower(): counting for counting in Counting}
    parser.add_argument("--cases", nargs="+", default=[""], help="words in the names of cases")
    parser.add_argument("--countings", nargs="+", choices=countings, default=["sliding"])
    parser.add_argument("--schedulers", nargs="+", choices=SCHEDULERS, default=list(SCHEDULERS))
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    heads = "".join(f"{head:>9}" for head in _HEADS)
    sys.stdout.write(f"{'':<56}{heads}\n")
    for name, scenario in CASES.items():
        if not any(word in name for word in options.cases):
            continue
        for counting in options.countings:
            title = name if counting == "sliding" else f"{name}, {counting}"
            _show(title, counted(scenario, countings[counting]), options.schedulers, options.seeds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
