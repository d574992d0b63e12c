"""ALERT_URL: a real webhook gets what happens, once, and no request waits for one that is slow."""

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from proxycore.demo import Health, MockServer
from proxycore.runtime.alert_addresses import command, environment, task
from proxycore.runtime.settings import SettingsError, parse
from tests.support.alerting import MODEL, webhook
from tests.support.process import Program, program
from tests.support.redis_server import MISSING, redis_server
from tests.support.serving import serving
from tests.support.waiting import PATIENCE, until
from tests.support.wire import ask, read_request

pytestmark = pytest.mark.usefixtures("io_loop")
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
BODY = b'{"contents": [{"parts": [{"text": "the-prompt"}]}]}'
SPENT, DEAD = "AQ.the-spent-key", "AQ.the-dead-key"
TOKEN = "the-token-of-a-webhook"


@pytest.fixture
def spent(io_loop: IOLoop) -> Iterator[dict[str, str]]:
    """The settings of a proxy whose only key is spent for the day."""
    mock = MockServer({SPENT: Health.day_spent()})
    yield {"UPSTREAM_URL": mock.listen(), "GOOGLE_API_KEY_1": SPENT, "MAX_WAIT": "0"}
    io_loop.run_sync(mock.stop)


async def asked(running: Program, times: int = 1) -> set[int]:
    return {(await ask(running.port, "POST", GENERATE, body=BODY)).status for _ in range(times)}


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_webhook_is_told_once_of_a_spent_model_whatever_the_workers(
    workers: str, spent: dict[str, str], tmp_path: Path
) -> None:
    async with webhook() as hook:
        environment = {**spent, "ALERT_URL": f"{hook.url} {hook.url}/second", "WORKERS": workers}
        with program(folder=tmp_path, environment=environment) as running:
            assert await asked(running, 20) == {429}  # so that each worker has some
            await until(lambda: len(hook.messages) >= 2)
            await asyncio.sleep(8)  # another worker would tell it by then
            running.signal(signal.SIGTERM)
            await until(lambda: running.process.poll() is not None)
            log = running.log
    first, second = hook.messages
    assert first == second  # to each address
    assert first["title"] == "Gemini key proxy: no key is available for a model"
    assert first["type"] == "warning"
    assert f"{MODEL}: none of 1 keys is available" in first["message"]
    assert "What to do: " in first["message"]
    assert log.count("sending an alert") == 1
    for secret in (SPENT, "the-prompt"):
        assert not any(secret in text for text in hook.texts)
    assert TOKEN not in log


@pytest.mark.skipif(MISSING, reason="redis-server is not installed")
async def test_of_two_replicas_one_tells(spent: dict[str, str], tmp_path: Path) -> None:
    async with webhook() as hook:
        with redis_server() as redis:
            environment = {**spent, "ALERT_URL": hook.url, "REDIS_URL": redis.url}
            with program(folder=tmp_path, environment=environment) as one:
                with program(folder=tmp_path, environment=environment) as other:
                    assert await asked(one) | await asked(other) == {429}
                    await until(lambda: bool(hook.messages))
                    await asyncio.sleep(8)
    assert len(hook.messages) == 1


async def test_a_dead_key_is_told_by_its_name(tmp_path: Path) -> None:
    mock = MockServer({DEAD: Health.suspended(), "AQ.fine": Health.healthy()})
    keys = {"GOOGLE_API_KEY_old": DEAD, "GOOGLE_API_KEY_fine": "AQ.fine"}
    async with webhook() as hook:
        environment = {"UPSTREAM_URL": mock.listen(), "ALERT_URL": hook.url, **keys}
        with program(folder=tmp_path, environment=environment) as running:
            while not hook.messages:  # it is proved by several calls
                assert await asked(running) == {200}
                await asyncio.sleep(0.1)
    await mock.stop()
    (message,) = hook.messages
    assert message["title"] == "Gemini key proxy: a Gemini API key is dead"
    assert re.search(r"key old\b.*: suspended or leaked", message["message"])
    assert DEAD not in hook.texts[0]


async def test_an_account_without_credit_is_told_once_for_its_keys(tmp_path: Path) -> None:
    mock = MockServer({"AQ.poor-1": Health.out_of_credit(), "AQ.poor-2": Health.out_of_credit()})
    keys = {"GOOGLE_API_KEY_1__shop__household": "AQ.poor-1", "GOOGLE_API_KEY_2__lab__household": "AQ.poor-2"}
    async with webhook() as hook:
        environment = {"UPSTREAM_URL": mock.listen(), "ALERT_URL": hook.url, "MAX_WAIT": "0", **keys}
        with program(folder=tmp_path, environment=environment) as running:
            for _ in range(10):
                await asked(running)
            await until(lambda: bool(hook.messages))
    await mock.stop()
    first = hook.messages[0]
    assert first["title"] == "Gemini key proxy: a billing account has no credit"
    assert "billing account household" in first["message"]


async def test_a_webhook_that_hangs_costs_no_request_anything(spent: dict[str, str], tmp_path: Path) -> None:
    async with webhook(hangs=True) as hook:
        with program(folder=tmp_path, environment={**spent, "ALERT_URL": hook.url}) as running:
            assert await asked(running) == {429}
            await until(lambda: bool(hook.messages))
            assert await asyncio.wait_for(asked(running, 50), PATIENCE) == {429}
            running.signal(signal.SIGTERM)
            await until(lambda: running.process.poll() is not None)
            assert running.process.returncode == 0


def sent(what: bytes) -> tuple[bytes, int]:
    """What the process that sends writes, and how many bytes of memory it had."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command(), stdin=pipe, stdout=pipe, env=environment())
    assert process.stdin
    assert process.stdout
    peak, status = 0, Path(f"/proc/{process.pid}/status")
    with process.stdin as given, process.stdout as told:
        given.write(what)
        given.close()
        # Not `ru_maxrss`, which begins with the memory of the process that this one was forked from.
        while process.poll() is None:
            with contextlib.suppress(OSError):
                peak = max([peak, *map(int, re.findall(r"VmHWM:\s*(\d+)", status.read_text()))])
            time.sleep(0.01)
        written = told.read()
    return written, peak * 1024


async def test_an_answer_without_end_costs_a_bounded_amount_of_memory() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 2**20)
            await writer.drain()

    message = {"title": "a title", "body": "a body", "type": "info"}
    async with serving(serve) as port:
        told, memory = await asyncio.to_thread(sent, task([f"json://127.0.0.1:{port}/"], message))
    assert json.loads(told) == [0, "json", False]
    assert memory < 400 * 2**20


async def test_an_address_that_refuses_is_logged_once_without_its_secrets(
    spent: dict[str, str], tmp_path: Path
) -> None:
    async with webhook() as hook:
        port = hook.port  # nobody listens there any more
    address = f"json://user:the-password@127.0.0.1:{port}/{TOKEN}?+X-Token=the-field"
    with program(folder=tmp_path, environment={**spent, "ALERT_URL": address}) as running:
        assert await asked(running) == {429}
        told = "ALERT_URL: an alert was not delivered: address 1 (json)"
        await until(lambda: told in running.log)
        for secret in (TOKEN, "the-password", "the-field"):
            assert secret not in running.log


def test_an_address_that_apprise_does_not_know_is_told_at_the_start(tmp_path: Path) -> None:
    environment = {"GOOGLE_API_KEY_1": "AIza-a", "ALERT_URL": f"json://127.0.0.1/x chat://{TOKEN}"}
    with program(folder=tmp_path, environment=environment) as running:
        assert running.exit_status() == 2
        assert "ALERT_URL: address 2 of 2 is not an address that Apprise knows" in running.log
        assert TOKEN not in running.log


def test_an_address_may_come_from_a_file_and_is_a_secret(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"  json://u:the-password@127.0.0.1/{TOKEN}\n")
    settings = parse({"ALERT_URL_FILE": str(tmp_path / "url")})
    assert settings.alert_urls == (f"json://u:the-password@127.0.0.1/{TOKEN}",)
    assert {TOKEN, "the-password", settings.alert_urls[0]} <= settings.secrets.keys()
    assert TOKEN not in repr(settings)
    (tmp_path / "url").write_text("nonsense")
    with pytest.raises(
        SettingsError, match=r"^ALERT_URL_FILE: the value is not an address that Apprise knows"
    ):
        parse({"ALERT_URL_FILE": str(tmp_path / "url")})


async def test_an_address_that_a_reload_adds_or_removes_takes_effect(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("GOOGLE_API_KEY_1=AQ.spent\n")
    mock = MockServer({"AQ.spent": Health.day_spent()})
    environment = {"UPSTREAM_URL": mock.listen(), "MAX_WAIT": "0", "WATCH_ENV_FILE": "off"}
    async with webhook() as hook:
        with program(folder=tmp_path, environment=environment) as running:
            assert await asked(running) == {429}
            file.write_text(f"GOOGLE_API_KEY_1=AQ.spent\nALERT_URL={hook.url}\n")
            running.signal(signal.SIGHUP)
            await until(lambda: "reloaded" in running.log)
            assert await asked(running) == {429}
            await until(lambda: bool(hook.messages))
            file.write_text("GOOGLE_API_KEY_1=AQ.spent\nALERT_URL=nonsense\n")
            running.signal(signal.SIGHUP)
            await until(
                lambda: "reload rejected, the current settings stay in effect: ALERT_URL: " in running.log
            )
    await mock.stop()


def test_apprise_is_not_imported_by_the_program_itself(tmp_path: Path) -> None:
    environment = {"PYTHONVERBOSE": "1", "GOOGLE_API_KEY_1": "AIza-a", "ALERT_URL": "json://127.0.0.1/x"}
    with program(folder=tmp_path, environment=environment) as running:
        assert running.port
        assert "import 'proxycore.runtime.alert_sender'" in running.log
        assert "import 'apprise'" not in running.log
