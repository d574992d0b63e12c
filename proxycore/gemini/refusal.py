"""An error in Google's shape, as it is judged: with what its message says, and when to retry. Pure."""

from dataclasses import dataclass

from proxycore.gemini.errors import GoogleError
from proxycore.gemini.sentences import Kind, Sentence


@dataclass(frozen=True, slots=True)
class Refusal:
    """A response with this HTTP status and error; `after` are the seconds of its Retry-After.

    `names_resource` is whether the request named a resource that belongs to one key's project.
    """

    status: int
    error: GoogleError
    said: Sentence | None
    after: float | None = None
    names_resource: bool = False

    @property
    def reason(self) -> str:
        """The alphabetically first of the error's reasons, empty where there is none."""
        return min(self.error.reasons, default="")

    @property
    def kind(self) -> Kind | None:
        """The subject of its sentence."""
        return self.said.kind if self.said else None

    @property
    def told(self) -> float | None:
        """Seconds after which to retry, from the error's details, else from its sentence."""
        typed, said = self.error.told, self.said.told if self.said else None
        is_rounded = typed is not None and said is not None and abs(said - typed) < 1
        return said if typed is None or is_rounded else typed

    @property
    def seconds(self) -> float | None:
        """Seconds after which to retry, from the error, else from Retry-After."""
        return self.after if self.told is None else self.told
