"""Several workers: a parent that starts them, passes signals on, and replaces those that crash."""

import asyncio
import contextlib
import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.support.process import Program, program
from tests.support.proxy import KEYS
from tests.support.waiting import PATIENCE, until
from tests.support.wire import (
    CHUNKED,
    HOME,
    Client,
    Got,
    RawUpstream,
    Seen,
    always,
    answer,
    ask,
    chunk,
    connect,
    endless,
    slow,
)

pytestmark = pytest.mark.usefixtures("io_loop")
STREAM = "/v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse"
GENERATE = "/v1beta/models/gemini-2.0-flash:generateContent"
OK = answer(200, b"{}")


def children(pid: int) -> list[int]:
    """In the order in which they were started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers(started: Program) -> list[int]:
    """The workers, without the hub, which is the first child."""
    return children(started.process.pid)[1:]


def environment(upstream: RawUpstream, count: int = 2) -> dict[str, str]:
    return {**KEYS, "UPSTREAM_URL": upstream.url, "WORKERS": str(count)}


async def stream(port: int) -> Got:
    async with connect(port) as client:
        client.send("POST", STREAM, body=b"{}")
        return await client.got()


async def ready(started: Program) -> int:
    return await asyncio.to_thread(lambda: started.port)


async def all_know(port: int, fact: bytes) -> None:
    """Waits until this is in the status of any worker."""
    async with asyncio.timeout(PATIENCE):
        told = 0
        while told < 20:
            got = await ask(port, "GET", "/status.json", HOME)
            told = told + 1 if fact in got.body else 0


async def test_the_ready_line_comes_once_and_says_how_many_there_are(tmp_path: Path) -> None:
    async with RawUpstream(always(OK)) as upstream:
        with program(folder=tmp_path, environment=environment(upstream, 3)) as started:
            port = await ready(started)
            assert (await ask(port, "POST", GENERATE, body=b"{}")).status == 200
            assert started.log.count("ready: ") == 1
            assert "no client key required, 3 workers" in started.log
            assert started.log.count("ANYONE") == 1
            assert len(workers(started)) == 3


async def test_a_signal_drains_all_and_the_status_is_0(tmp_path: Path) -> None:
    async with RawUpstream(slow) as upstream:
        with program(folder=tmp_path, environment=environment(upstream)) as started:
            port = await ready(started)
            streams = [asyncio.ensure_future(stream(port)) for _ in range(8)]
            await until(lambda: len(upstream.seen) == 8)
            started.signal(signal.SIGTERM)
            for got in await asyncio.gather(*streams):
                # On a busy machine two events may arrive as one chunk.
                assert (got.whole, got.body.count(b"data: ")) == (True, 20)
            assert await asyncio.to_thread(started.exit_status) == 0
            assert "Traceback" not in started.log
            assert "ERROR" not in started.log


async def test_a_second_signal_cuts_all(tmp_path: Path) -> None:
    async with RawUpstream(endless) as upstream:
        with program(folder=tmp_path, environment=environment(upstream)) as started:
            port = await ready(started)
            streams = [asyncio.ensure_future(stream(port)) for _ in range(4)]
            await until(lambda: len(upstream.seen) == 4)
            started.signal(signal.SIGINT)
            await until(lambda: started.log.count("stopping: ") == 3)  # the parent and its workers
            assert not any(task.done() for task in streams)
            started.signal(signal.SIGINT)
            assert not any(got.whole for got in await asyncio.gather(*streams))
            assert await asyncio.to_thread(started.exit_status) == 0


async def test_a_worker_that_is_killed_takes_only_its_own_streams_and_is_replaced(tmp_path: Path) -> None:
    done = asyncio.Event()

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"data: begun\r\n\r\n"))
        if seen.body != b"{}":
            await done.wait()
        writer.write(b"0\r\n\r\n")

    async def whole(client: Client) -> bool:
        try:
            return [data async for data in client.chunks()] == [b"data: begun\r\n\r\n"]
        except (asyncio.IncompleteReadError, ConnectionError):
            return False

    async with RawUpstream(script) as upstream, contextlib.AsyncExitStack() as stack:
        started = stack.enter_context(program(folder=tmp_path, environment=environment(upstream)))
        port = await ready(started)
        clients = [await stack.enter_async_context(connect(port)) for _ in range(200)]
        for client in clients:
            client.send("POST", STREAM, body=b'{"long": true}')
        for client in clients:
            assert (await client.head()).status == 200
        victim, other = workers(started)
        os.kill(victim, signal.SIGKILL)
        await until(lambda: len(workers(started)) == 2 and victim not in workers(started))
        for _ in range(10):
            assert (await stream(port)).whole
        done.set()
        ends = await asyncio.gather(*map(whole, clients))
        assert 0 < sum(ends) < 200
        assert other in workers(started)
        started.wait_for(re.compile(rf"worker 1 \(pid {victim}\) was killed by SIGKILL; restarting it"))


async def test_a_replacement_worker_gets_the_state_of_the_others(tmp_path: Path) -> None:
    disabled = b"""{"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "It is disabled.",
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}]}}"""
    async with RawUpstream(always(answer(403, disabled))) as upstream:
        with program(folder=tmp_path, environment=environment(upstream)) as started:
            port = await ready(started)
            assert (await ask(port, "POST", GENERATE, body=b"{}")).status == 403
            await all_know(port, b'"state": "benched"')
            assert len(upstream.seen) == 2
            before = workers(started)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            await until(lambda: len(workers(started)) == 2 and not set(before) & set(workers(started)))
            assert (await ask(port, "POST", GENERATE, body=b"{}")).status == 429
            assert len(upstream.seen) == 2


async def test_the_hub_is_replaced_as_well(tmp_path: Path) -> None:
    async with RawUpstream(always(OK)) as upstream:
        with program(folder=tmp_path, environment=environment(upstream)) as started:
            port = await ready(started)
            hub = children(started.process.pid)[0]
            os.kill(hub, signal.SIGKILL)
            await asyncio.to_thread(started.wait_for, re.compile(r"hub \(pid \d+\) was killed by SIGKILL"))
            await until(lambda: len(children(started.process.pid)) == 3)
            assert (await ask(port, "POST", GENERATE, body=b"{}")).status == 200
            started.signal(signal.SIGTERM)
            assert await asyncio.to_thread(started.exit_status) == 0


async def test_workers_end_when_their_parent_has_ended(tmp_path: Path) -> None:
    async with RawUpstream(always(OK)) as upstream:
        with program(folder=tmp_path, environment=environment(upstream)) as started:
            await ready(started)
            left = children(started.process.pid)
            started.signal(signal.SIGKILL)
            await until(lambda: not any(_runs(pid) for pid in left))


async def test_a_reload_takes_new_keys_without_breaking_a_stream(tmp_path: Path) -> None:
    async with RawUpstream(slow) as upstream:
        env = {"UPSTREAM_URL": upstream.url, "WORKERS": "2"}
        (tmp_path / ".env").write_text("GOOGLE_API_KEY_1=the-former-key\n")
        with program(folder=tmp_path, environment=env) as started:
            port = await ready(started)
            running = asyncio.ensure_future(stream(port))
            await until(lambda: len(upstream.seen) == 1)
            (tmp_path / ".env").write_text("GOOGLE_API_KEY_1=the-new-key\n")
            started.signal(signal.SIGHUP)
            await asyncio.to_thread(started.wait_for, re.compile("reloaded: 1 Gemini API key"))
            while upstream.seen[-1].key != "the-new-key":
                assert (await stream(port)).whole
            assert (await running).whole
            assert upstream.seen[0].key == "the-former-key"
            assert "stopping" not in started.log
            # A faulty file changes nothing.
            (tmp_path / ".env").write_text("MAX_WAIT=-1\n")
            started.signal(signal.SIGHUP)
            await asyncio.to_thread(started.wait_for, re.compile("MAX_WAIT: '-1' is not a number"))
            assert (await stream(port)).whole
            started.signal(signal.SIGTERM)
            assert await asyncio.to_thread(started.exit_status) == 0


async def test_a_reload_keeps_benches_by_key_and_not_by_name(tmp_path: Path) -> None:
    why = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}
    error = {"code": 403, "status": "PERMISSION_DENIED", "message": "No.", "details": [why]}
    forbidden = json.dumps({"error": error}).encode()

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(OK if seen.key in {"fine", "new"} else answer(403, forbidden))

    async with RawUpstream(script) as upstream:
        env = {"UPSTREAM_URL": upstream.url, "WORKERS": "2"}
        (tmp_path / ".env").write_text("GOOGLE_API_KEY_1=off\nGOOGLE_API_KEY_2=fine\n")
        with program(folder=tmp_path, environment=env) as started:
            port = await ready(started)
            while "SERVICE_DISABLED" not in started.log:
                assert (await ask(port, "POST", GENERATE, body=b"{}")).status == 200
            (tmp_path / ".env").write_text("GOOGLE_API_KEY_1=new\nGOOGLE_API_KEY_2=off\n")
            started.signal(signal.SIGHUP)
            await asyncio.to_thread(started.wait_for, re.compile("reloaded"))
            while upstream.seen[-1].key != "new":
                assert (await ask(port, "POST", GENERATE, body=b"{}")).status == 200
            asked = None
            while asked != {"new"}:  # the other worker gets the same reload
                upstream.seen.clear()
                for _ in range(20):
                    assert (await ask(port, "POST", GENERATE, body=b"{}")).status == 200
                asked = {seen.key for seen in upstream.seen}


def test_configuration_errors_are_reported_before_any_worker_is_started(tmp_path: Path) -> None:
    with program(folder=tmp_path, environment={**KEYS, "WORKERS": "2", "HOST": "256.0.0.1"}) as started:
        assert started.exit_status() == 2
        assert "HOST, PORT: can't listen" in started.log
        assert "Traceback" not in started.log


def test_as_pid_1_signals_are_handled_and_orphans_are_reaped(tmp_path: Path) -> None:
    prefix = ("unshare", "--fork", "--pid", "--kill-child")
    if os.geteuid() or os.system("unshare --fork --pid true 2> /dev/null"):  # noqa: S605 - a fixed command
        pytest.skip("a PID namespace needs root")
    with program(folder=tmp_path, environment={**KEYS, "WORKERS": "2"}, prefix=prefix) as started:
        assert started.port
        os.kill(started.child, signal.SIGTERM)
        assert started.exit_status() == 0
        assert started.log.count("stopped") >= 3


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
