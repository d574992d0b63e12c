"""The program's lifecycle, seen from outside: start, signals, drain, and configuration errors."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import trustme

from proxycore import __version__
from tests.support.process import ROOT, TLS, certify, program
from tests.support.proxy import KEYS
from tests.support.waiting import PATIENCE
from tests.support.wire import RawUpstream, always, answer, ask, connect, endless, slow

STREAM = "/v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse"
pytestmark = pytest.mark.usefixtures("io_loop")


def test_the_ready_line_has_address_number_of_keys_and_whether_a_client_key_is_required(
    tmp_path: Path,
) -> None:
    with program(folder=tmp_path, environment={**KEYS, "OUTPUT_API_KEY": "the-client-secret"}) as started:
        line = started.wait_for(re.compile(".*ready.*"))[0]
        assert f"http://127.0.0.1:{started.port}, 2 Gemini API keys, client key required" in line
        assert line.endswith(f" version={__version__}")
        assert "WARNING" not in started.log


def test_a_program_without_keys_starts_and_logs_an_error(tmp_path: Path) -> None:
    with program(folder=tmp_path) as started:
        assert started.port
        assert "NO GEMINI API KEY is set" in started.log
        assert "OUTPUT_API_KEY is not set: ANYONE" in started.log


def test_settings_come_from_dotenv_and_flags_win(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GOOGLE_API_KEY_A=from-dotenv-file\nLOG_LEVEL=error\n")
    with program(
        "--log-level", "info", "--log-format", "json", folder=tmp_path, environment={"LOG_LEVEL": "warning"}
    ) as started:
        line = json.loads(started.wait_for(re.compile('.*"ready.*'))[0])
    assert line["message"].endswith("1 Gemini API key, no client key required")
    assert (line["level"], line["version"]) == ("info", __version__)


def test_all_configuration_errors_are_reported_together_without_a_traceback(tmp_path: Path) -> None:
    mistakes = {
        "PORT": "http",
        "MAX_WAIT": "-1",
        "UPSTREAM_URL": "ftp://x",
        "OUTPUT_API_KEY": "choose-a-long-random-secret",
    }
    with program(folder=tmp_path, environment=mistakes) as started:
        assert started.exit_status() == 2
    for name in mistakes:
        assert f"{name}: " in started.log
    assert "Traceback" not in started.log
    assert "choose-a" not in started.log


def test_a_port_that_is_in_use_is_reported(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with program(folder=tmp_path, environment={"PORT": str(taken.getsockname()[1])}) as started:
            assert started.exit_status() == 2
    assert "PORT: can't listen on 127.0.0.1" in started.log
    assert "Traceback" not in started.log


def test_https_is_served_directly(tmp_path: Path) -> None:
    trusting = certify(tmp_path)
    with program(folder=tmp_path, environment={**KEYS, **TLS}) as started:
        url = f"https://127.0.0.1:{started.port}/healthz"
        with urllib.request.urlopen(url, context=trusting, timeout=PATIENCE) as answered:
            assert answered.read() == b"alive\n"
        assert "ready: https://127.0.0.1" in started.log


@pytest.mark.parametrize(
    "files",
    [{"TLS_CERT_FILE": "key.pem"}, {"TLS_CERT_FILE": "cert.pem"}, TLS | {"TLS_KEY_FILE": "other.pem"}],
    ids=["no certificate", "no key", "another's key"],
)
def test_an_invalid_certificate_is_reported_without_a_traceback(
    files: dict[str, str], tmp_path: Path
) -> None:
    certify(tmp_path)
    trustme.CA().issue_cert("127.0.0.1").private_key_pem.write_to_path(str(tmp_path / "other.pem"))
    with program(folder=tmp_path, environment=files) as started:
        assert started.exit_status() == 2
    assert "TLS_CERT_FILE, TLS_KEY_FILE: " in started.log
    assert "Traceback" not in started.log


def test_help_lists_the_flags() -> None:
    told = subprocess.run(
        [sys.executable, ROOT / "server.py", "--help"], capture_output=True, text=True, check=True
    )
    for flag in ("--host", "--port", "--demo", "--log-level", "--log-format"):
        assert flag in told.stdout


def test_few_open_files_are_warned_about(tmp_path: Path) -> None:
    with program(folder=tmp_path, prefix=("sh", "-c", 'ulimit -n 256; exec "$@"', "sh")) as started:
        started.wait_for(re.compile("only 256 open files are allowed.*about 103 streams"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_running_streams_finish(number: signal.Signals, tmp_path: Path) -> None:
    async with RawUpstream(slow) as upstream:
        with program(folder=tmp_path, environment={"UPSTREAM_URL": upstream.url, **KEYS}) as started:
            async with connect(started.port) as client, connect(started.port) as kept:
                kept.send("GET", "/readyz")
                assert (await kept.got()).status == 200
                client.send("POST", STREAM, body=b"{}")
                await client.head()
                started.signal(number)
                await asyncio.to_thread(
                    started.wait_for, re.compile("stopping: .* 1 request to finish; a second signal .* stops")
                )
                with pytest.raises(ConnectionRefusedError):
                    await ask(started.port, "GET", "/healthz")
                kept.send("GET", "/readyz")
                got = await kept.got()
                assert (got.status, got.one("connection")) == (503, "close")
                assert b"".join([data async for data in client.chunks()]).endswith(b"data: 19\r\n\r\n")
            assert await asyncio.to_thread(started.exit_status) == 0
    assert "Traceback" not in started.log


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_log_has_the_number_of_requests_in_progress_and_the_effect_of_a_second_signal(
    workers: str, tmp_path: Path
) -> None:
    environment = {**KEYS, "WORKERS": workers, "DRAIN_TIMEOUT": "5"}
    async with RawUpstream(slow) as upstream:
        environment["UPSTREAM_URL"] = upstream.url
        with program(folder=tmp_path, environment=environment) as started:
            async with connect(started.port) as one, connect(started.port) as two:
                for client in (one, two):
                    client.send("POST", STREAM, body=b"{}")
                    await client.head()
                started.signal(signal.SIGINT)
                await asyncio.to_thread(started.wait_for, re.compile("a second signal .* stops immediately"))
                assert await asyncio.to_thread(started.exit_status) == 0
    told = re.findall("stopping: (.*)", started.log)
    assert sum("a second signal" in line for line in told) == 1
    waited = [
        int(count) for count in re.findall(r"waiting up to 5 s for (\d+) requests? to finish", started.log)
    ]
    assert sum(waited) == 2
    assert ("2 requests to" in started.log) == (2 in waited)
    assert started.log.count("1 request to") == waited.count(1)


def test_a_stop_without_requests_in_progress_is_logged(tmp_path: Path) -> None:
    with program(folder=tmp_path, environment=KEYS) as started:
        assert started.port
        started.signal(signal.SIGTERM)
        assert started.exit_status() == 0
    assert [line.partition("INFO    ")[2] for line in started.lines[-2:]] == [
        "stopping: no requests in progress",
        "stopped",
    ]


async def test_a_request_that_outlasts_the_drain_timeout_is_cut(tmp_path: Path) -> None:
    async with RawUpstream(slow) as upstream:
        with program(
            folder=tmp_path, environment={"UPSTREAM_URL": upstream.url, "DRAIN_TIMEOUT": "0.3", **KEYS}
        ) as started:
            async with connect(started.port) as client:
                client.send("POST", STREAM, body=b"{}")
                await client.head()
                started.signal(signal.SIGTERM)
                with pytest.raises(asyncio.IncompleteReadError):
                    async for _ in client.chunks():
                        pass
            assert await asyncio.to_thread(started.exit_status) == 0
    assert "response cut off method=POST" in started.log
    assert "Traceback" not in started.log


async def test_a_second_signal_cuts_at_once(tmp_path: Path) -> None:
    async with RawUpstream(endless) as upstream:
        environment = {"UPSTREAM_URL": upstream.url, "DRAIN_TIMEOUT": "3600", **KEYS}
        with program(folder=tmp_path, environment=environment) as started:
            async with connect(started.port) as client:
                client.send("POST", STREAM, body=b"{}")
                await client.head()
                started.signal(signal.SIGTERM)
                await asyncio.to_thread(started.wait_for, re.compile("stopping"))
                started.signal(signal.SIGINT)
                with pytest.raises(asyncio.IncompleteReadError):
                    async for _ in client.chunks():
                        pass
                assert await asyncio.to_thread(started.exit_status) == 0
    assert "Traceback" not in started.log


async def test_it_handles_signals_as_process_1(tmp_path: Path) -> None:
    async with RawUpstream(always(answer(200, b"{}"))) as upstream:
        # A PID namespace of its own, as in a container, where the kernel ignores signals without a handler.
        prefix = ("unshare", "--fork", "--pid", "--mount-proc", "--kill-child=SIGKILL")
        with program(
            folder=tmp_path, prefix=prefix, environment={"UPSTREAM_URL": upstream.url, **KEYS}
        ) as started:
            assert (await ask(started.port, "GET", "/v1/models")).status == 200
            os.kill(started.child, signal.SIGTERM)
            assert await asyncio.to_thread(started.exit_status) == 0
    assert "stopped" in started.log


async def test_running_out_of_open_files_affects_only_connections_over_the_limit(tmp_path: Path) -> None:
    async with RawUpstream(slow) as upstream:
        prefix = ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")
        with program(
            folder=tmp_path, prefix=prefix, environment={"UPSTREAM_URL": upstream.url, **KEYS}
        ) as started:
            port = started.port

            async def stream() -> bool:
                try:
                    return (await asyncio.wait_for(ask(port, "POST", STREAM, body=b"{}"), PATIENCE)).whole
                except (OSError, asyncio.IncompleteReadError, TimeoutError):
                    return False

            results = await asyncio.gather(*(stream() for _ in range(60)))
            assert any(results)
            assert (await ask(port, "GET", "/healthz")).status == 200
            assert (await ask(port, "POST", STREAM, body=b"{}")).whole
            assert len(started.log) < 200_000
