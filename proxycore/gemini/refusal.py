"""The input of a judgement: an error in Google's shape, its parsed message, and when to retry. Pure."""

from dataclasses import dataclass

from proxycore.gemini.errors import GoogleError
from proxycore.gemini.sentences import Kind, Sentence


@dataclass(frozen=True, slots=True)
class Refusal:
    """A response with this HTTP status and error; `retry_after` is its Retry-After in seconds.

    `names_resource` is whether the request named a resource that belongs to one key's project.
    """

    status: int
    error: GoogleError
    sentence: Sentence | None
    retry_after: float | None = None
    names_resource: bool = False

    @property
    def reason(self) -> str:
        """The alphabetically first of the error's reasons, empty where there is none."""
        return min(self.error.reasons, default="")

    @property
    def kind(self) -> Kind | None:
        """The subject of its sentence; None if the message is not one of Google's sentences."""
        return self.sentence.kind if self.sentence else None

    @property
    def retry_delay(self) -> float | None:
        """Seconds after which to retry, from the error's details, else from its sentence."""
        typed, named = self.error.retry_delay, self.sentence.retry_delay if self.sentence else None
        is_rounded = typed is not None and named is not None and abs(named - typed) < 1
        return named if typed is None or is_rounded else typed

    @property
    def seconds(self) -> float | None:
        """Seconds after which to retry, from the error, else from Retry-After."""
        return self.retry_after if self.retry_delay is None else self.retry_delay
