"""A state file for tests, in a folder of their own."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from proxycore.clock import Clock
from proxycore.http.access_record import RequestOutcome
from proxycore.storage.rows import Fact, RequestRow
from proxycore.storage.storage import Storage
from tests.support.clocks import TurnedClock
from tests.support.proxy import Proxy
from tests.support.wire import HOME, ask

NOW = 1_800_000_000.0 // 86400 * 86400 + 43200
"""Noon of some day, in seconds since the epoch."""

DAY = 86400.0


@contextlib.asynccontextmanager
async def storage(
    path: Path,
    clock: Clock | None = None,
    *,
    keep: float = 30 * DAY,
    redact: Callable[[str], str] = str,
    facts: list[Fact] | None = None,
    retry: float = 0.0,
) -> AsyncIterator[Storage]:
    """A storage that writes when it is told to flush; `facts` gets those of each opening."""
    opened = facts if facts is not None else []
    made = Storage(path, keep, clock or TurnedClock(NOW), redact, interval=600.0, retry=retry)
    await made.start(opened.extend)
    try:
        yield made
    finally:
        await made.close()


def request(number: int, **fields: Any) -> RequestRow:  # noqa: ANN401 - any field
    """A request with this number in its id, at `NOW` unless `fields` say otherwise."""
    usual: dict[str, Any] = {
        "id": f"id-{number}",
        "time": NOW,
        "client": "alice",
        "address": "192.0.2.1",
        "method": "POST",
        "path": "/v1beta/models/gemini-2.5-flash:generateContent",
        "model": "gemini-2.5-flash",
        "key": "first",
        "status": 200,
        "outcome": RequestOutcome.SERVED,
    }
    return RequestRow(**(usual | fields))


def fact(
    topic: str = "model:abc:x", stamp: float = NOW, until: float = NOW + 600, line: bytes = b"[]"
) -> Fact:
    return Fact(topic, line, stamp, until)


def put_facts(kept: Storage, facts: Iterable[Fact]) -> None:
    for one in facts:
        kept.put_fact(one.topic, partial(replace, one))


async def read_page(here: Proxy, path: str, parameters: Mapping[str, object]) -> dict[str, Any]:
    """What one of the paths of the state file's records says, to a client on the proxy's own host."""
    got = await ask(here.port, "GET", f"{path}?{urlencode(parameters)}", HOME)
    assert got.status == 200, got.body
    assert got.one("content-type") == "application/json; charset=UTF-8"
    assert got.one("cache-control") == "no-store"
    content: dict[str, Any] = json.loads(got.body)
    return content
