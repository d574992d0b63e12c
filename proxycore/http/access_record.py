"""The record of one request: what the log, the metrics and the status page show of it."""

from dataclasses import dataclass
from enum import StrEnum


class RequestOutcome(StrEnum):
    """How a request ended; the values are labels of metrics and words of the log."""

    SERVED = "served"
    CLIENT_ERROR = "client_error"
    REFUSED = "refused"
    FAILED = "failed"
    LEFT = "left"
    CUT = "cut"


@dataclass(eq=False, slots=True)
class AccessRecord:
    """One request. `since` is a moment of the clock, `first_byte` seconds from there, None before it.

    `kind` is `stream` or `live` once a response has begun. `refused` is whether no key was available for it,
    `unauthenticated` whether its credential was wrong or missing, and `reason` why it was not served. `code`
    is that of the error in a 2xx response, 0 if there is none. Tokens are 0 as long as they are not known.
    """

    request_id: str
    since: float = 0.0
    key: str = "-"
    client: str = "-"
    model: str = ""
    attempts: int = 0
    kind: str = ""
    refused: bool = False
    unauthenticated: bool = False
    reason: str = ""
    code: int = 0
    first_byte: float | None = None
    received_bytes: int = 0
    sent_bytes: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    counted_received: int = 0  # bytes that are in the metrics already
    counted_sent: int = 0

    def add_tokens(self, given: int, made: int) -> None:
        """Add tokens of a response: those given to the model, and those that it made."""
        self.input_tokens += given
        self.output_tokens += made

    def outcome(self, status: int) -> RequestOutcome:
        """The outcome of a request whose response was written with this status."""
        if self.refused:
            return RequestOutcome.REFUSED
        status = self.code or status
        if status < 400:
            return RequestOutcome.SERVED
        return RequestOutcome.CLIENT_ERROR if status < 500 else RequestOutcome.FAILED
