"""What all handlers share: access rules, the size limit of bodies, and the requests in flight."""

from dataclasses import dataclass, field
from typing import Protocol

from proxycore.http.auth import Admin, ClientKeys
from proxycore.http.cors import Cors
from proxycore.http.credential_limiter import CredentialLimiter
from proxycore.http.redaction import Redactor


class Cuttable(Protocol):
    """A handler with a request in flight."""

    def cut(self) -> None:
        """End the request before its response is complete."""


@dataclass(slots=True)
class InFlight:
    """The handlers with a request in flight, and whether the program is draining before it ends."""

    running: set[Cuttable] = field(default_factory=set)
    draining: bool = False

    def drain(self) -> None:
        """Start draining: requests in flight continue, and every response closes its connection."""
        self.draining = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingContext:
    """The parts made from the settings. A request uses the same ones from beginning to end.

    `redactor` knows the upstream keys, and `limiter` counts wrong credentials. `public_url` is the base URL
    that clients use; None derives it from each request's Host.
    """

    clients: ClientKeys
    admin: Admin
    cors: Cors
    limiter: CredentialLimiter
    redactor: Redactor
    max_body_bytes: int
    public_url: str | None
    in_flight: InFlight

    @property
    def running(self) -> set[Cuttable]:
        """The handlers with a request in flight, including those that began under former settings."""
        return self.in_flight.running

    @property
    def draining(self) -> bool:
        """Whether the program is draining before it ends."""
        return self.in_flight.draining
