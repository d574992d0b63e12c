"""What is known of one request from outside: for the log, the metrics and the status page."""

from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class Record:
    """One request. Times are seconds, None where there was none; `since` is a moment of the clock.

    `kind` is `stream` or `live` once an answer has begun, and `refused` says that no key was left for it.
    """

    request_id: str
    since: float = 0.0
    key: str = "-"
    client: str = "-"
    model: str = ""
    attempts: int = 0
    kind: str = ""
    refused: bool = False
    first_byte: float | None = None
    received_bytes: int = 0
    sent_bytes: int = 0
    counted_received: int = 0  # bytes that the metrics have already
    counted_sent: int = 0

    def outcome(self, status: int, ending: str) -> str:
        """How it ended, in one of six words; `ending` is `left`, `cut` or nothing of both."""
        if ending:
            return ending
        if self.refused:
            return "refused"
        if status < 400:
            return "served"
        return "client_error" if status < 500 else "failed"
