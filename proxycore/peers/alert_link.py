"""Shares alerts with peers, so that each is told once, whichever process found it.

Times are the clock's moments, in seconds.
"""

from collections.abc import Callable, Sequence

from proxycore.clock import Clock
from proxycore.gemini.verdict import DAY
from proxycore.peers.update import Update, UpdateKind
from proxycore.rotation.events import Events, Origin
from proxycore.stats.alert import Alert, AlertFound, AlertKind, AlertsTold

_LASTS = 2 * DAY  # seconds; what was found must not outlive that it was told


def found_update(alert: Alert) -> Update:
    """Return the update that an alert was found, for a process that has no rules of its own."""
    about = f"{alert.kind} {alert.subject}"
    until = alert.at + _LASTS - 1.0
    return Update(
        UpdateKind.ALERT, "", about, [alert.kind, alert.subject, alert.text], alert.at, until, (alert.at,)
    )


class AlertLink:
    """Publishes the alerts among `events` with `publish`, and applies those of peers."""

    def __init__(self, events: Events, publish: Callable[[Update], None], clock: Clock) -> None:
        self._events = events
        self._publish = publish
        self._clock = clock
        events.subscribe(AlertFound, self._found)
        events.subscribe(AlertsTold, self._told)

    def _found(self, event: AlertFound) -> None:
        if event.origin is Origin.HERE:
            self._publish(found_update(event.alert))

    def _told(self, event: AlertsTold) -> None:
        if event.origin is Origin.HERE:
            until = event.at + _LASTS
            self._publish(Update(UpdateKind.TOLD, "", event.kind, event.teller, event.at, until, (event.at,)))

    def apply(self, updates: Sequence[Update]) -> None:
        """Apply what peers published. Malformed updates are skipped."""
        for update in updates:
            try:
                self._apply(update)
            except ValueError:
                continue  # another version of this program, perhaps

    def _apply(self, update: Update) -> None:
        match update.kind, update.value, update.moments:
            case UpdateKind.ALERT, [str(kind), str(subject), str(text)], (at,):
                alert = Alert(AlertKind(kind), subject, text, at)
                self._events.publish(AlertFound(Origin.PEER, alert))
            case UpdateKind.TOLD, str(teller), (at,):
                self._events.publish(AlertsTold(Origin.PEER, AlertKind(update.about), teller, at))
