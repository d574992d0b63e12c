"""What all handlers share: the rules of access, the size limit, and which requests are under way."""

from dataclasses import dataclass, field
from typing import Protocol

from proxycore.http.auth import Admin, ClientKeys
from proxycore.http.cors import Cors
from proxycore.http.credential_limiter import CredentialLimiter
from proxycore.http.redaction import Redactor


class Cuttable(Protocol):
    """A handler with a request under way."""

    def cut(self) -> None:
        """End the request before its response is complete."""


@dataclass(slots=True)
class InFlight:
    """The handlers with a request under way, and whether the program drains before it ends."""

    running: set[Cuttable] = field(default_factory=set)
    draining: bool = False

    def drain(self) -> None:
        """Let requests that are under way go on, and announce that the program is about to end."""
        self.draining = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingContext:
    """The rules that follow from the settings; a request keeps those that it began under.

    `redactor` knows the upstream keys, and `limiter` counts wrong credentials. `public_url` is the base URL
    that clients use, None if it is the one that a request names.
    """

    clients: ClientKeys
    admin: Admin
    cors: Cors
    limiter: CredentialLimiter
    redactor: Redactor
    max_body_bytes: int
    public_url: str | None
    presence: InFlight

    @property
    def running(self) -> set[Cuttable]:
        """The handlers with a request under way, those under former settings included."""
        return self.presence.running

    @property
    def draining(self) -> bool:
        """Whether the program drains before it ends."""
        return self.presence.draining
