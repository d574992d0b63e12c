"""The status at a moment, as a JSON object whose members the README lists. Pure.

Times are seconds since the epoch by the wall clock, durations are seconds. A bench has a `reason`, a time
`until` which it lasts, and its `strikes` in a row. Suspected benches are left out: they last a second, and
may be wrong.
"""

from collections.abc import Callable
from itertools import islice
from statistics import median
from typing import Any

from proxycore import __version__
from proxycore.admin.model_summary import model_summaries
from proxycore.admin.problems import Present, problems
from proxycore.clock import Clock
from proxycore.gemini.verdict import DAY
from proxycore.rotation.bench import NO_MODEL, NO_ORIGIN, Bench
from proxycore.rotation.judgement import Judgement
from proxycore.rotation.key import Key
from proxycore.rotation.key_state import state_of
from proxycore.rotation.limiter import Limiter
from proxycore.rotation.outage import Outage
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.search import Search
from proxycore.rotation.ways import shown
from proxycore.stats.counters import Counters
from proxycore.stats.figures import Figures
from proxycore.stats.forecast import DayForecast, forecasts
from proxycore.stats.history import last_hour_json
from proxycore.stats.limits.client_limiter import ClientLimiter
from proxycore.stats.meter import MOST_JUDGEMENTS, MOST_STREAMS
from proxycore.stats.model_keys import model_keys
from proxycore.storage.status import StateFileStatus

Json = dict[str, Any]

_MOST_MODELS = 10_000  # of all keys together: each takes 6 µs, and clients can invent names


def snapshot(
    rotator: Rotator,
    limiter: ClientLimiter,
    figures: Figures,
    state_file: StateFileStatus,
    *,
    clock: Clock,
    redact: Callable[[str], str],
) -> Json:
    """Return the whole status. `redact` replaces secrets in names that clients and the upstream chose."""
    counters, processes, now = figures.counters, figures.processes, clock()
    today = {lane: _forecast(day, clock) for lane, day in forecasts(rotator, clock).items()}
    models = model_keys(rotator, figures.asked(now, DAY), now)
    present = Present(
        rotator=rotator, figures=figures, models=models, today=today, state_file=state_file, clock=clock
    )
    return {
        "time": clock.to_wall(now),
        "started": clock.to_wall(min((one["started"] for one in processes), default=now)),
        "workers": len(processes),
        "waiting": sum(one["waiting"] for one in processes),
        **_longest_wait(processes, now, redact),
        "running": sum(one["running"] for one in processes),
        "outages": [_cleaned(outage.snapshot(clock), redact) for outage in _outages(rotator)],
        "judgements": _judgements(processes, clock, redact),
        "totals": _totals(counters),
        "first_byte": _median([seconds for one in processes for seconds in one["first_bytes"]]),
        "keys": _keys(rotator, figures, clock, redact),
        "problems": problems(present, redact),
        "models": model_summaries(figures, models, today, clock=clock, redact=redact),
        "today": {redact(lane): day for lane, day in today.items()},
        "clients": _clients(limiter, figures, clock),
        "open": {kind: sum(one["open"][kind] for one in processes) for kind in ("streams", "live")},
        "streams": _streams(processes, clock, redact),
        "history": last_hour_json(counters, clock),
        "storage": _storage(state_file, redact),
        "keep_days": state_file.keep_days,
        "version": __version__,
    }


def _outages(rotator: Rotator) -> list[Outage | Search]:
    return [*rotator.outages, *(search for search in rotator.searches.values() if search.outage)]


def _health(key: Key, clock: Clock, redact: Callable[[str], str], most: int) -> Json:
    """The health of a key, with up to `most` of the models that were used last."""
    return {
        "name": key.name,
        "project": redact(key.project.name) or None,
        "account": redact(key.account) or None,
        "proxy": shown(key.proxy) if key.proxy else None,
        "state": key.state(clock()),
        "note": redact(key.note) or None,
        "in_keys_file": key.in_file,
        "bench": _bench(key.retired or key.whole, clock, redact),
        "models": {
            redact(lane) or NO_MODEL: _lane(known, redact) for lane, known in _lanes(key, clock, most).items()
        },
        "origins": {
            redact(origin) or NO_ORIGIN: _bench(bench, clock, redact)
            for origin, bench in _certain(key.origins, most)
        },
    }


def _lanes(key: Key, clock: Clock, most: int) -> dict[str, Json]:
    """The state of a key for each lane. Of a project's bench and the key's own, the longer one is shown."""
    limiters = key.project.limiters
    known = ((lane, one.snapshot(clock)) for lane, one in reversed(limiters.items()) if one.counted)
    shown = list(islice(((lane, one) for lane, one in known if any(one.values())), most))
    lanes = dict(reversed(shown))
    for lane, bench in _certain(key.callers, most):
        mine, theirs = bench.snapshot(clock), lanes.setdefault(lane, Limiter().snapshot(clock))["bench"]
        if theirs is None or theirs["until"] < mine["until"]:
            lanes[lane]["bench"] = mine
    return lanes


def _lane(known: Json, redact: Callable[[str], str]) -> Json:
    """What is known of a lane without secrets: only the names of quotas and reasons are the upstream's."""
    bench = known["bench"] and _cleaned(known["bench"], redact)
    return known | {"bench": bench, "quotas": {redact(name): one for name, one in known["quotas"].items()}}


def _certain(benches: dict[str, Bench], most: int) -> list[tuple[str, Bench]]:
    return [(about, bench) for about, bench in benches.items() if not bench.suspected][-most:]


def _totals(counters: Counters) -> dict[str, int]:
    outcomes = counters.sums("requests", 0)
    tokens = counters.sums("tokens", 0)

    def total(name: str) -> int:
        return int(sum(counters.of(name).values()))

    return {
        "requests": total("requests"),
        "served": int(outcomes.get(("served",), 0)),
        "client_errors": int(outcomes.get(("client_error",), 0)),
        "refused": int(outcomes.get(("refused",), 0)),
        "failed": int(outcomes.get(("failed",), 0)),
        "left": int(outcomes.get(("left",), 0)),
        "cut": int(outcomes.get(("cut",), 0)),
        "attempts": total("attempts"),
        "failovers": total("failovers"),
        "received_bytes": total("received"),
        "sent_bytes": total("sent"),
        "input_tokens": int(tokens.get(("input",), 0)),
        "output_tokens": int(tokens.get(("output",), 0)),
        "cached_tokens": total("cached_tokens"),
        "unread_answers": total("unread"),
    }


def _keys(rotator: Rotator, figures: Figures, clock: Clock, redact: Callable[[str], str]) -> list[Json]:
    counts: dict[str, dict[str, int]] = {}
    for (name, answer), n in figures.counters.of("attempts").items():
        counts.setdefault(name, {})[answer] = int(n)
    failovers = figures.counters.of("failovers")
    tokens = {name: figures.counters.sums(name, 0) for name in ("prompt_tokens", "cached_tokens")}
    uses: dict[str, list[Any]] = {}
    for one in figures.processes:
        for name, (last, seconds) in one["keys"].items():
            known = uses.setdefault(name, [0.0, []])
            uses[name] = [max(known[0], last), known[1] + seconds]
    most = max(1, _MOST_MODELS // max(1, len(rotator.configured)))
    now, proven = clock(), figures.proven
    asked = figures.asked(now)
    return [
        _health(key, clock, redact, most)
        | {"health": state_of(key, now, asked, proven=key.name in proven)}
        | _answers(counts.get(key.name, {}))
        | {"failovers": int(failovers.get((key.name,), 0))}
        | {name: int(counted.get((key.name,), 0)) for name, counted in tokens.items()}
        | _use(clock, *uses.get(key.name, (0.0, [])))
        for key in rotator.configured
    ]


def _forecast(day: DayForecast, clock: Clock) -> Json:
    spent_at = day.spent_at(clock())
    return {
        "requests": day.requests,
        "used": day.used,
        "left": day.left,
        "spent": day.spent,
        "unknown": day.unknown,
        # By the minute, since it changes a little with every second.
        "spent_at": None if spent_at is None else round(clock.to_wall(spent_at) / 60) * 60,
        "until": clock.to_wall(day.ends),
    }


def _answers(counts: dict[str, int]) -> dict[str, int]:
    return {
        "requests": sum(counts.values()),
        "successes": counts.get("1xx", 0) + counts.get("2xx", 0) + counts.get("3xx", 0),
        "status_429": counts.get("429", 0),
        "status_403": counts.get("403", 0),
        "status_5xx": counts.get("5xx", 0),
    }


def _use(clock: Clock, last: float, seconds: list[float]) -> Json:
    return {"last_used": clock.to_wall(last) if last else None, "first_byte": _median(seconds)}


def _clients(limiter: ClientLimiter, figures: Figures, clock: Clock) -> list[Json]:
    requests, tokens = figures.counters.of("client.requests"), figures.counters.of("client.tokens")
    seen: dict[str, list[Any]] = {}
    for one in figures.processes:
        for name, (last, under_way) in one["clients"].items():
            known = seen.setdefault(name, [0.0, 0])
            seen[name] = [max(known[0], last), known[1] + under_way]
    return [
        {
            "name": name,
            "requests": int(requests.get((name,), 0)),
            "open": seen.get(name, (0, 0))[1],
            "last_seen": clock.to_wall(seen[name][0]) if name in seen else None,
            "input_tokens": int(tokens.get((name, "input"), 0)),
            "output_tokens": int(tokens.get((name, "output"), 0)),
            "limits": limiter.snapshot(name),
        }
        for name in sorted({*seen, *(labels[0] for labels in requests), *limiter.rules.named})
    ]


def _storage(file: StateFileStatus, redact: Callable[[str], str]) -> Json:
    return {"state": str(file.use), "trouble": file.trouble and redact(file.trouble), "bytes": file.size}


def _judgements(processes: list[Json], clock: Clock, redact: Callable[[str], str]) -> list[Json]:
    """The latest judgements of all processes, the newest last."""
    judgements = [Judgement(**members) for one in processes for members in one["judgements"]]
    latest = sorted(judgements, key=lambda judgement: judgement.at)[-MOST_JUDGEMENTS:]
    return [_cleaned(judgement.snapshot(clock), redact) for judgement in latest]


def _streams(processes: list[Json], clock: Clock, redact: Callable[[str], str]) -> list[Json]:
    streams = [stream for one in processes for stream in one["streams"]]
    oldest = sorted(streams, key=lambda stream: float(stream["since"]))[:MOST_STREAMS]
    return [_cleaned(stream | _stream_times(stream, clock), redact) for stream in oldest]


def _stream_times(stream: Json, clock: Clock) -> Json:
    last = stream["last_byte"]
    # By the second, since what it is reckoned from varies by milliseconds.
    return {
        "since": clock.to_wall(stream["since"]),
        "last_byte": None if last is None else round(clock.to_wall(last)),
    }


def _longest_wait(processes: list[Json], now: float, redact: Callable[[str], str]) -> Json:
    waits = [one["longest_wait"] for one in processes if one["longest_wait"]]
    since, model = min(waits, default=(now, None))
    seconds = round(max(0.0, now - since), 1)
    return {"waiting_longest": seconds, "waiting_for": None if model is None else redact(model) or NO_MODEL}


def _cleaned(value: Any, redact: Callable[[str], str]) -> Any:  # noqa: ANN401 - anything that JSON has
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(name): _cleaned(item, redact) for name, item in value.items()}
    return value


def _bench(bench: Bench | None, clock: Clock, redact: Callable[[str], str]) -> Json | None:
    return _cleaned(bench.snapshot(clock), redact) if bench else None


def _median(seconds: list[float]) -> float | None:
    return round(median(seconds), 3) if seconds else None
