"""Which alerts are due: at most one notice of a kind in ten minutes, which sums up what was held back. Pure.

Alerts and what was told of them are known to all processes, each of which has a digest. The process that
found the first of the alerts tells them; if it does not, another one does some seconds later. Two that begin
at once learn of each other within the time in which a claim is settled, and the later one prevails.

Times are the clock's moments, in seconds.
"""

from dataclasses import dataclass, replace

from proxycore.clock import Clock
from proxycore.stats.alert import BEGINNINGS, Alert, AlertKind, Notice, notice_of, span

INTERVAL = 600.0
"""Seconds between two notices of a kind."""

GATHERED = 1.0
"""Seconds for which alerts are gathered before the first is told: keys tend to die together."""

_FOUND_ELSEWHERE = 6.0  # seconds that another process has to tell what it found
_PUBLISHED = 0.5  # seconds after which an alert is known to all
_SETTLED = 1.0  # seconds after which a claim is
_MOST_HELD = 100  # alerts of a kind; the oldest are only counted


@dataclass(slots=True)
class _Held:
    """An alert that was not told yet. `here` is whether this process found it."""

    alert: Alert
    here: bool


class _Kind:
    """The alerts of one kind."""

    def __init__(self) -> None:
        self.held: dict[str, _Held] = {}  # by subject, in order of time
        self.lost = 0
        self.told_at = float("-inf")
        self.teller = ""
        self.claimed: tuple[list[Alert], int] | None = None  # what this process is about to tell

    @property
    def told_until(self) -> float:
        """When the last alert that was told was found, at the latest."""
        return self.told_at - _PUBLISHED

    def is_due(self, now: float) -> bool:
        """Return whether this process should tell what is held."""
        if not self.held or now < self.told_at + INTERVAL:
            return False
        first = next(iter(self.held.values()))
        return now >= first.alert.at + (GATHERED if first.here else _FOUND_ELSEWHERE)

    def hold(self, alert: Alert, *, here: bool) -> None:
        """Hold an alert until it is told."""
        if alert.at <= self.told_until:
            return  # a process that starts hears of what was told long ago
        self.held.setdefault(alert.subject, _Held(alert, here)).alert = alert
        if len(self.held) > _MOST_HELD:
            del self.held[next(iter(self.held))]
            self.lost += 1

    def drop_told(self) -> None:
        """Forget what was told."""
        self.lost = 0
        self.held = {name: one for name, one in self.held.items() if one.alert.at > self.told_until}


class AlertDigest:
    """The alerts that are held until they are due. `teller` is this process's id, unique among its peers."""

    def __init__(self, clock: Clock, teller: str) -> None:
        self.teller = teller
        self._clock = clock
        self._kinds = {kind: _Kind() for kind in AlertKind}

    def add(self, alert: Alert, *, here: bool) -> None:
        """Hold an alert until it is due. One that ends before its beginning was told is told with that."""
        if beginning := BEGINNINGS.get(alert.kind):
            kind = self._kinds[beginning]
            if held := kind.held.get(alert.subject):
                over = f"{held.alert.text} (over after {span(alert.at - held.alert.at)})"
                held.alert = replace(held.alert, text=over)
                return
        self._kinds[alert.kind].hold(alert, here=here)

    def claim(self) -> dict[AlertKind, float]:
        """Claim the kinds of which this process should tell what is held; returns them, and when it did."""
        now = self._clock()
        due = {name: kind for name, kind in self._kinds.items() if kind.is_due(now)}
        for name, kind in due.items():
            alerts = [one.alert for one in kind.held.values() if one.alert.at <= now - _PUBLISHED]
            kind.claimed = alerts, kind.lost
            self.tell(name, self.teller, now)
        return dict.fromkeys(due, now)

    def tell(self, kind: AlertKind, teller: str, at: float) -> None:
        """Record that a process tells, at this moment, the alerts of a kind that all know of."""
        known = self._kinds[kind]
        if (at, teller) > (known.told_at, known.teller):
            known.told_at, known.teller = at, teller
            known.drop_told()

    def take(self) -> list[Notice]:
        """Return the notices to send now: those of claims that no other process disputed."""
        notices = []
        for kind in self._kinds.values():
            if kind.claimed is None or self._clock() < kind.told_at + _SETTLED:
                continue
            (alerts, lost), kind.claimed = kind.claimed, None
            if kind.teller == self.teller:
                notices.append(notice_of(alerts, lost, self._clock))
        return notices
