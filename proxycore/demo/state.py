"""The state that the mock's handlers share: keys, resources, calls, and the options for responses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, MutableSequence
from dataclasses import dataclass, field
from typing import Protocol

from tornado.httputil import HTTPHeaders

from proxycore.demo.asked import Asked
from proxycore.demo.content import Upload
from proxycore.demo.health import Health
from proxycore.demo.refusal import Refusal
from proxycore.demo.store import Owned, Store


@dataclass
class Call:
    """One request as it arrived, for tests to look at. Times are the mock's clock, in seconds."""

    method: str
    target: str  # path and query as they came
    headers: HTTPHeaders
    arrived: float
    body: bytearray = field(default_factory=bytearray)  # without what is uploaded
    key: str = ""  # the credential, if it was the only one and in its place; whose it is, if a token
    model: str = ""
    status: int = 0  # 0 until there is an answer
    ended: float | None = None  # None while it is open
    cut: bool = False  # the client disconnected before the end
    close_code: int | None = None  # of the client's close frame
    close_reason: str | None = None


class Session(Protocol):
    """A WebSocket that is open. ``gone`` is set once it is not."""

    gone: asyncio.Event

    def cut(self) -> None:
        """End the session without a close frame."""


@dataclass(eq=False)
class State:
    """The state that all handlers of one mock share. Every attribute may be changed while it runs.

    ``keys`` maps each secret to its health; any other key is invalid. ``clock`` returns seconds since the
    epoch. ``pace`` is the seconds between the pieces of a stream, ``think`` those before an answer begins. An
    answer has ``chunks`` pieces, of ``chunk_bytes`` bytes of text each, or of a few words with 0. After
    ``break_after`` pieces the connection is closed, unless that is None; 0 is before the head. All requests
    are in ``calls``, the latest last.

    ``upload_delay`` is the seconds before each piece of an upload is read; with ``echo_key`` the URL that an
    upload continues at has the key in it. ``download_bytes`` is the size of a file that Google made. A new
    interaction cannot be found for ``interaction_delay`` seconds of the clock. Live sends binary frames with
    ``live_binary``; with ``live_close`` it closes, with that code and reason, at the next message.

    While ``outage`` is a health, all keys that there are have that one. With ``redirects`` a download is
    answered with the address of its content, where the key is needed again.
    """

    keys: dict[str, Health]
    pace: float = 0.0
    clock: Callable[[], float] = time.time
    think: float = 0.0
    chunks: int = 8
    chunk_bytes: int = 0
    break_after: int | None = None
    upload_delay: float = 0.0
    echo_key: bool = False
    download_bytes: int = 100_000
    interaction_delay: float = 0.0
    live_binary: bool = True
    live_close: tuple[int, str] | None = None
    outage: Health | None = None
    redirects: bool = False
    calls: MutableSequence[Call] = field(default_factory=list)
    store: Store = field(default_factory=Store, init=False)
    uploads: dict[str, Upload] = field(default_factory=dict, init=False)
    sessions: set[Session] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self.keys = dict(self.keys)

    @property
    def open(self) -> int:
        """How many requests have not ended yet."""
        return sum(call.ended is None for call in self.calls)

    def refusal(self, asked: Asked) -> Refusal | None:
        """Return the error that a request gets, or None when it is served."""
        health = self.keys.get(asked.key)
        if health is None:
            return Health.invalid().refusal(asked)
        return (self.outage or health).refusal(asked)

    def give(self, key: str, name: str) -> None:
        """Let a key's project own a resource that cannot be made here, such as ``tunedModels/x``."""
        self.store.put(key, Owned({"name": name, "state": "ACTIVE"}, self.clock()))
