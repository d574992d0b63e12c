"""Fixtures and hooks of all tests."""

import asyncio
import os
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings
from tornado.ioloop import IOLoop

from tests.support.browser import CHROMIUM
from tests.support.turned_loop import TurnedLoop

# A busy machine is no fault of what is tested.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test sets is in the environment, as far as keys and addresses go."""
    for name in os.environ:
        if "API_KEY" in name or name in {"HOST", "PORT", "WORKERS"}:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def browsers_loop() -> Iterator[IOLoop]:
    """The loop that the browser of this process lives on."""
    yield from CHROMIUM.on_its_loop()


@pytest.fixture
def io_loop(request: pytest.FixtureRequest) -> Iterator[IOLoop]:
    """A loop for each test, of the kind that the test's parameter makes, if it has one.

    Tests marked `turned` have one whose time does not pass by itself; those marked `visits` have the
    browser's, one after the other.
    """
    if request.node.get_closest_marker("visits"):
        shared: IOLoop = request.getfixturevalue("browsers_loop")
        shared.make_current()
        yield shared
        shared.clear_current()
        return
    turned = request.node.get_closest_marker("turned")
    made = TurnedLoop(**turned.kwargs) if turned else getattr(request, "param", asyncio.new_event_loop)()
    loop = IOLoop(asyncio_loop=made)
    loop.make_current()
    yield loop
    loop.clear_current()
    loop.close(all_fds=True)


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
