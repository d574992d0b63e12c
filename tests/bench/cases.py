"""Every case of tests/test_cases_*.py against `python server.py` in real time, as a table.

    python -m tests.bench.cases [-n PROCESSES] [-k EXPRESSION]

Takes about half an hour of waiting, divided by the number of processes. The exit status is 1 if one failed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Result:
    """What became of one case, how many seconds it took, and the first line of what failed."""

    name: str
    outcome: str
    seconds: float
    reason: str


def run(processes: int, expression: str) -> list[Result]:
    """Runs those whose names match, so many at once."""
    with tempfile.TemporaryDirectory(prefix="cases-") as folder:
        report = Path(folder) / "report.xml"
        files = sorted(map(str, (ROOT / "tests").glob("test_cases_*.py")))
        options = [
            "-n",
            str(processes),
            "--dist",
            "load",
            "--tb=line",
            f"--junit-xml={report}",
            "-k",
            expression,
        ]
        subprocess.run(
            [sys.executable, "-m", "pytest", *options, *files],
            cwd=ROOT,
            env=os.environ | {"CASES_OUTSIDE": "1"},
            stdout=subprocess.DEVNULL,
            check=False,
        )
        return list(results(report.read_bytes()))


def results(report: bytes) -> Iterator[Result]:
    """What pytest's report in JUnit's form says, in its order."""
    for case in ElementTree.fromstring(report).iter("testcase"):  # noqa: S314 - written by our own pytest
        told = next(iter(case), None)
        outcome = "passed" if told is None else told.tag
        reason = "" if told is None else told.get("message", "").partition("\n")[0]
        name = f"{case.get('classname', '').rpartition('_')[2]}: {case.get('name')}"
        yield Result(name, outcome, float(case.get("time", 0)), reason)


def main() -> int:
    """Runs them, and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-n", type=int, default=4, help="how many at once")
    parser.add_argument("-k", default="", help="only those that match, as in pytest")
    asked = parser.parse_args()
    told = run(asked.n, asked.k)
    for result in told:
        line = f"{result.outcome:8} {result.seconds:6.1f} s  {result.name}"
        sys.stdout.write(line + (f"\n{'':19}{result.reason[:200]}" if result.reason else "") + "\n")
    failed = sum(result.outcome not in {"passed", "skipped"} for result in told)
    sys.stdout.write(f"{len(told)} cases, {failed} failed\n")
    return int(failed > 0 or not told)


if __name__ == "__main__":
    sys.exit(main())
