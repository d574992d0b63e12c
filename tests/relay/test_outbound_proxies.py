"""Outbound proxies of single keys and projects: each carries the requests of its own keys, and no others."""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from proxycore.demo import Health, MockServer
from tests.relay.test_live import SETUP, echo, session
from tests.relay.test_live import upstream as live_upstream
from tests.relay.test_upload import FILES, START, UPLOAD, target_of
from tests.support.clocks import TurnedClock
from tests.support.outbound import http_proxy, socks_proxy
from tests.support.proxy import Proxy, proxy, rests, settings
from tests.support.scripted import SSE, STREAM, Answer, Q, Scripted, error, everyone, only, retry
from tests.support.waiting import until
from tests.support.wire import RawUpstream, Seen, always, answer, ask
from tests.transport.test_attempt import TlsUpstream

GENERATE = "/v1beta/models/gemini-2.0-flash:generateContent"
OK = always(answer(200, b'{"ok": 1}'))
PASSWORD = "t0p-s3cret"
KEYS = {
    "GOOGLE_API_KEY_1": "key-number-one",
    "GOOGLE_API_KEY_2__shop": "key-number-two",
    "GOOGLE_API_KEY_3": "key-number-three",
}
pytestmark = pytest.mark.usefixtures("io_loop")


@dataclass
class Ways:
    """Two outbound proxies: an HTTP proxy for key 1, a SOCKS proxy for project shop; none for key 3."""

    http_url: str = ""
    socks_url: str = ""
    asked: list[bytes] = field(default_factory=list)  # of the HTTP proxy, a head for each connection
    asked_socks: list[str] = field(default_factory=list)
    by_http: bytearray = field(default_factory=bytearray)  # what went up through it
    by_socks: bytearray = field(default_factory=bytearray)

    @property
    def variables(self) -> dict[str, str]:
        return KEYS | {"UPSTREAM_PROXY_1": self.http_url, "UPSTREAM_PROXY_shop": self.socks_url}

    @property
    def carried(self) -> tuple[set[bytes], set[bytes]]:
        """The keys whose requests went through the HTTP proxy, and through the SOCKS proxy."""
        first, second = (set(re.findall(rb"key-number-\w+", way)) for way in (self.by_http, self.by_socks))
        return first, second


@contextlib.asynccontextmanager
async def two_ways() -> AsyncIterator[Ways]:
    ways = Ways()
    async with (
        http_proxy(ways.asked, f"me:{PASSWORD}".encode(), carried=ways.by_http) as port,
        socks_proxy(ways.asked_socks, (b"me", PASSWORD.encode()), carried=ways.by_socks) as other,
    ):
        ways.http_url = f"http://me:{PASSWORD}@127.0.0.1:{port}"
        ways.socks_url = f"socks5://me:{PASSWORD}@127.0.0.1:{other}"
        yield ways


async def generate(here: Proxy, times: int = 1) -> list[int]:
    return [(await ask(here.port, "POST", GENERATE, body=b"{}")).status for _ in range(times)]


async def test_each_proxy_carries_the_requests_of_its_keys_and_no_others() -> None:
    async with two_ways() as ways, RawUpstream(OK) as upstream:
        async with proxy(upstream.url, ways.variables) as here:
            assert await generate(here, 40) == [200] * 40
        assert {seen.key for seen in upstream.seen} == set(KEYS.values())
        assert ways.carried == ({b"key-number-one"}, {b"key-number-two"})
        # Connections are kept, one for each way, although requests with all keys took turns.
        assert (len(ways.asked), len(ways.asked_socks), upstream.connections) == (1, 1, 3)


async def test_connections_that_are_kept_are_not_shared_under_load() -> None:
    async with two_ways() as ways, RawUpstream(OK) as upstream:
        async with proxy(upstream.url, ways.variables) as here:
            for _ in range(5):
                await asyncio.gather(*(generate(here, 4) for _ in range(8)))
        assert ways.carried == ({b"key-number-one"}, {b"key-number-two"})
        through = sum(seen.key == "key-number-three" for seen in upstream.seen)
        assert 0 < through < 160


async def test_live_sessions_go_through_their_keys_proxies() -> None:
    async with two_ways() as ways, live_upstream(echo) as url:
        async with proxy(url, ways.variables) as here:
            for _ in range(12):
                async with session(here) as client:
                    await client.send(str(SETUP))
                    await client.recv()
        assert ways.carried == ({b"key-number-one"}, {b"key-number-two"})


async def test_all_legs_of_an_upload_go_through_the_same_proxy() -> None:
    mock = MockServer(dict.fromkeys(KEYS.values(), Health.healthy()))
    url = mock.listen()
    async with two_ways() as ways:
        async with proxy(url, ways.variables) as here:
            for number in range(12):
                started = await ask(here.port, "POST", FILES, *START)
                content = b"content-%04d" % number
                done = await ask(here.port, "POST", target_of(started), *UPLOAD, body=content)
                assert (started.status, done.status) == (200, 200)
        assert ways.carried == ({b"key-number-one"}, {b"key-number-two"})
        for way in (ways.by_http, ways.by_socks):
            assert way.count(b"content-") == way.count(b"X-Goog-Upload-Command: start")
    await mock.stop()


async def test_a_token_is_used_through_the_proxy_of_the_key_that_minted_it() -> None:
    minted = always(
        answer(200, b'{"name": "auth_tokens/0123456789abcdef"}', ("Content-Type", "application/json"))
    )
    token = ("Authorization", "Token auth_tokens/0123456789abcdef")
    one = {"GOOGLE_API_KEY_1": "key-number-one"}
    async with two_ways() as ways, RawUpstream(minted) as upstream:
        behind = {"UPSTREAM_PROXY_1": ways.http_url, "UPSTREAM_PROXY": ways.socks_url}
        async with proxy(upstream.url, one | behind) as here:
            unknown = await ask(here.port, "GET", "/v1beta/interactions/int-1", token)
            assert (unknown.status, b"auth_tokens" in ways.by_socks) == (200, True)
            assert (await ask(here.port, "POST", "/v1beta/auth_tokens", body=b"{}")).status == 200
            known = await ask(here.port, "GET", "/v1beta/interactions/int-1", token)
            assert (known.status, b"Token auth_tokens" in ways.by_http) == (200, True)


async def test_tls_sessions_are_not_resumed_through_another_proxy(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    resumed: dict[str, list[bool]] = {}

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        resumed.setdefault(seen.key, []).append(writer.get_extra_info("ssl_object").session_reused)
        writer.write(answer(200, b"{}", ("Connection", "close")))

    async with two_ways() as ways, TlsUpstream(script, authority.issue_cert("127.0.0.1")) as upstream:
        trusting = {"UPSTREAM_CA_FILE": str(tmp_path / "ca.pem")}
        async with proxy(upstream.url, ways.variables | trusting) as here:
            assert await generate(here, 20) == [200] * 20
    assert resumed.keys() == set(KEYS.values())
    for first, *later in resumed.values():
        assert not first
        assert all(later)


async def test_lists_ask_each_key_through_its_own_proxy() -> None:
    mock = MockServer(dict.fromkeys(KEYS.values(), Health.healthy()))
    url = mock.listen()
    async with two_ways() as ways:
        async with proxy(url, ways.variables) as here:
            assert (await ask(here.port, "GET", "/v1beta/files")).status == 200
            assert ways.carried == ({b"key-number-one"}, {b"key-number-two"})
    await mock.stop()


async def test_a_reload_that_changes_a_proxy_counts_for_the_next_request() -> None:
    async with two_ways() as ways, RawUpstream(OK) as upstream:
        keys = {"GOOGLE_API_KEY_1": "key-number-one"}
        async with proxy(upstream.url, keys | {"UPSTREAM_PROXY_1": ways.http_url}) as here:
            assert await generate(here, 3) == [200] * 3
            asked = len(ways.by_http)
            here.app.reload(settings(upstream.url, keys | {"UPSTREAM_PROXY_1": ways.socks_url}))
            assert await generate(here, 3) == [200] * 3
            assert (len(ways.by_http), len(ways.asked_socks)) == (asked, 1)
            here.app.reload(settings(upstream.url, keys))
            carried = len(ways.by_socks)
            assert await generate(here, 3) == [200] * 3
            assert (len(ways.by_http), len(ways.by_socks)) == (asked, carried)
            await until(lambda: here.app.upstream.connections == 1)  # the others are closed
        assert upstream.connections == 3


# A way that fails.

REGION = error(400, "FAILED_PRECONDITION", "User location is not supported for the API use.")
LOGIN_PAGE = Answer(403, b"<html>Who are you?</html>", (("Content-Type", "text/html"),))
ONE_EACH = {"GOOGLE_API_KEY_1": "key-number-one", "GOOGLE_API_KEY_2": "key-number-two"}
TWO_AND_ONE = ONE_EACH | {"GOOGLE_API_KEY_3": "key-number-three"}


def names(keys: Mapping[str, str]) -> dict[str, str]:
    return {secret: variable.rpartition("_")[2] for variable, secret in keys.items()}


@contextlib.asynccontextmanager
async def closed_port() -> AsyncIterator[int]:
    """A port on which nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def test_a_dead_proxy_leads_to_a_key_behind_another_way_and_is_then_avoided(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "proxycore")
    clock = TurnedClock()
    async with closed_port() as dead, RawUpstream(OK) as upstream:
        behind = {f"UPSTREAM_PROXY_{name}": f"http://me:{PASSWORD}@127.0.0.1:{dead}" for name in ("1", "2")}
        async with proxy(upstream.url, TWO_AND_ONE | behind, clock=clock) as here:
            assert await generate(here, 30) == [200] * 30
            failed = [record for record in caplog.records if record.getMessage() == "attempt failed"]
            assert len(failed) == 1  # at once the other key behind it is avoided, too
            assert not any(map(rests, here.app.rotator.keys))
            clock.turn(1.0)
            assert await generate(here, 30) == [200] * 30
            failed = [record for record in caplog.records if record.getMessage() == "attempt failed"]
            assert len(failed) == 2
    assert {seen.key for seen in upstream.seen} == {"key-number-three"}
    assert PASSWORD not in caplog.text + "".join(str(record.__dict__) for record in caplog.records)


async def test_a_request_that_creates_something_leaves_a_dead_proxy_as_it_was_not_sent() -> None:
    async with closed_port() as dead, RawUpstream(OK) as upstream:
        behind = {"UPSTREAM_PROXY_1": f"http://127.0.0.1:{dead}"}
        async with proxy(upstream.url, ONE_EACH | behind) as here:
            for _ in range(10):
                assert (await ask(here.port, "POST", "/v1beta/interactions", body=b"{}")).status == 200


async def test_a_live_session_leaves_a_dead_proxy() -> None:
    async with closed_port() as dead, live_upstream(echo) as url:
        behind = {"UPSTREAM_PROXY_1": f"http://127.0.0.1:{dead}"}
        async with proxy(url, ONE_EACH | behind) as here:
            for _ in range(6):
                async with session(here) as client:
                    await client.send(json.dumps(SETUP))
                    assert json.loads(await client.recv()) == SETUP


@pytest.mark.parametrize("refusal", [REGION, LOGIN_PAGE], ids=["region", "gateway"])
@pytest.mark.parametrize("path", [GENERATE, "/v1beta/interactions"], ids=["repeatable", "creates"])
async def test_a_refusal_of_the_way_leads_to_a_key_behind_another_one(path: str, refusal: Answer) -> None:
    clock = TurnedClock()
    upstream = Scripted(names(TWO_AND_ONE), only({"1", "2"}, refusal))
    async with two_ways() as ways, upstream:
        behind = {"UPSTREAM_PROXY_1": ways.http_url, "UPSTREAM_PROXY_2": ways.http_url}
        async with proxy(upstream.url, TWO_AND_ONE | behind, clock=clock) as here:
            for _ in range(20):
                assert (await ask(here.port, "POST", path, body=b"{}")).status == 200
            assert len(upstream.of("1", "2")) == 1
            assert not any(map(rests, here.app.rotator.keys))


async def test_a_stream_that_begins_with_a_refusal_of_the_way_is_one_too() -> None:
    event = b"data: " + REGION.body + b"\r\n\r\n"
    refusal = Answer(fields=SSE, pieces=(event,))
    upstream = Scripted(names(ONE_EACH), only({"1"}, refusal))
    path = GENERATE.replace("generate", "streamGenerate") + "?alt=sse"
    async with two_ways() as ways, upstream:
        behind = {"UPSTREAM_PROXY_1": ways.http_url}
        async with proxy(upstream.url, ONE_EACH | behind, clock=TurnedClock()) as here:
            got = [await ask(here.port, "POST", path, body=b"{}") for _ in range(20)]
            assert {one.body for one in got} == {b"".join(STREAM)}
            assert len(upstream.of("1")) == 1
            upstream.script = everyone(refusal)
            last = await ask(here.port, "POST", path, body=b"{}")
            assert (last.status, last.body) == (200, event)


async def test_if_every_way_is_refused_the_last_response_is_the_clients() -> None:
    upstream = Scripted(names(TWO_AND_ONE), everyone(REGION))
    async with two_ways() as ways, upstream:
        behind = {"UPSTREAM_PROXY_1": ways.http_url, "UPSTREAM_PROXY_2": ways.http_url}
        async with proxy(upstream.url, TWO_AND_ONE | behind, clock=TurnedClock()) as here:
            got = await ask(here.port, "POST", GENERATE, body=b"{}")
            assert (got.status, got.body) == (400, REGION.body)
            assert len(upstream.calls) == 2  # one for each way


async def test_if_no_other_way_has_a_ready_key_the_refusal_is_the_clients() -> None:
    spent = error(429, "RESOURCE_EXHAUSTED", Q, retry("600s"))
    upstream = Scripted(names(ONE_EACH), lambda call: REGION if call.key == "1" else spent)
    async with two_ways() as ways, upstream:
        behind = {"UPSTREAM_PROXY_1": ways.http_url}
        async with proxy(upstream.url, ONE_EACH | behind, clock=TurnedClock()) as here:
            for _ in range(10):
                got = await ask(here.port, "POST", GENERATE, body=b"{}")
                assert got.status in {400, 429}
            assert (got.status, got.body) == (400, REGION.body)
            assert len(upstream.of("2")) == 1


async def test_a_refused_way_is_told_although_the_keys_behind_the_others_are_dead() -> None:
    dead = error(403, "PERMISSION_DENIED", "Your project has been denied access. Please contact support.")
    upstream = Scripted(names(ONE_EACH), lambda call: REGION if call.key == "1" else dead)
    async with two_ways() as ways, upstream:
        behind = {"UPSTREAM_PROXY_1": ways.http_url}
        async with proxy(upstream.url, ONE_EACH | behind, clock=TurnedClock()) as here:
            got = await ask(here.port, "POST", GENERATE, body=b"{}")
            assert (got.status, got.body) == (400, REGION.body)


async def test_the_limit_of_attempts_holds_for_ways_too() -> None:
    upstream = Scripted(names(ONE_EACH), everyone(REGION))
    async with two_ways() as ways, upstream:
        behind = {"UPSTREAM_PROXY_1": ways.http_url, "MAX_ATTEMPTS": "1"}
        async with proxy(upstream.url, ONE_EACH | behind) as here:
            assert (await ask(here.port, "POST", GENERATE, body=b"{}")).status == 400
            assert len(upstream.calls) == 1


async def test_all_keys_behind_one_refused_way_cost_one_attempt_as_ever() -> None:
    upstream = Scripted(names(TWO_AND_ONE), everyone(REGION))
    async with two_ways() as ways, upstream:
        async with proxy(upstream.url, TWO_AND_ONE | {"UPSTREAM_PROXY": ways.http_url}) as here:
            for number in range(1, 4):
                assert (await ask(here.port, "POST", GENERATE, body=b"{}")).status == 400
                assert len(upstream.calls) == number


async def test_a_list_has_the_items_of_the_keys_whose_way_is_not_refused() -> None:
    files = Answer(body=json.dumps({"files": [{"name": "files/abc"}]}).encode())
    upstream = Scripted(names(ONE_EACH), lambda call: REGION if call.key == "1" else files)
    async with two_ways() as ways, upstream:
        behind = {"UPSTREAM_PROXY_1": ways.http_url}
        async with proxy(upstream.url, ONE_EACH | behind) as here:
            got = await ask(here.port, "GET", "/v1beta/files")
            assert (got.status, got.one("x-incomplete-keys")) == (200, "1")
            assert b"files/abc" in got.body


async def test_the_status_shows_the_proxies_without_their_credentials() -> None:
    async with closed_port() as dead, RawUpstream(OK) as upstream:
        behind = {"UPSTREAM_PROXY_1": f"http://me:{PASSWORD}@127.0.0.1:{dead}", "ADMIN_API_KEY": "the-admin"}
        clock = TurnedClock()
        async with proxy(upstream.url, ONE_EACH | behind, clock=clock) as here:
            while not list(here.app.rotator.outages):
                assert await generate(here, 5) == [200] * 5
                clock.turn(5.0)
            got = await ask(here.port, "GET", "/status.json", ("x-goog-api-key", "the-admin"))
    shown = json.loads(got.body)
    assert [key["proxy"] for key in shown["keys"]] == [f"127.0.0.1:{dead}", None]
    assert [outage["proxy"] for outage in shown["outages"]] == [f"127.0.0.1:{dead}"]
    assert PASSWORD.encode() not in got.body
