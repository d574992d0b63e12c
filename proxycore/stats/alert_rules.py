"""The rules for alerts: events of the rotator and what clients ask for in, alerts out. Pure.

A dead key, an account without credit and an outage are found by one process, the one whose request showed it.
That no key is ready for a model is found by any process whose clients ask for it, and known to all.

Times are the clock's moments, in seconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from proxycore.clock import Clock
from proxycore.gemini.verdict import DAY, NO_CREDIT
from proxycore.rotation.bench import NO_MODEL, BenchPlace
from proxycore.rotation.events import (
    BenchBegan,
    BenchChanged,
    BenchEnded,
    Origin,
    OutageChanged,
    SearchChanged,
)
from proxycore.rotation.key import Key
from proxycore.rotation.key_state import SOON
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.ways import shown
from proxycore.stats.alert import (
    BEGINNINGS,
    Alert,
    AlertFound,
    AlertKind,
    AlertsTold,
    Notice,
    exhausted,
    span,
)
from proxycore.stats.alert_digest import AlertDigest
from proxycore.stats.meter import Demand

EXHAUSTED_AFTER = 10.0
"""Seconds without a ready key after which a model counts as exhausted."""

_ASKED_LATELY = 60.0  # seconds
_LASTING = {AlertKind.MODEL_EXHAUSTED, AlertKind.OUTAGE, AlertKind.NO_CREDIT}  # told once until it ends


class AlertRules:
    """Finds alerts among the events of `rotator`, and publishes them as events, while `enabled`.

    `demands` are the models that clients asked for last; `redact` removes secrets from texts.
    """

    def __init__(
        self,
        rotator: Rotator,
        demands: Mapping[str, Demand],
        clock: Clock,
        redact: Callable[[str], str],
        teller: str,
    ) -> None:
        self.enabled = False
        self._rotator = rotator
        self._demands = demands
        self._clock = clock
        self._redact = redact
        self._started = clock()
        self._digest = AlertDigest(clock, teller)
        self._dead: dict[Key, float] = {}  # when an alert of each was found, here or by a peer
        self._lasting: dict[tuple[AlertKind, str], float] = {}  # what has begun and not ended, and when
        self._not_ready: dict[str, float] = {}  # models, and since when no key was ready
        events = rotator.events
        events.subscribe(BenchChanged, self._bench_changed)
        events.subscribe(OutageChanged, self._outage_changed)
        events.subscribe(SearchChanged, self._search_changed)
        events.subscribe(AlertFound, self._found)
        events.subscribe(AlertsTold, self._told)

    def find(self, alert: Alert) -> None:
        """Alert the operator of something that was found outside the rotator, like an unusable state file."""
        if self.enabled:
            subject, text = self._redact(alert.subject), self._redact(alert.text)
            found = replace(alert, subject=subject, text=text)
            self._rotator.events.publish(AlertFound(Origin.HERE, found))

    def poll(self) -> list[Notice]:
        """Look at the models that clients ask for, and return the notices to send. Call it every second."""
        if not self.enabled:
            return []
        watched = self._watched()
        self._not_ready = {model: since for model, since in self._not_ready.items() if model in watched}
        for model in watched if self._rotator.keys else ():
            self._check(model)
        for kind, at in self._digest.claim().items():
            self._rotator.events.publish(AlertsTold(Origin.HERE, kind, self._digest.teller, at))
        return self._digest.take()

    # Events.

    def _bench_changed(self, event: BenchChanged) -> None:
        if event.place is BenchPlace.RETIRED:
            self._retirement_changed(event)
        elif isinstance(event, BenchBegan) and event.bench.reason == NO_CREDIT:
            self._begin(AlertKind.NO_CREDIT, _payer(event.key), f"{_payer(event.key)}: {NO_CREDIT}")
        elif isinstance(event, BenchEnded) and event.ended.reason == NO_CREDIT:
            self._lasting.pop((AlertKind.NO_CREDIT, _payer(event.key)), None)

    def _retirement_changed(self, event: BenchChanged) -> None:
        key, now = event.key, self._clock()
        if isinstance(event, BenchEnded):
            self._dead.pop(key, None)
            return
        is_news = key not in self._dead or self._dead[key] < max(key.served_at, now - DAY)
        if event.bench and is_news:
            self._dead = {one: at for one, at in self._dead.items() if at > now - DAY} | {key: now}
            if isinstance(event, BenchBegan):
                project = f" (project {key.project.name})" if key.project.name else ""
                self._find(AlertKind.KEY_DEAD, key.name, f"key {key.name}{project}: {event.bench.reason}")

    def _outage_changed(self, event: OutageChanged) -> None:
        if event.origin is Origin.HERE:
            through = f" through the outbound proxy {shown(event.proxy)}" if event.proxy else ""
            self._outage(event.lane, event.outage.thought if event.outage else "", through)

    def _search_changed(self, event: SearchChanged) -> None:
        if event.origin is Origin.HERE and (event.search is None or event.search.outage):
            self._outage(event.lane, event.search.thought if event.search else "")

    def _outage(self, lane: str | None, thought: str, through: str = "") -> None:
        if not self.enabled:
            return
        where = ("" if lane is None else f" for {lane or NO_MODEL}") + through
        if thought:
            self._begin(AlertKind.OUTAGE, where, thought)
        else:
            self._end(AlertKind.OUTAGE_OVER, where, f"upstream outage over{where}")

    def _found(self, event: AlertFound) -> None:
        alert, beginning = event.alert, BEGINNINGS.get(event.alert.kind)
        if beginning:
            self._lasting.pop((beginning, alert.subject), None)
        elif alert.kind in _LASTING:
            self._lasting[alert.kind, alert.subject] = alert.at
        if self.enabled:
            self._digest.add(alert, here=event.origin is Origin.HERE)

    def _told(self, event: AlertsTold) -> None:
        if event.origin is Origin.PEER:
            self._digest.tell(event.kind, event.teller, event.at)

    # Models.

    def _watched(self) -> set[str]:
        since = self._clock() - _ASKED_LATELY
        asked = {model for model, demand in self._demands.items() if demand.asked_at >= since}
        # A name with a secret in it is no model.
        return {model for model in asked if self._redact(model) == model} | {
            model for kind, model in self._lasting if kind is AlertKind.MODEL_EXHAUSTED
        }

    def _check(self, model: str) -> None:
        if self._rotator.searches.holding(model):
            return  # an outage is no lack of keys, and has an alert of its own
        now, demand = self._clock(), self._demands.get(model)
        turn = self._rotator.next_turn(model)
        since = self._not_ready.get(model)
        if turn and turn[1] <= now + SOON:
            self._not_ready.pop(model, None)
            self._become_ready(model, since)
        elif since is None or (demand and demand.served_at > since):
            self._not_ready[model] = now  # the quotas are in full use, which is what they are for
        elif now >= since + EXHAUSTED_AFTER:
            when = f"the next is back in {span(turn[1] - now)}" if turn else "all are disabled"
            text = exhausted(model, len(self._rotator.keys))
            self._begin(AlertKind.MODEL_EXHAUSTED, model, f"{text}; {when}")

    def _become_ready(self, model: str, since: float | None) -> None:
        begun = self._lasting.get((AlertKind.MODEL_EXHAUSTED, model))
        if begun is None:
            return
        # A replica with other keys may have found it, for which it still holds.
        if since is not None or begun < self._started:
            self._end(AlertKind.MODEL_READY, model, f"{model}: a key is available again")
        else:
            del self._lasting[AlertKind.MODEL_EXHAUSTED, model]

    # Alerts.

    def _begin(self, kind: AlertKind, subject: str, text: str) -> None:
        begun = self._lasting.get((kind, self._redact(subject)), float("-inf"))
        if begun < self._clock() - DAY:
            self._find(kind, subject, text)

    def _end(self, kind: AlertKind, subject: str, text: str) -> None:
        if (BEGINNINGS[kind], self._redact(subject)) in self._lasting:
            self._find(kind, subject, text)

    def _find(self, kind: AlertKind, subject: str, text: str) -> None:
        self.find(Alert(kind, subject, text, self._clock()))


def _payer(key: Key) -> str:
    """The billing account of a key, as far as it is known."""
    if key.account:
        return f"billing account {key.account}"
    return f"project {key.project.name}" if key.project.name else f"key {key.name}"
