"""The numbers of a run: worked out from what was counted, set in a table, and held against the targets."""

import math
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.bench.load import PlainResult, StreamsResult
from tests.bench.machine import Sample

DIRECT = "direct"


@dataclass(frozen=True)
class Line:
    """One line of the table. `ratio`: ours divided by the others' says something."""

    metric: str
    label: str
    digits: int = 0
    ratio: bool = False


PLAIN = (
    Line("requests_per_second", "requests/s", ratio=True),
    Line("cpu_us_per_request", "CPU per request, µs", ratio=True),
    Line("plain_proxy_core_percent", "proxy's core busy, %"),
    Line("plain_load_core_percent", "load's core busy, %"),
    Line("plain_errors", "errors"),
)
STREAMS = (
    Line("cpu_us_per_event", "CPU per event, µs", 1, ratio=True),
    Line("delay_p50_ms", "delay p50, ms", 2),
    Line("delay_p99_ms", "delay p99, ms", 2),
    Line("added_p50_ms", "added to direct, p50, ms", 2),
    Line("added_p99_ms", "added to direct, p99, ms", 2),
    Line("delivered_percent", "events delivered in time, %", 1),
    Line("streams_proxy_core_percent", "proxy's core busy, %"),
    Line("streams_load_core_percent", "load's core busy, %"),
    Line("streams_broken", "streams not whole"),
)
MEMORY = (
    Line("kb_per_stream", "memory per stream, kB", 1, ratio=True),
    Line("held_percent", "streams held, %", 1),
    Line("idle_mb", "before the first stream, MB", 1),
)


_COUNTED = frozenset({"plain_errors", "streams_broken"})


@dataclass(frozen=True)
class Target:
    """What is promised: `holds(value)`, where the value is our `metric`, divided by `over`'s if named."""

    text: str
    metric: str
    over: str | None
    holds: Callable[[float], bool]


TARGETS = (
    Target("requests/s at least 3 x flask's", "requests_per_second", "flask", lambda x: x >= 3),
    Target("CPU per event at most 3.5 x nginx's", "cpu_us_per_event", "nginx", lambda x: x <= 3.5),
    Target("at most 60 kB per open stream", "kb_per_stream", None, lambda x: x <= 60),
)


@dataclass
class Report:
    """What was found out about each contender, by name and metric, and what a reader must know beside it.

    `rounds` has a value for every time that something was measured. `broken` are those that failed a request,
    lost an event, or did not run to the end.
    """

    names: list[str]
    rounds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def plain(self, name: str, result: PlainResult) -> None:
        """Take in the plain requests."""
        used = self._used(name, "plain", result.before, result.after)
        self._add(name, "requests_per_second", result.answered / used.at)
        self._add(name, "plain_errors", result.errors.total())
        if result.answered and name != DIRECT:
            self._add(name, "cpu_us_per_request", used.cpu / result.answered * 1e6)
        if name != DIRECT and used.load_core / used.at > 0.95 > used.proxy_core / used.at:
            self._note(
                f"{name}: the load's core was full: its requests/s may be too low, see CPU per request"
            )
        self._errors(name, "plain requests", result.errors)

    def streams(self, name: str, result: StreamsResult, rate: float) -> None:
        """Take in the streams that should have brought `rate` events a second, all together."""
        used = self._used(name, "streams", result.before, result.after)
        # Timers that fall on the other side of the window's edge are no gain and no loss.
        delivered = min(result.events / (rate * used.at), 1)
        self._add(name, "delivered_percent", delivered * 100)
        self._add(name, "streams_broken", result.errors.total())
        if result.events:
            for percent in (50, 99):
                delay = _percentile(result.delays, percent) / 1e6
                self._add(name, f"delay_p{percent}_ms", delay)
                direct = self.rounds.get(DIRECT, {}).get(f"delay_p{percent}_ms")
                if direct and name != DIRECT:
                    # Of the same round, which began with it: the machine was in the same state.
                    self._add(name, f"added_p{percent}_ms", delay - direct[-1])
            if name != DIRECT:
                self._add(name, "cpu_us_per_event", used.cpu / result.events * 1e6)
        if delivered < 0.99:
            self.broken.add(name)
            self._note(
                f"{name}: only {delivered:.1%} of the events came in time, "
                f"{result.opened} of {result.asked} streams ever began"
            )
        self._errors(name, "streams", result.errors)

    def held(self, name: str, result: StreamsResult) -> None:
        """Take in the streams that were held open."""
        used = result.after - result.before
        self._add(name, "idle_mb", result.before.memory / 1e6)
        self._add(name, "held_percent", (result.asked - result.errors.total()) / result.asked * 100)
        if result.opened:
            self._add(name, "kb_per_stream", used.memory / result.opened / 1e3)
        self._errors(name, f"{result.asked} held streams", result.errors)

    def failed(self, name: str, phase: str, error: Exception) -> None:
        """Note that a contender did not get through a phase."""
        self.broken.add(name)
        self._note(f"{name}: {phase}: {error}")

    def value(self, name: str, metric: str) -> float | None:
        """The median of all rounds, which one disturbed round does not move; of failures, all of them."""
        values = self.rounds.get(name, {}).get(metric)
        if not values:
            return None
        return sum(values) if metric in _COUNTED else statistics.median(values)

    def _add(self, name: str, metric: str, value: float) -> None:
        self.rounds.setdefault(name, {}).setdefault(metric, []).append(value)

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _errors(self, name: str, what: str, errors: Counter[str]) -> None:
        if errors:
            self.broken.add(name)
            listed = ", ".join(f"{number} x {error}" for error, number in errors.most_common())
            self._note(f"{name}: {what}: {listed}")

    def _used(self, name: str, phase: str, before: Sample, after: Sample) -> Sample:
        """What was used between two samples; says so when somebody else had a share of it."""
        used = after - before
        self._add(name, f"{phase}_load_core_percent", used.load_core / used.at * 100)
        if name != DIRECT:
            self._add(name, f"{phase}_proxy_core_percent", used.proxy_core / used.at * 100)
        strangers = (used.proxy_core - used.cpu) / used.at
        if name != DIRECT and strangers > 0.05:
            self._note(f"{name}: {phase}: other programs used {strangers:.0%} of the proxy's core")
        if used.stolen / used.at > 0.05:
            self._note(f"{name}: {phase}: other machines took {used.stolen / used.at:.0%} of a core")
        return used

    def targets(self) -> list[dict[str, str | float | bool | None]]:
        """Each target with what was measured; `met` is None when something that it needs was not."""
        found: list[dict[str, str | float | bool | None]] = []
        for target in TARGETS:
            own = self.value("ours", target.metric)
            value = self._ratio(target.metric, target.over) if target.over else own
            met = None if value is None else target.holds(value)
            found.append({"target": target.text, "measured": value, "met": met})
        return found

    def _ratio(self, metric: str, other: str) -> float | None:
        ours, theirs = self.value("ours", metric), self.value(other, metric)
        return None if ours is None or not theirs else ours / theirs

    def as_dict(self) -> dict[str, object]:
        """The whole report as JSON takes it."""
        return {
            "results": {
                name: {metric: self.value(name, metric) for metric in metrics}
                for name, metrics in self.rounds.items()
            },
            "targets": self.targets(),
            "missing": self.missing,
            "broken": sorted(self.broken),
            "notes": self.notes,
        }

    def as_text(self, titles: tuple[str, str, str]) -> str:
        """The whole report as people read it: a table for each load, the targets, the notes."""
        others = [name for name in self.names if name not in {DIRECT, "ours"}]
        head = [*self.names, *(f"ours/{name}" for name in others)] if "ours" in self.names else self.names
        lines: list[str] = []
        for title, section in zip(titles, (PLAIN, STREAMS, MEMORY), strict=True):
            lines += [title, _row("", head)]
            for line in section:
                cells = [
                    self.missing.get(name) or _number(self.value(name, line.metric), line.digits)
                    for name in self.names
                ]
                ratios = [self._ratio(line.metric, name) if line.ratio else None for name in others]
                cells += ["" if ratio is None else f"{ratio:.2f}x" for ratio in ratios]
                lines.append(_row(line.label, cells))
            lines.append("")
        lines.append("Targets")
        for target in self.targets():
            value, met = target["measured"], target["met"]
            verdict = {True: "met", False: "MISSED", None: "not measured"}[
                met if isinstance(met, bool) else None
            ]
            lines.append(f"  {target['target']:<40}{_number(value, 2):>10}  {verdict}")
        if self.notes:
            lines += ["", "Notes", *(f"  {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"


def _row(label: str, cells: list[str]) -> str:
    return f"  {label:<30}" + "".join(f"{cell:>14}" for cell in cells).rstrip()


def _number(value: object, digits: int) -> str:
    return f"{value:,.{digits}f}" if isinstance(value, float | int) else "-"


def _percentile(ordered: list[int], percent: int) -> int:
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]
