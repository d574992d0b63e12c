"""How a check is told: while it goes on, and at its end as a table or as JSON.

    {"checked": 7, "working": 5, "keys": [
      {"name": "1", "state": "works", "reason": "", "project": "", "models": ["gemini-2.5-flash", ...],
       "seconds": 0.31}, ...]}

The states are works, benched, retired and unknown.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from proxycore.check import BENCHED, RETIRED, UNKNOWN, WORKS, Check, Finding
from proxycore.settings import Settings

_COLOURS = {WORKS: "green", BENCHED: "yellow", RETIRED: "red", UNKNOWN: "magenta"}
_WIDE = 10_000  # columns: what reads a file or a pipe can take lines of any length
_KINDS = 4  # of models that are named
_KIND = re.compile(r"[a-z]+")


async def check(settings: Settings, *, as_json: bool, out: TextIO, err: TextIO) -> int:
    """Tries all keys and tells what was found; returns 0 if at least one works, else 1."""
    # Whether it is a terminal is asked of the stream: FORCE_COLOR would have a bar in a pipe.
    told = Console(file=err, highlight=False, soft_wrap=True, force_terminal=err.isatty())
    for warning in settings.warnings:
        told.print(warning, style="yellow", markup=False)
    if not settings.google_keys:
        told.print("No Gemini API key is set: set GOOGLE_API_KEY_1.", style="red")
        return 1
    findings = await _with_progress(settings, told)
    working = sum(finding.state == WORKS for finding in findings)
    if as_json:
        keys = [asdict(finding) | {"seconds": round(finding.seconds, 3)} for finding in findings]
        content = {"checked": len(findings), "working": working, "keys": keys}
        out.write(json.dumps(content, indent=2) + "\n")
    else:
        _tell(findings, working, out)
    return 0 if working else 1


async def _with_progress(settings: Settings, told: Console) -> list[Finding]:
    if not told.is_terminal:
        return await Check(settings).run(lambda finding: told.print(_line(finding), markup=False))
    columns = (TextColumn("Trying the keys"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=told, transient=True) as progress:
        task = progress.add_task("", total=len(settings.google_keys))
        return await Check(settings).run(lambda _: progress.advance(task))


def _line(finding: Finding) -> str:
    return f"key {finding.name}: {finding.state}" + (f", {finding.reason}" if finding.reason else "")


def _tell(findings: Sequence[Finding], working: int, out: TextIO) -> None:
    console = Console(file=out, highlight=False, force_terminal=out.isatty())
    if not console.is_terminal:
        console = Console(file=out, highlight=False, width=_WIDE, color_system=None)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("name", "state", "reason", "project", "models"):
        table.add_column(name, overflow="fold")
    table.add_column("time", justify="right", no_wrap=True)
    for finding in findings:
        state = Text(finding.state, style=_COLOURS[finding.state])
        row = (finding.reason, finding.project, _models(finding.models), f"{finding.seconds:.1f} s")
        table.add_row(Text(finding.name), state, *map(Text, row))
    console.print(table)
    console.print(f"{working} of {len(findings)} {'key works' if len(findings) == 1 else 'keys work'}.")
    if advice := _advice(findings):
        console.print(advice, markup=False)


def _models(names: Sequence[str]) -> str:
    """How many, and of what kinds: `52 (gemini 24, imagen 3, ...)`."""
    if not names:
        return ""
    kinds = Counter(found[0] if (found := _KIND.match(name)) else name for name in names)
    listed = [f"{kind} {count}" for kind, count in kinds.most_common(_KINDS)]
    return f"{len(names)} ({', '.join(listed + ['...'] * (len(kinds) > _KINDS))})"


def _advice(findings: Sequence[Finding]) -> str:
    """What to change when it is not the keys that fail."""
    reasons = {finding.reason for finding in findings}
    if len(reasons) != 1 or findings[0].state != UNKNOWN:
        return ""
    if "address is not served" in findings[0].reason:
        return "Google does not serve the region of this address: set UPSTREAM_PROXY to one elsewhere."
    return (
        "All keys met the same trouble, so it is not the keys: look at the way out (UPSTREAM_PROXY,"
        " UPSTREAM_CA_FILE) and at UPSTREAM_URL."
    )
