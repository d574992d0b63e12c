"""Reports a check: its progress, and the results as a table or as JSON.

    {"checked": 7, "working": 5, "keys": [
      {"name": "1", "state": "works", "reason": "", "project": "", "models": ["gemini-2.5-flash", ...],
       "seconds": 0.31, "advice": "", "until": null}, ...]}

The states are works, benched, retired and unknown; `until` is when a spent quota resets, in seconds since
the epoch.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import TextIO

from proxycore.runtime.key_check import Finding, KeyCheck, State
from proxycore.runtime.settings import Settings
from proxycore.runtime.text_table import printable, table

_HEADER = ("name", "state", "reason", "project", "models", "time")
_KINDS = 4  # of models that are listed
_KIND = re.compile(r"[a-z]+")
_NAMED = 8  # keys that are listed for one advice


async def check(settings: Settings, *, as_json: bool, out: TextIO, err: TextIO) -> int:
    """Check all keys and report the results; returns the exit status: 0 if at least one works, else 1.

    Raises OSError when the report can't be written.
    """
    err.writelines(f"{warning}\n" for warning in settings.warnings)
    if not settings.keys:
        err.write("No Gemini API key is set: set GOOGLE_API_KEY_1.\n")
        return 1
    findings = await _with_progress(settings, err)
    working = sum(finding.state is State.WORKS for finding in findings)
    if as_json:
        keys = [asdict(finding) | {"seconds": round(finding.seconds, 3)} for finding in findings]
        content = {"checked": len(findings), "working": working, "keys": keys}
        out.write(json.dumps(content, indent=2) + "\n")
    else:
        out.write(_report(findings, working))
    out.flush()  # raises here what can't be written
    return 0 if working else 1


async def _with_progress(settings: Settings, err: TextIO) -> list[Finding]:
    """The results. A terminal shows how many are known, anything else gets a line for each."""
    if not err.isatty():
        return await KeyCheck(settings).run(lambda finding: _write(err, f"{_line(finding)}\n"))
    total, done, shown = len(settings.keys), 0, ""

    def show(text: str) -> None:
        nonlocal shown
        _write(err, f"\r{text:{len(shown)}}")
        shown = text

    def found(_: Finding) -> None:
        nonlocal done
        done += 1
        show(f"Testing keys {done}/{total}")

    show(f"Testing keys 0/{total}")
    try:
        return await KeyCheck(settings).run(found)
    finally:
        show("")
        _write(err, "\r")


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


def _line(finding: Finding) -> str:
    text = f"key {finding.name}: {finding.state}" + (f", {finding.reason}" if finding.reason else "")
    return printable(text)


def _report(findings: Sequence[Finding], working: int) -> str:
    rows = [
        (one.name, one.state, one.reason, one.project, _models(one.models), f"{one.seconds:.1f} s")
        for one in findings
    ]
    count = f"{working} of {len(findings)} {'key works' if len(findings) == 1 else 'keys work'}.\n"
    if common := _common_failure(findings):
        return f"{table(_HEADER, rows)}{count}{common}\n"
    return table(_HEADER, rows) + _what_to_do(findings) + count


def _models(names: Sequence[str]) -> str:
    """How many there are, and of which kinds: `52 (gemini 24, imagen 3, ...)`."""
    if not names:
        return ""
    kinds = Counter(found[0] if (found := _KIND.match(name)) else name for name in names)
    listed = [f"{kind} {count}" for kind, count in kinds.most_common(_KINDS)]
    return f"{len(names)} ({', '.join(listed + ['...'] * (len(kinds) > _KINDS))})"


def _common_failure(findings: Sequence[Finding]) -> str:
    """What to do when all keys fail alike, which is not their fault; empty if they do not."""
    alike = len({finding.reason for finding in findings}) == 1 < len(findings)
    if not alike or findings[0].state is not State.UNKNOWN:
        return ""
    return f"All keys failed with the same error, so the keys are not the cause: {findings[0].advice}."


def _what_to_do(findings: Sequence[Finding]) -> str:
    """A line for each advice, with its keys."""
    names = defaultdict(list)
    for finding in findings:
        if finding.advice:
            names[finding.advice].append(printable(finding.name))
    lines = [f"  {_listed(keys)}: {advice}\n" for advice, keys in names.items()]
    return "".join(["What to do:\n", *lines]) if lines else ""


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    listed = ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"{'key' if len(names) == 1 else 'keys'} {listed}"
