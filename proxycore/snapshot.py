"""What is known of the keys at a moment, as JSON has it. Pure.

    time      now
    waiting   how many requests wait for a key
    outages   what is thought to be happening to many keys alike: `reason`, `model` (null: all), `since`,
              `next_trial` (null: no request is held back), and a `thought` for people
    keys      of each its `name`, `project` (null: not known), `state` (ready, benched or retired), the
              `bench` of the whole key, and for each of its `models` what `Allowance.snapshot` says

A bench is a `reason`, `until` when, and how many `strikes` in a row. Times are seconds since the epoch.
"""

from typing import Any

from proxycore.bench import Bench
from proxycore.key import Key
from proxycore.line import Lines
from proxycore.rotator import Rotator


def snapshot(rotator: Rotator, lines: Lines, now: float) -> dict[str, Any]:
    """All of it."""
    return {
        "time": now,
        "waiting": lines.waiting,
        "outages": [outage.snapshot() for outage in rotator.outages],
        "keys": [_key(key, now) for key in rotator.keys],
    }


def _key(key: Key, now: float) -> dict[str, Any]:
    return {
        "name": key.name,
        "project": key.project.name or None,
        "state": "retired" if key.retired else "benched" if key.rests_until > now else "ready",
        "bench": _bench(key.retired or key.whole),
        "models": {model: known.snapshot(now) for model, known in key.project.allowances.items()},
    }


def _bench(bench: Bench | None) -> dict[str, Any] | None:
    return bench.snapshot() if bench else None
