"""The proxy as a real server on a real socket, in front of an upstream that a test scripts."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass

import pytest
from tornado.ioloop import IOLoop

from proxycore.app import ProxyApplication, make_app
from proxycore.clock import Clock
from proxycore.key import Key
from proxycore.listener import Listener
from proxycore.settings import Settings, parse
from tests.turned_loop import TurnedLoop


class TurnedClock(Clock):
    """A clock that a test turns, and whose wall clock it sets. Moments begin at `now`."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now
        self.set_by = 0.0  # seconds that the wall clock is ahead
        super().__init__(lambda: self.now, lambda: self.now + self.set_by)

    def turn(self, seconds: float) -> None:
        self.now += seconds

    def set_wall(self, seconds: float) -> None:
        """Sets the wall clock forward, or back by negative seconds."""
        self.set_by += seconds


CLOCK = Clock()
"""The real one, as all processes of a host have it."""

KEYS = {"GOOGLE_API_KEY_1": "upstream-key-number-one", "GOOGLE_API_KEY_2": "upstream-key-number-two"}


def settings(upstream_url: str, keys: Mapping[str, str] = KEYS, **variables: str) -> Settings:
    """Settings as the environment would make them."""
    return parse({"UPSTREAM_URL": upstream_url, **keys, **variables})


def rests(key: Key) -> bool:
    """Whether anything is held against a key."""
    return bool(key.whole or key.retired or any(one.bench for one in key.project.allowances.values()))


@dataclass
class Proxy:
    """A proxy under test."""

    app: ProxyApplication
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def proxy(
    upstream_url: str,
    keys: Mapping[str, str] = KEYS,
    clock: Clock | None = None,
    **variables: str,
) -> AsyncIterator[Proxy]:
    """The proxy on a free port, stopped at the end; it must not have anything under way then.

    In real time requests wait for a second at most, if nothing else is said.
    """
    if not isinstance(asyncio.get_running_loop(), TurnedLoop):
        keys = {"MAX_WAIT": "1", **keys}
    app = make_app(settings(upstream_url, keys, **variables), clock)
    server = app.server()
    listener = Listener("127.0.0.1", 0)
    listener.accept_for(server)
    try:
        yield Proxy(app, listener.port)
    finally:
        listener.stop()
        await app.close()
        await server.close_all_connections()


@pytest.fixture
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test sets is in the environment, as far as keys and addresses go."""
    for name in os.environ:
        if "API_KEY" in name or name in {"HOST", "PORT", "WORKERS"}:
            monkeypatch.delenv(name)


@pytest.fixture
def io_loop(request: pytest.FixtureRequest) -> Iterator[IOLoop]:
    """A loop for each test. Those marked `turned` have one whose time does not pass by itself."""
    turned = request.node.get_closest_marker("turned")
    loop = IOLoop(asyncio_loop=TurnedLoop(**turned.kwargs)) if turned else IOLoop()
    loop.make_current()
    yield loop
    loop.clear_current()
    loop.close(all_fds=True)


def loops_clock() -> Clock:
    """A clock that goes by the running loop: for tests whose loop is turned."""
    time = asyncio.get_running_loop().time
    return Clock(time, time)


PATIENCE = 60.0
"""Seconds that a test waits for what has to come: the machine may be busy with other things."""


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Waits for a condition that the test's own actions bring about; fails when it doesn't come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.001)


async def quiet() -> None:
    """Waits until everything has happened that happens by itself, on sockets of this process.

    The test's loop has to be a turned one: its time only passes once nothing else can happen.
    """
    assert isinstance(asyncio.get_running_loop(), TurnedLoop)
    await asyncio.sleep(0.05)


async def at_once(condition: Callable[[], bool], seconds: float = 0.05) -> None:
    """Waits for a condition; fails when it takes this process more than so many seconds of work.

    The loop never sleeps meanwhile, so on an idle machine that is the time that passes. What a busy machine
    does for others does not count.
    """
    begun = time.process_time()
    while not condition():
        await asyncio.sleep(0)
        assert time.process_time() - begun < seconds, "it took too long"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything is installed (CI is set), a test that is skipped has failed."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and nothing may be with CI set: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what tests have measured with `record_property`."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")
