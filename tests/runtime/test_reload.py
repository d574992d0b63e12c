"""The settings are read again, at SIGHUP or when `.env` changes: requests in progress continue."""

import asyncio
import re
import signal
from pathlib import Path

import pytest

from proxycore.demo import Health, MockServer
from proxycore.rotation.key import KeySpec, keys_of
from tests.support.clocks import TurnedClock
from tests.support.outbound import http_proxy
from tests.support.process import TLS, Program, certify, program
from tests.support.proxy import proxy, rests, settings
from tests.support.waiting import PATIENCE, until
from tests.support.wire import HOME, RawUpstream, ask, connect, slow

pytestmark = pytest.mark.usefixtures("io_loop")
MODEL = "gemini-2.5-flash"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
STREAM = f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
BODY = b'{"contents": [{"parts": [{"text": "hi"}]}]}'


def client(secret: str) -> tuple[str, str]:
    return ("x-goog-api-key", secret)


async def said(started: Program, pattern: str, times: int = 1) -> None:
    await until(lambda: len(re.findall(pattern, started.log)) >= times)


async def test_a_stream_goes_on_under_a_key_that_was_removed_and_later_requests_get_the_new_one(
    tmp_path: Path,
) -> None:
    async with RawUpstream(slow) as upstream:
        file = tmp_path / ".env"
        file.write_text("GOOGLE_API_KEY_1=the-former-key\nOUTPUT_API_KEY=the-former-client\n")
        with program(folder=tmp_path, environment={"UPSTREAM_URL": upstream.url}) as started:
            port = await asyncio.to_thread(lambda: started.port)
            async with connect(port) as kept:
                kept.send("POST", STREAM, client("the-former-client"), body=BODY)
                await kept.head()
                file.write_text("GOOGLE_API_KEY_2=the-new-key\nOUTPUT_API_KEY=the-new-client\n")
                started.signal(signal.SIGHUP)
                await said(started, "reloaded: 1 Gemini API key, client key required")
                assert (
                    await ask(port, "POST", GENERATE, client("the-former-client"), body=BODY)
                ).status == 401
                assert (await ask(port, "POST", GENERATE, client("the-new-client"), body=BODY)).status == 200
                assert [chunk async for chunk in kept.chunks()]
                # The same connection serves under the new settings.
                kept.send("POST", GENERATE, client("the-new-client"), body=BODY)
                assert (await kept.got()).status == 200
            assert [seen.key for seen in upstream.seen] == ["the-former-key", "the-new-key", "the-new-key"]


async def test_a_changed_file_is_reloaded_and_all_errors_of_a_faulty_one_are_logged(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("GOOGLE_API_KEY_1=a-key\nADMIN_API_KEY=the-admin\n")
    with program(folder=tmp_path, environment={"UPSTREAM_URL": "http://127.0.0.1:9"}) as started:
        port = await asyncio.to_thread(lambda: started.port)
        file.write_text("GOOGLE_API_KEY_1=a-key\nADMIN_API_KEY=the-admin\nMAX_WAIT=-1\nMAX_ATTEMPTS=x\n")
        await said(started, "reload rejected")
        line = next(line for line in started.lines if "reload rejected" in line)
        assert "MAX_WAIT: '-1' is not a number from 0" in line
        assert "MAX_ATTEMPTS: 'x' is not a whole number" in line
        assert (await ask(port, "GET", "/metrics", client("the-admin"))).status == 200
        file.write_text("GOOGLE_API_KEY_1=a-key\nADMIN_API_KEY=another\n")
        await said(started, "reloaded")
        assert (await ask(port, "GET", "/metrics", client("another"))).status == 200
        assert started.log.count("reloaded") == 1
        assert started.log.count("reload rejected") == 1


async def test_a_key_and_its_outbound_proxy_come_and_go_with_a_reload(tmp_path: Path) -> None:
    file, keys = tmp_path / ".env", tmp_path / "keys"
    carried = bytearray()
    async with RawUpstream(slow) as upstream, http_proxy([], b"me:t0p-s3cret", carried=carried) as port:
        proxied = f"UPSTREAM_PROXY_two=http://me:t0p-s3cret@127.0.0.1:{port}\n"
        file.write_text("KEYS_FILE=keys\nOUTPUT_API_KEY=the-client\n" + proxied)
        keys.write_text("key-number-one one\n")
        with program(folder=tmp_path, environment={"UPSTREAM_URL": upstream.url}) as started:
            here = await asyncio.to_thread(lambda: started.port)

            async def used() -> str:
                assert (await ask(here, "POST", GENERATE, client("the-client"), body=BODY)).status == 200
                return upstream.seen[-1].key

            await said(started, "UPSTREAM_PROXY_two: there is no key and no project two, ignored")
            assert await used() == "key-number-one"
            keys.write_text("key-number-two two\n")
            started.signal(signal.SIGHUP)
            await said(started, "reloaded: 1 Gemini API key")
            assert await used() == "key-number-two"
            assert b"key-number-two" in carried
            file.write_text("KEYS_FILE=keys\nOUTPUT_API_KEY=the-client\n")
            started.signal(signal.SIGHUP)
            await said(started, "reloaded: 1 Gemini API key", times=2)
            before = len(carried)
            assert await used() == "key-number-two"
            assert len(carried) == before
        assert "t0p-s3cret" not in started.log


async def test_watching_can_be_turned_off(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("GOOGLE_API_KEY_1=a-key\nWATCH_ENV_FILE=off\n")
    with program(folder=tmp_path) as started:
        assert await asyncio.to_thread(lambda: started.port)
        file.write_text("GOOGLE_API_KEY_1=a-key\nGOOGLE_API_KEY_2=another-key\nWATCH_ENV_FILE=off\n")
        await asyncio.sleep(1.5)  # three looks, if there were any
        assert "reloaded" not in started.log
        started.signal(signal.SIGHUP)
        await said(started, "reloaded: 2 Gemini API keys")


async def test_a_certificate_is_renewed(tmp_path: Path) -> None:
    certify(tmp_path)
    with program(folder=tmp_path, environment={"GOOGLE_API_KEY_1": "a-key", **TLS}) as started:
        port = await asyncio.to_thread(lambda: started.port)
        for name in ("cert.pem", "key.pem", "ca.pem"):
            (tmp_path / name).unlink()
        trusting = certify(tmp_path)
        started.signal(signal.SIGHUP)
        await said(started, "reloaded")
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        writer.close()
        (tmp_path / "key.pem").write_text("nonsense")
        started.signal(signal.SIGHUP)
        await said(started, "reload rejected.*TLS_CERT_FILE")


async def test_a_change_that_needs_a_restart_is_logged(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("GOOGLE_API_KEY_1=a-key\n")
    with program(folder=tmp_path, environment={"WATCH_ENV_FILE": "off"}) as started:
        assert await asyncio.to_thread(lambda: started.port)
        file.write_text("GOOGLE_API_KEY_1=a-key\nWORKERS=3\n")
        started.signal(signal.SIGHUP)
        await said(started, "WORKERS: a change from or to 1 takes effect after")


async def test_benches_and_counts_stay_with_the_key_and_retired_ones_get_another_chance() -> None:
    healths = {"AQ.off": Health.service_disabled(), "AQ.bad": Health.suspended(), "AQ.fine": Health.healthy()}
    clock = TurnedClock()
    mock = MockServer(healths, clock=clock)
    keys = {f"GOOGLE_API_KEY_{secret[3:]}": secret for secret in healths}
    url = mock.listen()
    async with proxy(url, keys, clock) as here:
        for seconds in (0, 2, 10):
            clock.turn(seconds)
            for _ in range(40):
                assert (await ask(here.port, "POST", GENERATE, body=BODY)).status == 200
        states = {key.name: key.state(clock()) for key in here.app.rotator.keys}
        assert states == {"off": "benched", "bad": "retired", "fine": "ready"}
        renamed = {
            "GOOGLE_API_KEY_other": "AQ.off",
            "GOOGLE_API_KEY_bad": "AQ.bad",
            "GOOGLE_API_KEY_new": "AQ.new",
        }
        here.app.reload(settings(url, renamed))
        clock.turn(1)
        states = {key.name: key.state(clock()) for key in here.app.rotator.keys}
        assert states == {"other": "benched", "bad": "ready", "new": "ready"}
    await mock.stop()


async def test_a_request_that_waits_for_a_key_gets_one_that_was_added() -> None:
    mock = MockServer({"AQ.spent": Health.quota(1, window=3600.0), "AQ.new": Health.healthy()})
    url, patient = mock.listen(), {"MAX_WAIT": "7200"}
    async with proxy(url, {"GOOGLE_API_KEY_1": "AQ.spent"} | patient) as here:
        assert (await ask(here.port, "POST", GENERATE, body=BODY)).status == 200
        waiting = asyncio.ensure_future(ask(here.port, "POST", GENERATE, body=BODY))
        await until(lambda: here.app.queues.waiting == 1)
        both = {"GOOGLE_API_KEY_1": "AQ.spent", "GOOGLE_API_KEY_2": "AQ.new"}
        here.app.reload(settings(url, both, **patient))
        assert (await asyncio.wait_for(waiting, PATIENCE)).status == 200
    await mock.stop()


async def test_what_a_removed_key_owned_is_looked_for_elsewhere() -> None:
    mock = MockServer({"AQ.one": Health.healthy(), "AQ.two": Health.healthy()})
    url = mock.listen()
    async with proxy(url, {"GOOGLE_API_KEY_1": "AQ.one"}) as here:
        (former,) = here.app.rotator.keys
        here.app.affinity.learn(["files/abc"], former)
        here.app.reload(settings(url, {"GOOGLE_API_KEY_2": "AQ.two"}))
        assert here.app.affinity.of("files/abc") is None
        here.app.affinity.learn(["files/late"], former)  # from a response that has just arrived
        assert here.app.affinity.of("files/late") is None
        await ask(here.port, "GET", "/v1beta/files/abc")
        assert {call.key for call in mock.calls} == {"AQ.two"}
    await mock.stop()


async def test_limits_change_for_requests_that_come_later() -> None:
    async with proxy("http://127.0.0.1:9", {"GOOGLE_API_KEY_1": "a-key"}) as here:
        here.app.reload(settings("http://127.0.0.1:9", {"GOOGLE_API_KEY_1": "a-key"}, MAX_BODY_MB="0.001"))
        got = await ask(here.port, "POST", GENERATE, body=b"x" * 2000)
        assert got.status == 413
        assert b"MAX_BODY_MB" in got.body


async def test_a_removed_keys_secret_does_not_come_out_of_a_request_that_still_runs() -> None:
    # The suspended key's answer quotes it; by then the proxy has no such key any more.
    mock = MockServer({"AQ.quoted": Health.suspended()})
    mock.think = 0.3
    url = mock.listen()
    async with proxy(url, {"GOOGLE_API_KEY_1": "AQ.quoted"}) as here:
        running = asyncio.ensure_future(ask(here.port, "POST", GENERATE, body=BODY))
        await until(lambda: len(mock.calls) == 1)
        here.app.reload(settings(url, {"GOOGLE_API_KEY_2": "AQ.another-key"}, MAX_ATTEMPTS="1"))
        assert b"AQ.quoted" not in (await running).body
        shown = await ask(here.port, "GET", "/status.json", HOME)
        assert b"AQ.quoted" not in shown.body
    await mock.stop()


def test_a_key_moves_to_its_new_project_and_keeps_its_state() -> None:
    one, two, three = former = keys_of(
        [KeySpec("1", "a", "shop"), KeySpec("2", "b", "shop"), KeySpec("3", "c", "")]
    )
    assert one.project is two.project
    again = keys_of([KeySpec("1", "a", "shop"), KeySpec("x", "b", "lab"), KeySpec("3", "c", "shop")], former)
    assert again == [one, two, three]
    assert [key.name for key in again] == ["1", "x", "3"]
    assert one.project is three.project is not two.project
    assert {key.name for key in one.project.keys} == {"1", "3"}
    assert (one.project.name, two.project.name) == ("shop", "lab")
    alone, gone = keys_of([KeySpec("1", "a", ""), KeySpec("2", "b", "")], again), three
    assert [key.project.name for key in alone] == ["", ""]
    assert alone[0].project.keys == [one]
    assert gone not in one.project.keys
    assert not rests(gone)
