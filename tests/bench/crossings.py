"""How often control passes between the rooms of the program while it serves one request.

    python -m tests.bench.crossings        two counts, and their goals
    python -m tests.bench.crossings -v     and each crossing, in order

A crossing is a call of a Python function whose room is not that of the nearest caller in the program; its
return is the same crossing. A coroutine that is resumed is called. Libraries, the mock, and modules that are
in no room are looked through. The exit status is 1 when a goal is missed.
"""

import argparse
import asyncio
import contextlib
import io
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import FrameType

from proxycore.demo import Health, MockServer
from proxycore.http.redaction import Redactor
from proxycore.runtime import logs
from proxycore.runtime import logs as log
from proxycore.runtime.app import ProxyApplication, make_app
from proxycore.runtime.settings import parse
from proxycore.transport.listener import Listener
from tests.support.waiting import until

PACKAGE = "proxycore"
KEYS = {"GOOGLE_API_KEY_1": "AQ.first-of-two", "GOOGLE_API_KEY_2": "AQ.second-of-two"}
CLIENT_KEY = "crossings-client-key"
GOALS = {"one key serves": 45, "429, then another key serves": 70}
MODEL, _OTHER_MODEL = "gemini-2.5-flash", "gemini-2.5-pro"
_WARM_UP = 20  # requests
_HEAD = (
    b"POST /v1beta/models/%s:generateContent HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
    b"Content-Type: application/json\r\nX-Goog-Api-Key: " + CLIENT_KEY.encode() + b"\r\n\r\n"
)
_BODY = b'{"contents": [{"role": "user", "parts": [{"text": "%s"}]}]}' % (b"Write a short story. " * 12)


def room_of(module: str) -> str | None:
    """The room of a module by its dotted name; None where it is to be looked through."""
    package, _, rest = module.partition(".")
    room, _, name = rest.partition(".")
    return room if package == PACKAGE and name and room != "demo" else None


@dataclass
class Crossings:
    """Counts while it is the running thread's profiler; `found` has one line a crossing."""

    found: list[str] = field(default_factory=list)
    _rooms: dict[str, str | None] = field(default_factory=dict)

    def profile(self, frame: FrameType, event: str, _: object) -> None:
        """Called by the interpreter for every call and return."""
        room = self._room(frame) if event == "call" else None
        if room is None:
            return
        caller: FrameType | None = frame.f_back
        while caller and self._room(caller) is None:
            caller = caller.f_back
        if caller and self._room(caller) != room:
            self.found.append(f"{_place(caller, self._room(caller))} -> {_place(frame, room)}")

    def _room(self, frame: FrameType) -> str | None:
        module = frame.f_globals.get("__name__", "")
        if module not in self._rooms:
            self._rooms[module] = room_of(module)
        return self._rooms[module]


def _place(frame: FrameType, room: str | None) -> str:
    module = frame.f_globals["__name__"].rpartition(".")[2]
    return f"{room}.{module}.{frame.f_code.co_qualname}"


@dataclass
class Rig:
    """The proxy in front of a mock with two keys, and one connection of a client."""

    app: ProxyApplication
    mock: MockServer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, model: str = MODEL) -> None:
        """One generateContent, from its first byte until nothing of it is left to do."""
        head = _HEAD % (model.encode(), len(_BODY))
        self.writer.write(head + _BODY)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"not served: {answer.decode()}")
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await self.reader.readexactly(int(length.partition(b":")[2]))
        await until(lambda: not (self.app.context.running or self.app.upstream.busy))

    async def crossings(self, health: Health | None) -> list[str]:
        """The crossings of one request, while all keys have this health, or each its own."""
        self.mock.outage = health
        calls, counter = len(self.mock.calls), Crossings()
        sys.setprofile(counter.profile)
        try:
            await self.ask()
        finally:
            sys.setprofile(None)
        statuses = [call.status for call in list(self.mock.calls)[calls:]]
        if statuses != ([429, 200] if health else [200]):
            raise SystemExit(f"the keys answered {statuses}")
        return counter.found


@contextlib.asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    """Everything in this process, on sockets of 127.0.0.1; the log as the program has it, but to nowhere."""
    mock = MockServer(dict.fromkeys(KEYS.values(), Health.healthy()))
    settings = parse({"UPSTREAM_URL": mock.listen(), "OUTPUT_API_KEY": CLIENT_KEY, **KEYS})
    with contextlib.redirect_stderr(io.StringIO()):
        logs.configure(settings.log_level, settings.log_format, Redactor(settings.secrets))
        app, listener = make_app(settings), Listener("127.0.0.1", 0)
        server = app.server()
        listener.accept_for(server)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        try:
            yield Rig(app, mock, reader, writer)
        finally:
            writer.close()
            listener.stop()
            await app.close()
            await server.close_all_connections()
            await mock.stop()
            log.flush()


async def measure() -> list[list[str]]:
    """The crossings of one request that the first key serves, and of one that the second does."""
    async with rig() as proxy:
        quota = proxy.mock.outage = Health.quota(_WARM_UP, project="1")
        for _ in range(_WARM_UP):  # which spends the quota
            await proxy.ask()
        proxy.mock.outage = Health.in_turn(Health.bare_429(), Health.healthy())
        await proxy.ask(_OTHER_MODEL)
        return [await proxy.crossings(None), await proxy.crossings(Health.in_turn(quota, Health.healthy()))]


def main() -> None:
    """Measure, print, and exit."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.crossings", description=__doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="print each crossing, in order")
    is_verbose = parser.parse_args().verbose
    missed = 0
    for (case, goal), found in zip(GOALS.items(), asyncio.run(measure()), strict=True):
        count = len(found)
        missed += count > goal
        sys.stdout.write(f"{case}: {count} crossings (and {count} returns), goal: at most {goal}\n")
        if is_verbose:
            sys.stdout.writelines(f"{number:4} {line}\n" for number, line in enumerate(found, 1))
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
