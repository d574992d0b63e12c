"""Traces a run of a mixture on its own time line, with the findings of the oracle."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from proxycore.rotation.events import Event
from proxycore.rotation.key import Key
from tests.support.google_model import Poison, Request
from tests.support.mixture_oracle import Failure, Finding
from tests.support.mixture_run import Asked, Outcome, Run, Watcher
from tests.support.mixture_wire import lane, written

logger = logging.getLogger("proxycore")

_SHOWN = 24  # keys in a table
_TABLED = {Failure.LOST, Failure.UPSTREAM_FAILURE, Failure.QUOTA, Failure.FLIP}


@dataclass
class Line:
    """One line: of a request, or (-1) of the program."""

    at: float
    number: int
    words: str

    def __str__(self) -> str:
        who = f"r{self.number}" if self.number >= 0 else ""
        return f"{self.at:9.3f} {who:>5}  {self.words}"


@dataclass
class Trace(Watcher):
    """Collects the lines: requests, calls, answers, and whatever the program logs, benches and finds."""

    lines: list[Line] = field(default_factory=list)
    tables: dict[int, list[str]] = field(default_factory=dict)  # by a lost request's number: all keys then
    _held: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)
    _known: str = ""

    def begins(self, run: Run) -> None:
        self._run = run
        self._lanes = [lane(written(Poison.PLAIN, model)[3]) for model in run.mixture.models]
        run.app.rotator.events.subscribe(Event, lambda _: self._look())
        ills = [(ill, f"key {key.name}") for key in run.mixture.keys for ill in key.ills]
        for ill, whose in [*ills, *((ill, "everywhere") for ill in run.mixture.everywhere)]:
            self.lines.append(Line(ill.begin, -1, f"=== begins: {whose}: {ill}"))
            if ill.end < run.mixture.seconds:
                self.lines.append(Line(ill.end, -1, f"=== ends: {whose}: {ill}"))

    def arrives(self, outcome: Outcome) -> None:
        request = outcome.request
        what = "plain" if request.poison is Poison.PLAIN else f"{request.poison.name} (poisoned)"
        self._write(request.number, f"arrives: {request.client}, {what}, {request.model}")

    def asks(self, outcome: Outcome, asked: Asked) -> None:
        nth = f"call {len(outcome.calls)}"
        self._write(outcome.request.number, f"{nth}: asks key {asked.key}")
        self._look()

    def observe(self, outcome: Outcome, asked: Asked) -> None:
        answer = asked.answer
        why = f" {answer.why.name}" if answer.why else ""
        status = answer.response.status or "reset"
        self._write(outcome.request.number, f"key {asked.key} answers {status}{why} ({answer.seconds:.3f} s)")

    def ends(self, outcome: Outcome) -> None:
        self._look()
        request = outcome.request
        took = f"after {self._run.now() - request.at:.2f} s and {len(outcome.calls)} calls"
        if outcome.status == 499:
            self._write(request.number, f"the client leaves {took}")
            return
        if outcome.served:
            self._write(request.number, f"served {took}")
            return
        whose = "the proxy's own" if outcome.own else "the upstream's"
        told = f", come back in {outcome.told} s" if outcome.told else ""
        self._write(request.number, f"NOT SERVED: {whose} {outcome.status} {took}{told}")
        self.tables[request.number] = list(self._table(request))

    def log(self, record: logging.LogRecord) -> None:
        """A line of the program's log."""
        fields = dict(getattr(record, "fields", {}))
        number = str(fields.pop("id", "") or "").removeprefix("r")
        said = " ".join(f"{name}={value!r}" for name, value in fields.items() if value is not None)
        self._write(int(number) if number.isdigit() else -1, f"log: {record.getMessage()} {said}".rstrip())

    def said(self, findings: list[Finding]) -> list[Line]:
        """All lines in order, with the findings among them."""
        found = [
            Line(
                finding.at,
                finding.number,
                "\n".join([f"!!! {finding}", *self.tables.get(finding.number, [])]),
            )
            for finding in findings
        ]
        return sorted([*self.lines, *found], key=lambda line: line.at)

    def _write(self, number: int, words: str) -> None:
        self.lines.append(Line(self._run.now(), number, words))

    def _look(self) -> None:
        """Records changes of the keys, and of the outages that the program suspects."""
        now = self._run.now()
        for key in self._run.app.rotator.keys:
            for model in self._lanes:
                until, reason = _rest(key, model)
                former, _ = self._held.get((key.name, model), (0.0, ""))
                self._held[key.name, model] = until, reason
                if until > self._moment(now) and until != former:
                    self._write(-1, f"key {key.name} is benched for {model} until {self._at(until)} {reason}")
                elif until <= self._moment(now) < former:
                    self._write(-1, f"key {key.name} is ready for {model}")
        rotator = self._run.app.rotator
        known = repr([*rotator.outages, *rotator.searches.values()])
        if known != self._known:
            self._known = known
            self._write(-1, f"outages: {known}")

    def _table(self, request: Request) -> Iterator[str]:
        """The truth about all keys, and their state in the program."""
        run, now = self._run, self._run.now()
        name = lane(written(request.poison, request.model)[3])
        for key in run.app.rotator.keys[:_SHOWN]:
            until, reason = _rest(key, name)
            truth = run.google.truth(run.plans[key.name], request, now)
            held = f"rests until {self._at(until)} {reason}" if until > self._moment(now) else "ready"
            ills = ", ".join(map(str, run.plans[key.name].ills)) or "healthy"
            yield f"{'':15}  key {key.name:>8} would serve: {truth.name:<8} program: {held:<40} {ills}"

    def _moment(self, now: float) -> float:
        """A time of the mixture as the program's clock has it."""
        return self._run.pool.clock() + now - self._run.now()

    def _at(self, moment: float) -> str:
        return f"{moment - self._run.pool.clock() + self._run.now():.2f}"


def _rest(key: Key, model: str) -> tuple[float, str]:
    """Until when the key is benched for the model, by the program's clock, and why."""
    limiter = key.project.limiters.get(model)
    bench = key.retired or key.whole or (limiter.bench if limiter else None)
    return key.ready_at(model), f"({bench.reason}, strike {bench.strikes})" if bench else ""


@contextmanager
def logged_to(trace: Trace) -> Iterator[None]:
    """The program's log goes to the trace."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            trace.log(record)

    handler, level, passes_on = Handler(), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = passes_on
