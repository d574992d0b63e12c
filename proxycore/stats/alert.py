"""What an operator is alerted of, and the texts of an alert. Pure.

Times are the clock's moments, in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum

from proxycore.clock import Clock
from proxycore.rotation.events import Event

_MOST_LINES = 8  # of a notice; services limit the length of a message
_LONGEST_LINE = 300  # characters


class AlertKind(StrEnum):
    """The kinds of alerts; the values are sent to peers."""

    KEY_DEAD = "key dead"
    NO_CREDIT = "no credit"
    MODEL_EXHAUSTED = "model exhausted"
    MODEL_READY = "model ready"
    OUTAGE = "outage"
    OUTAGE_OVER = "outage over"
    STATE_FILE = "state file"


BEGINNINGS = {AlertKind.MODEL_READY: AlertKind.MODEL_EXHAUSTED, AlertKind.OUTAGE_OVER: AlertKind.OUTAGE}
"""What each kind of alert is the end of."""


class Severity(Enum):
    """How urgent a notice is; the values are Apprise's words."""

    FAILURE = "failure"
    WARNING = "warning"
    SUCCESS = "success"


@dataclass(frozen=True, slots=True)
class Alert:
    """Something to alert the operator of, found at the moment `at`.

    `subject` says what it is about, among the alerts of its kind; `text` is the sentence for people.
    """

    kind: AlertKind
    subject: str
    text: str
    at: float


def state_file_unusable(reason: str, now: float) -> Alert:
    """Return the alert that the state file can't be used; `reason` says why, and what to do."""
    return Alert(AlertKind.STATE_FILE, "", f"STATE_FILE can't be used: {reason}", now)


def exhausted(model: str, keys: int) -> str:
    """Return the words for a model that none of so many keys can serve."""
    return f"{model}: none of {keys} keys is available"


@dataclass(frozen=True, slots=True)
class AlertFound(Event):
    """An alert was found."""

    alert: Alert


@dataclass(frozen=True, slots=True)
class AlertsTold(Event):
    """The process `teller` tells the operator, at the moment `at`, the alerts of a kind that all know of."""

    kind: AlertKind
    teller: str
    at: float


@dataclass(frozen=True, slots=True)
class Notice:
    """What is sent to the operator."""

    title: str
    body: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class _Wording:
    one: str
    many: str
    advice: str
    severity: Severity


_WORDINGS = {
    AlertKind.KEY_DEAD: _Wording(
        "a Gemini API key is dead",
        "{n} Gemini API keys are dead",
        "Replace it in .env or KEYS_FILE with a key of another project (https://aistudio.google.com/apikey),"
        " or remove it. The proxy uses it no more, and probes it from time to time.",
        Severity.FAILURE,
    ),
    AlertKind.NO_CREDIT: _Wording(
        "a billing account has no credit",
        "{n} billing accounts have no credit",
        "Add credit (https://ai.studio/projects), or raise the spending cap (https://ai.studio/spend). Keys"
        " are tried again from time to time; to use one at once, end its cooldown on the status page.",
        Severity.FAILURE,
    ),
    AlertKind.MODEL_EXHAUSTED: _Wording(
        "no key is available for a model",
        "no key is available for {n} models",
        "Clients get 429 responses. Add keys of other Google projects (keys of one project share its quotas),"
        " or wait; the status page shows when each key is back.",
        Severity.WARNING,
    ),
    AlertKind.MODEL_READY: _Wording(
        "keys are available again for a model",
        "keys are available again for {n} models",
        "Nothing to do.",
        Severity.SUCCESS,
    ),
    AlertKind.OUTAGE: _Wording(
        "the upstream has an outage",
        "the upstream has {n} outages",
        "No key is at fault. See https://aistudio.google.com/status, and check this server's network and"
        " UPSTREAM_PROXY. The end is found without you.",
        Severity.FAILURE,
    ),
    AlertKind.OUTAGE_OVER: _Wording(
        "an upstream outage is over", "{n} upstream outages are over", "Nothing to do.", Severity.SUCCESS
    ),
    AlertKind.STATE_FILE: _Wording(
        "the state file can't be used",
        "the state file can't be used",
        "The proxy works without it, but a restart loses cooldowns, quotas and usage until that is repaired.",
        Severity.WARNING,
    ),
}


def advice_on(kind: AlertKind) -> str:
    """Return what the operator can do about what an alert of this kind is about."""
    return _WORDINGS[kind].advice


def notice_of(alerts: Sequence[Alert], more: int, clock: Clock) -> Notice:
    """Return the notice about alerts of one kind, at least one, and `more` of which the texts are lost."""
    wording, count = _WORDINGS[alerts[0].kind], len(alerts) + more
    lines = [f"{_time(one.at, clock)} {one.text[:_LONGEST_LINE]}" for one in alerts[-_MOST_LINES:]]
    if (left_out := count - len(lines)) > 0:
        lines.insert(0, f"{left_out} earlier, see the log")
    title = wording.one if count == 1 else wording.many.format(n=count)
    body = "\n".join([*lines, "", f"What to do: {wording.advice}"])
    return Notice(f"Gemini key proxy: {title}", body, wording.severity)


def span(seconds: float) -> str:
    """Return a length of time for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _time(moment: float, clock: Clock) -> str:
    return datetime.fromtimestamp(clock.to_wall(moment), UTC).strftime("%H:%M:%S UTC")
