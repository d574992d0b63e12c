"""The problems of the pool at a moment, worst first: what is wrong, since when, and what to do. Pure.

They are made from the present state, not from what happened: so they hold after a restart as well, and as
long as nothing changes they are the same. What is alike is one problem, however many keys have it.

A kind's rule, in `_RULES`, finds its problems. Keys that rest because of a quota or by hand are no problem.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from math import inf
from typing import Any

from proxycore.admin.actions import MANUAL
from proxycore.clock import Clock
from proxycore.gemini.advice import advice_on_reason
from proxycore.gemini.verdict import NO_CREDIT
from proxycore.rotation.bench import NO_MODEL, Bench
from proxycore.rotation.key import Key
from proxycore.rotation.outage import Outage
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.search import Search
from proxycore.stats.alert import AlertKind, Severity, advice_on, exhausted, state_file_unusable
from proxycore.stats.alert_rules import EXHAUSTED_AFTER
from proxycore.stats.figures import Figures
from proxycore.stats.model_keys import ModelKeys
from proxycore.storage.status import StateFileStatus

Json = dict[str, Any]

_MOST, _MOST_KEYS, _MOST_NAMED = 50, 50, 3


class ProblemKind(StrEnum):
    """The kinds of problems, worst first; those that are alerted of have the alert's value."""

    OUTAGE = AlertKind.OUTAGE.value
    MODEL_EXHAUSTED = AlertKind.MODEL_EXHAUSTED.value
    NO_CREDIT = AlertKind.NO_CREDIT.value
    KEY_DEAD = AlertKind.KEY_DEAD.value
    KEY_BENCHED = "key benched"
    STATE_FILE = AlertKind.STATE_FILE.value
    SPENT_SOON = "spent soon"


_SPENT_SOON_ADVICE = (
    "Add keys of other Google projects (keys of one project share its quotas), or set limits for the clients"
    " that use most of it (CLIENT_<name>). The quota is renewed at midnight Pacific time."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """The present state that problems are found in.

    `models` are the keys for each model, `today` is what is left of the day for each, as JSON.
    """

    rotator: Rotator
    figures: Figures
    models: Mapping[str, ModelKeys]
    today: Mapping[str, Json]
    state_file: StateFileStatus
    clock: Clock


@dataclass(slots=True, kw_only=True)
class Problem:
    """Something that is wrong. `subject` tells it from others of its kind.

    It began at the time `since`, and may end, or is expected, at `until`: by the wall clock, None if unknown.
    """

    kind: ProblemKind
    subject: str
    text: str
    advice: str
    reason: str | None = None
    since: float | None = None
    until: float | None = None
    keys: list[str] | None = None
    model: str | None = None
    account: str | None = None

    @property
    def rank(self) -> tuple[int, int, str]:
        """By which problems are sorted, the worst first."""
        return list(ProblemKind).index(self.kind), -len(self.keys or ()), self.subject

    def to_json(self, redact: Callable[[str], str]) -> Json:
        """Return it as JSON. What has happened is a failure, what is expected a warning."""
        is_expected = self.kind is ProblemKind.SPENT_SOON
        keys = self.keys or []
        return {
            "kind": str(self.kind),
            "severity": (Severity.WARNING if is_expected else Severity.FAILURE).value,
            "subject": redact(self.subject),
            "text": redact(self.text),
            "advice": self.advice,
            "reason": self.reason and redact(self.reason),
            "since": self.since,
            "until": self.until,
            "keys": keys[:_MOST_KEYS],
            "key_count": len(keys),
            "model": self.model and redact(self.model),
            "account": self.account,
        }


def problems(present: Present, redact: Callable[[str], str]) -> list[Json]:
    """Return all problems as JSON, the worst first, at most 50."""
    found = [problem for rule in _RULES for problem in rule(present)]
    return [problem.to_json(redact) for problem in sorted(found, key=lambda one: one.rank)[:_MOST]]


def _outages(present: Present) -> Iterator[Problem]:
    rotator = present.rotator
    searches = (search for search in rotator.searches.values() if search.outage)
    for outage in (*rotator.outages, *searches):
        model, through = _about(outage)
        yield Problem(
            kind=ProblemKind.OUTAGE,
            subject=f"{model or ''}{through}",
            text=_capitalised(outage.thought),
            advice=advice_on(AlertKind.OUTAGE),
            reason=outage.reason,
            since=present.clock.to_wall(outage.since),
            model=model,
        )


def _about(outage: Outage | Search) -> tuple[str | None, str]:
    """The model of an outage (None: all), and the phrase for its outbound proxy."""
    if isinstance(outage, Search):
        return NO_MODEL if outage.lane == "" else outage.lane, ""
    return NO_MODEL if outage.model == "" else outage.model, outage.through


def _exhausted_models(present: Present) -> Iterator[Problem]:
    rotator, clock, figures = present.rotator, present.clock, present.figures
    keys, searches = len(rotator.keys), rotator.searches
    for model in figures.asked(clock()) if keys else ():
        known = present.models[model]
        if known.ready:
            continue
        served_at = figures.served_at(model)
        if None in searches or model in searches or known.next_back < served_at + EXHAUSTED_AFTER:
            continue  # an outage is no lack of keys; and a quota in full use is what it is for
        yield Problem(
            kind=ProblemKind.MODEL_EXHAUSTED,
            subject=model,
            text=exhausted(model, keys) + ("; all are disabled" if known.next_back == inf else ""),
            advice=advice_on(AlertKind.MODEL_EXHAUSTED),
            since=None if served_at == -inf else clock.to_wall(served_at),
            until=None if known.next_back == inf else round(clock.to_wall(known.next_back), 1),
            model=model,
        )


def _dead_keys(present: Present) -> Iterator[Problem]:
    by_reason = defaultdict[str, list[tuple[Key, Bench]]](list)
    for key in present.rotator.keys:
        if key.retired:
            by_reason[key.retired.reason].append((key, key.retired))
    for reason, some in by_reason.items():
        verb = "is" if len(some) == 1 else "are"
        text = f"{_names(key for key, _ in some)} {verb} dead: {reason}"
        kind, advice = ProblemKind.KEY_DEAD, advice_on(AlertKind.KEY_DEAD)
        yield _of_keys(kind, reason, some, text=text, advice=advice, clock=present.clock)


def _benched_keys(present: Present) -> Iterator[Problem]:
    groups = defaultdict[tuple[str, str], list[tuple[Key, Bench]]](list)  # by reason and billing account
    now = present.clock()
    for key in present.rotator.keys:
        bench = key.whole
        if bench is None or key.retired or bench.suspected or bench.benched_until <= now:
            continue
        if bench.reason != MANUAL:
            groups[bench.reason, key.account if bench.reason == NO_CREDIT else ""].append((key, bench))
    for (reason, account), some in groups.items():
        names = _names(key for key, _ in some)
        if reason == NO_CREDIT:
            kind, advice = ProblemKind.NO_CREDIT, advice_on(AlertKind.NO_CREDIT)
            text = f"{f'Billing account {account}' if account else names}: {reason}"
            problem = _of_keys(kind, account, some, text=text, advice=advice, clock=present.clock)
            problem.account = account or None
            yield problem
        else:
            kind, advice = ProblemKind.KEY_BENCHED, _capitalised(advice_on_reason(reason))
            text = f"{names} {'is' if len(some) == 1 else 'are'} benched: {reason}"
            yield _of_keys(kind, reason, some, text=text, advice=advice, clock=present.clock)


def _state_file(present: Present) -> Iterator[Problem]:
    file = present.state_file
    if file.trouble:
        yield Problem(
            kind=ProblemKind.STATE_FILE,
            subject="",
            text=state_file_unusable(file.trouble, present.clock()).text,
            advice=advice_on(AlertKind.STATE_FILE),
            reason=file.trouble,
            since=file.since,
        )


def _spent_soon(present: Present) -> Iterator[Problem]:
    for model, day in present.today.items():
        if day["spent_at"] is None or not day["left"] or day["unknown"]:
            continue  # a model with none left is exhausted, if anybody asks for it
        yield Problem(
            kind=ProblemKind.SPENT_SOON,
            subject=model,
            text=f"{model or NO_MODEL}: the daily quota will be exhausted before it is renewed",
            advice=_SPENT_SOON_ADVICE,
            until=day["spent_at"],
            model=model or NO_MODEL,
        )


_RULES: tuple[Callable[[Present], Iterator[Problem]], ...] = (
    _outages,
    _exhausted_models,
    _dead_keys,
    _benched_keys,
    _state_file,
    _spent_soon,
)


def _of_keys(
    kind: ProblemKind, subject: str, some: list[tuple[Key, Bench]], *, text: str, advice: str, clock: Clock
) -> Problem:
    """A problem of keys that have a bench for the same reason."""
    return Problem(
        kind=kind,
        subject=subject,
        text=text,
        advice=advice,
        reason=some[0][1].reason,
        since=clock.to_wall(min(bench.since for _, bench in some)),
        until=clock.to_wall(min(bench.benched_until for _, bench in some)),
        keys=[key.name for key, _ in some],
    )


def _names(keys: Iterable[Key]) -> str:
    """Words for some keys, which name them if they are few."""
    some = list(keys)
    if len(some) == 1:
        (key,) = some
        return f"Key {key.name}" + (f" (project {key.project.name})" if key.project.name else "")
    if len(some) > _MOST_NAMED:
        return f"{len(some)} keys"
    *names, last = [key.name for key in islice(some, _MOST_NAMED)]
    return f"Keys {', '.join(names)} and {last}"


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
