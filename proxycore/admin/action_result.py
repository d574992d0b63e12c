"""What an action of the operator comes to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxycore.rotation.key import Key


class ActionError(Exception):
    """An action is not possible; the message is the reason, and `status` the HTTP status of the response."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ActionResult:
    """The result of an action: a message for people, and the key that it was applied to, if it was one.

    `accepted` is whether a probe was accepted, None if that is not known. `found` are the keys that were
    found in a text, as JSON.
    """

    message: str
    key: Key | None = None
    accepted: bool | None = None
    found: Sequence[dict[str, Any]] = ()
