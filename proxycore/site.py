"""What all requests share: who may call and how much, and which are under way."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxycore.auth import Admin, ClientKeys
from proxycore.cors import Cors
from proxycore.credential_limiter import CredentialLimiter
from proxycore.redaction import Redactor

if TYPE_CHECKING:
    from proxycore.handler import ProxyHandler


@dataclass(slots=True)
class Presence:
    """The handlers that have a request under way, and whether the program is about to end."""

    running: "set[ProxyHandler]" = field(default_factory=set)
    draining: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The rules of one set of settings; a request keeps those that it came under.

    `redactor` knows the upstream keys, and `limiter` who presented wrong credentials. `public_url` is the
    address that clients know, None if it is the one that a request names.
    """

    clients: ClientKeys
    admin: Admin
    cors: Cors
    limiter: CredentialLimiter
    redactor: Redactor
    max_body_bytes: int
    public_url: str | None
    presence: Presence

    @property
    def running(self) -> "set[ProxyHandler]":
        """The handlers that have a request under way, those under former settings included."""
        return self.presence.running

    @property
    def draining(self) -> bool:
        """Whether the program is about to end."""
        return self.presence.draining
