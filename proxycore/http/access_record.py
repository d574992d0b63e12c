"""The record of one request: what the log, the metrics and the status page show of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from proxycore.http.idle_timer import Activity


class RequestOutcome(StrEnum):
    """How a request ended; the values are metric labels and log messages."""

    SERVED = "served"
    CLIENT_ERROR = "client_error"
    REFUSED = "refused"
    FAILED = "failed"
    LEFT = "left"
    CUT = "cut"


NO_FAILURE = ("served", "abandoned")
"""The verdicts of attempts that did not fail."""


@dataclass(slots=True)
class AttemptRecord:
    """One call to the upstream, with the key of this name, sent at the moment `began` of the program's clock.

    Until it has ended it has no `seconds`, which are the time to the response's head, or to what came in its
    place. `status` is 0 if there was no response, `verdict` is what the request did next, `why` the reason.
    """

    key: str
    began: float
    status: int = 0
    verdict: str = "abandoned"
    why: str = ""
    seconds: float | None = None


@dataclass(eq=False, slots=True)
class AccessRecord:
    """One request. `since` is when it arrived, in seconds of the program's clock.

    `first_byte` is the time to first byte in seconds, None before it. `key` and `client` are names, `-` if
    there is none. `kind` is `stream` or `live` once a response has begun. `refused` is whether no key was
    available, `unauthenticated` whether the credential was wrong or missing, `ended` whether the operator has
    ended the request, and `reason` why the request was
    not served. `status` is that of the response, 499 without one since the client has left; `code` is that of
    the error in a 2xx response, 0 without one. Token counts are 0 until they are known. `cached_tokens` and
    `tool_tokens` are part of `input_tokens`, `thinking_tokens` of `output_tokens`. `unread` is whether there
    was a response whose tokens could not be read. `tried` has the calls to the upstream.

    Once a response has begun, `path` is that of the request, and `activity` tells when the upstream sent
    something last.

    `why` is the reason that the proxy gave in a response of its own, empty without one; no secret is in it.
    `waited` is how many seconds the request has waited for a key, without the wait that has gone on since
    `waits_since`, a moment of the clock; None if it does not wait now.
    """

    request_id: str
    since: float = 0.0
    key: str = "-"
    client: str = "-"
    model: str = ""
    attempts: int = 0
    tried: list[AttemptRecord] = field(default_factory=list)
    kind: str = ""
    path: str = ""
    activity: Activity | None = None
    refused: bool = False
    unauthenticated: bool = False
    ended: bool = False
    reason: str = ""
    status: int = 0
    code: int = 0
    first_byte: float | None = None
    received_bytes: int = 0
    sent_bytes: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    thinking_tokens: int = 0
    tool_tokens: int = 0
    unread: bool = False
    why: str = ""
    waited: float = 0.0
    waits_since: float | None = None
    counted_received: int = 0  # the part of `received_bytes` that is in the metrics already
    counted_sent: int = 0  # the part of `sent_bytes`

    def begin_wait(self, now: float) -> None:
        """Begin to wait for a key at this moment."""
        self.waits_since = now

    def end_wait(self, now: float) -> None:
        """End the wait, if the request waits."""
        if self.waits_since is not None:
            self.waited += max(0.0, now - self.waits_since)
            self.waits_since = None

    def outcome(self, status: int) -> RequestOutcome:
        """The outcome of a request whose response was written with this status."""
        if self.refused:
            return RequestOutcome.REFUSED
        if self.ended:
            return RequestOutcome.CUT
        status = self.code or status
        if status < 400:
            return RequestOutcome.SERVED
        return RequestOutcome.CLIENT_ERROR if status < 500 else RequestOutcome.FAILED


class Attempted(Protocol):
    """An attempt that has ended."""

    @property
    def key(self) -> str:
        """The name of its key."""

    @property
    def verdict(self) -> str:
        """What the request did next."""


def failed_over(outcome: str, key: str, attempts: Sequence[Attempted]) -> bool:
    """Whether a request was served with this key after an attempt with another one had failed."""
    if len(attempts) < 2 or outcome != RequestOutcome.SERVED:
        return False
    return any(one.key != key and one.verdict not in NO_FAILURE for one in attempts)
