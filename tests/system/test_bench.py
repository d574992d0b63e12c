"""The benchmark runs, and measures what it is asked to; what it finds out is no test's business."""

import subprocess
import sys

import pytest

from tests.support.process import ROOT
from tests.support.waiting import PATIENCE

BEGUN = {
    "plain": ("requests a second", "CPU per request, µs"),
    "events": ("CPU per event, µs", "delay of an event"),
    "memory": ("kB per open stream,",),
    "tls": ("CPU per request with TLS upstream", "kB per open stream with TLS upstream"),
    "drip": ("`/healthz`, 10 heads of 60 kB", "CPU, 10 heads of 60 kB"),
    "heads": ("kB per unfinished head, 60 kB of short fields", "kB per unfinished head, 60 kB in 100 fields"),
}


@pytest.mark.parametrize(
    ("parts", "more"),
    [
        (("plain", "events", "drip"), ()),
        (("memory", "tls", "heads"), ("--only", "ours", "--against", str(ROOT))),
    ],
)
def test_the_benchmark_has_a_value_for_every_part_and_proxy(
    parts: tuple[str, ...], more: tuple[str, ...]
) -> None:
    command = [sys.executable, "-m", "tests.bench", "--smoke", *parts, *more]
    told = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=20 * PATIENCE
    )
    assert told.returncode == 0, told.stdout + told.stderr
    lines = told.stdout.splitlines()
    table = lines[lines.index(next(line for line in lines if line.startswith("|"))) :]
    values = [line.strip("| ").split(" | ") for line in table[2 : table.index("")]]
    for begun in (begun for part in parts for begun in BEGUN[part]):
        row = next((row for row in values if row[0].startswith(begun)), None)
        assert row, f"{begun}: {told.stdout}"
        assert all(value.strip("-").replace(",", "").replace(".", "").isdigit() for value in row[1:]), row
