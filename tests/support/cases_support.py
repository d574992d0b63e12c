"""The set-up of the cases: a pool of mock keys behind the proxy, and readers of its status.

A case runs on a turned loop in this process. With CASES_OUTSIDE set, the same case runs against
`python server.py` in real time, as `python -m tests.bench.cases` does.
"""

import asyncio
import contextlib
import json
import os
import re
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from proxycore.clock import Clock
from tests.support.process import program
from tests.support.proxy import proxy
from tests.support.scripted import Answer, Script, Scripted
from tests.support.wall import Wall
from tests.support.wire import HOME, Client, Got, connect

OUTSIDE = bool(os.environ.get("CASES_OUTSIDE"))
FLASH, PRO, LITE = "gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.5-flash-lite"

CASES = [pytest.mark.usefixtures("io_loop"), pytest.mark.no_cover]
"""The marks of a module of cases. Coverage is not measured: it would take three times as long, for lines that
the rooms' own tests run. What is sent over loopback is there at once, or within the grace."""
CASES += (
    [pytest.mark.timeout(seconds=600)]
    if OUTSIDE
    else [pytest.mark.turned(grace=0.002, tick=5e-5), pytest.mark.timeout(seconds=1e7)]
)
takes_minutes = pytest.mark.skipif(OUTSIDE, reason="it takes many minutes in real time")


def target(model: str = FLASH, method: str = "generateContent") -> str:
    return f"/v1beta/models/{model}:{method}"


STREAMED = f"{target(method='streamGenerateContent')}?alt=sse"
CHAT, IMAGES = "/v1beta/openai/chat/completions", "/v1beta/openai/images/generations"
INTERACTIONS = "/v1beta/interactions"


def prompt(text: str = "hi", **more: object) -> dict[str, object]:
    return {"contents": [{"parts": [{"text": text}]}], **more}


def interaction(model: str = FLASH) -> dict[str, object]:
    return {"model": model, "input": "hi"}


def chat(model: str = FLASH) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}]}


@dataclass
class Answered(Got):
    """An answer, when it was asked for (by the loop's clock), and how long it took, in seconds."""

    at: float = 0.0
    seconds: float = 0.0

    @property
    def error(self) -> dict[str, Any]:
        told = json.loads(self.body)
        error: dict[str, Any] = (told[0] if isinstance(told, list) else told)["error"]
        return error

    @property
    def retry_after(self) -> int:
        return int((self.all("retry-after") or ["1"])[0])

    @property
    def end(self) -> float:
        return self.at + self.seconds


@dataclass
class Pool:
    """The proxy with its keys, and the upstream behind it."""

    upstream: Scripted
    port: int
    _idle: list[tuple[Client, contextlib.AsyncExitStack]] = field(default_factory=list)

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def ask(self, method: str, path: str, body: object = None, *fields: tuple[str, str]) -> Answered:
        """One request. A body that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if data is not None and not fields:
            fields = (("Content-Type", "application/json"),)
        at = self.now
        client, stack = self._idle.pop() if self._idle else await self._connected()
        client.send(method, path, *fields, body=data)
        try:
            got = await client.got(bodiless=method == "HEAD")
        except asyncio.IncompleteReadError:  # it was idle, and the proxy has closed it
            await stack.aclose()
            client, stack = await self._connected()
            client.send(method, path, *fields, body=data)
            got = await client.got(bodiless=method == "HEAD")
        if got.whole and "close" not in got.all("connection"):
            self._idle.append((client, stack))
        else:
            await stack.aclose()
        return Answered(**vars(got), at=at, seconds=self.now - at)

    async def _connected(self) -> tuple[Client, contextlib.AsyncExitStack]:
        stack = contextlib.AsyncExitStack()
        return await stack.enter_async_context(connect(self.port)), stack

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop()[1].aclose()

    async def plain(self, model: str = FLASH, text: str = "hi", *fields: tuple[str, str]) -> Answered:
        return await self.ask("POST", target(model), prompt(text), *fields)

    async def in_turn(self, count: int, request: "Request | None" = None) -> list[Answered]:
        return [await (request or self.plain)() for _ in range(count)]

    async def at_once(self, count: int, request: "Request | None" = None) -> list[Answered]:
        return await asyncio.gather(*((request or self.plain)() for _ in range(count)))

    async def status(self) -> dict[str, Any]:
        """What /status.json shows."""
        got = await self.ask("GET", "/status.json", None, HOME)
        assert got.status == 200, got.body
        shown: dict[str, Any] = json.loads(got.body)
        return shown

    async def outages(self) -> list[Any]:
        return list((await self.status())["outages"])

    async def rests(self) -> dict[str, dict[str, float]]:
        """The benches of each key that has any, with the remaining seconds.

        The key as a whole is `*`; if it is retired, its time is that of its bench, or endless.
        """
        shown = await self.status()
        now = shown["time"]
        benched: dict[str, dict[str, float]] = {}
        for key in shown["keys"]:
            benches = {model: known["bench"] for model, known in key["models"].items()}
            left = {what: bench["until"] - now for what, bench in benches.items() if bench}
            if key["state"] != "ready":
                left["*"] = ((key["bench"] or {}).get("until") or float("inf")) - now
            left = {what: seconds for what, seconds in left.items() if seconds > 0}
            if left:
                benched[key["name"]] = left
        return benched

    async def act(self, **action: object) -> Answered:
        return await self.ask(
            "POST",
            "/status.json",
            action,
            HOME,
            ("Content-Type", "application/json"),
            ("Origin", "http://localhost"),
        )


Request = Callable[[], Awaitable[Answered]]


@contextlib.asynccontextmanager
async def pool(
    keys: int | Iterable[str],
    script: Script = lambda _: None,
    wall: float | None = None,
    *,
    process: bool = OUTSIDE,
    **settings: str,
) -> AsyncIterator[Pool]:
    """The proxy with keys 1 to n, or with those of the given suffixes (`1__project__account`).

    `wall` is what the wall clock shows at the start, in seconds since the epoch; `process` whether it is
    the program itself, in real time.
    """
    suffixes = [str(n + 1) for n in range(keys)] if isinstance(keys, int) else list(keys)
    secrets = {f"GOOGLE_API_KEY_{suffix}": f"AQ.secret-of-{suffix}" for suffix in suffixes}
    names = {f"AQ.secret-of-{suffix}": suffix.split("__")[0] for suffix in suffixes}
    async with Scripted(names, script) as upstream:
        run = _outside if process else _inside
        async with run(upstream, secrets, wall, settings) as here:
            try:
                yield here
            finally:
                await here.close()
    assert not upstream.strangers, "a credential that is no key's has reached the upstream"


@contextlib.asynccontextmanager
async def _inside(
    upstream: Scripted, secrets: Mapping[str, str], wall: float | None, settings: Mapping[str, str]
) -> AsyncIterator[Pool]:
    now = asyncio.get_running_loop().time
    ahead = 0.0 if wall is None else wall - now()
    url = settings.get("UPSTREAM_URL", upstream.url)
    others = {name: value for name, value in settings.items() if name != "UPSTREAM_URL"}
    async with proxy(url, secrets, Clock(now, lambda: now() + ahead), **others) as here:
        here.app.rotator._random.seed(7)  # the same choices every time
        looks = asyncio.ensure_future(here.app.probe.run())
        try:
            yield Pool(upstream, here.port)
        finally:
            looks.cancel()


@contextlib.asynccontextmanager
async def _outside(
    upstream: Scripted, secrets: Mapping[str, str], wall: float | None, settings: Mapping[str, str]
) -> AsyncIterator[Pool]:
    with tempfile.TemporaryDirectory(prefix="case-") as folder:
        clock = Wall(Path(folder))
        if wall is not None:
            clock.set(wall - time.time())
        environment = clock.environment | {"UPSTREAM_URL": upstream.url, **secrets, **settings}
        with program(folder=Path(folder), environment=environment) as process:
            yield Pool(upstream, await asyncio.to_thread(lambda: process.port))


def named(value: object) -> str:
    """What a parameter is called in a test's id."""
    if not isinstance(value, Answer):
        return getattr(value, "__name__", None) or str(value)
    words = re.findall(r"[A-Za-z]+", value.body.decode(errors="replace").partition('"message"')[2])
    return " ".join([str(value.status), *words[:4]])
