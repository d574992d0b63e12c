"""Who presents wrong credentials is slowed down, and told of in the log; those with right ones never are."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from proxycore.http.credential_limiter import CredentialLimiter
from tests.support.proxy import proxy
from tests.support.waiting import until
from tests.support.wire import RawUpstream, always, answer, ask, connect

CLIENT = {
    "OUTPUT_API_KEY": "the-clients-own-key",
    "ADMIN_API_KEY": "the-admins-own-key",
    "GOOGLE_API_KEY_1": "key",
}
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
WRONG = ("x-goog-api-key", "wrong")


class Time:
    """A clock that a test turns, and what is due on it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.limiter = CredentialLimiter(lambda: self.now, self._schedule)

    def _schedule(self, seconds: float, call: Callable[[], None]) -> None:
        self.due.append((self.now + seconds, call))

    def turn(self, seconds: float) -> None:
        self.now += seconds
        due = [call for at, call in self.due if at <= self.now]
        self.due = [(at, call) for at, call in self.due if at > self.now]
        for call in due:
            call()

    def answered(self, address: str, count: int, within: float = 0.0) -> int:
        """How many of so many failures at once are answered as such, in at most `within` seconds."""
        delays = [self.limiter.count_failure(address).delay for _ in range(count)]
        return sum(delay is not None and delay <= within for delay in delays)


@pytest.fixture
def time() -> Time:
    return Time()


def summaries(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [
        one.__dict__["fields"] for one in caplog.records if one.getMessage() == "more credentials refused"
    ]


def test_an_address_may_fail_a_few_times_at_once_and_a_few_times_a_second(time: Time) -> None:
    delays = [time.limiter.count_failure("192.0.2.1").delay for _ in range(100)]
    assert delays[:5] == [0.0] * 5
    assert delays[5:35] == pytest.approx([number / 3 for number in range(1, 31)])
    assert delays[35:] == [None] * 65
    for _ in range(10):
        time.turn(1.0)
        assert time.answered("192.0.2.1", 100, within=10.0) == 3
    time.turn(3600.0)
    assert time.answered("192.0.2.1", 100) == 5


def test_addresses_are_apart_and_ipv6_ones_go_by_their_network(time: Time) -> None:
    assert time.answered("192.0.2.1", 100) == 5
    assert time.answered("192.0.2.2", 100) == 5
    assert time.answered("::ffff:192.0.2.2", 100) == 0
    assert sum(time.answered(f"2001:db8:1:2:{number:x}::1", 1) for number in range(100)) == 5
    assert time.answered("2001:db8:1:3::1", 100) == 5
    assert time.answered("fe80::1%eth0", 100) == 5
    assert time.answered("", 100) == 5


def test_a_clock_that_stands_still_gives_nothing_away(time: Time) -> None:
    assert time.answered("192.0.2.1", 100) == 5
    time.now -= 50.0
    assert time.answered("192.0.2.1", 100) == 0
    time.now += 50.0
    assert time.answered("192.0.2.1", 100, within=10.0) == 0


def test_a_flood_from_many_addresses_is_bounded_in_memory_and_in_lines(
    time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    logged = 0
    for number in range(20_000):
        logged += time.limiter.count_failure(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}").logged
    assert logged == 50
    assert len(vars(time.limiter)["_buckets"]) == 4096
    assert len(vars(time.limiter)["_unlogged"]) <= 4097
    time.turn(10.0)
    assert len(summaries(caplog)) == 6
    assert sum(summary["count"] for summary in summaries(caplog)) == 20_000 - 50


def test_what_is_not_logged_by_itself_is_summed_up_every_ten_seconds(
    time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [time.limiter.count_failure("192.0.2.1") for _ in range(1000)]
    assert sum(failure.logged for failure in failures) == 35
    assert summaries(caplog) == []
    time.turn(9.9)
    assert summaries(caplog) == []
    time.turn(0.2)
    assert summaries(caplog) == [{"address": "192.0.2.1", "count": 965}]
    time.turn(60.0)
    assert len(summaries(caplog)) == 1
    assert time.due == []


# From outside.


@pytest.mark.usefixtures("io_loop")
@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", GENERATE),
        ("GET", "/v1beta/files"),
        ("POST", "/upload/v1beta/files"),
        ("PUT", "/upload/v1beta/files?upload_id=guessed&upload_protocol=resumable"),
        ("GET", "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"),
        ("GET", "/status.json"),
        ("POST", "/status.json"),
        ("GET", "/metrics"),
    ],
)
async def test_wrong_credentials_are_slowed_down_and_right_ones_are_not(
    method: str, target: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "proxycore")
    monkeypatch.setattr("proxycore.http.credential_limiter.LONGEST_DELAY", 0.4)  # room for one
    async with RawUpstream(always(answer(200, b"{}"))) as upstream, proxy(upstream.url, CLIENT) as here:
        here.app.context.limiter._clock = lambda: 100.0  # on a slow machine time would pass
        answers = [await ask(here.port, method, target, WRONG) for _ in range(30)]
        right = await ask(here.port, "POST", GENERATE, ("x-goog-api-key", "the-clients-own-key"), body=b"{}")
        admin = await ask(here.port, "GET", "/status.json", ("x-goog-api-key", "the-admins-own-key"))
    assert (right.status, admin.status) == (200, 200)
    refused = [got for got in answers if got.status == 429]
    assert [got.status for got in answers] == [401] * 6 + [429] * 24
    error = json.loads(refused[0].body)["error"]
    assert (error["status"], error["details"][0]["retryDelay"]) == ("RESOURCE_EXHAUSTED", "10s")
    assert refused[0].one("retry-after") == "10"
    assert refused[0].one("access-control-allow-origin") == "*"
    lines = [one for one in caplog.records if one.getMessage() == "credential refused"]
    assert len(lines) == 6
    assert {(one.levelname, one.__dict__["fields"]["address"]) for one in lines} == {("WARNING", "127.0.0.1")}
    assert {one.__dict__["fields"]["status"] for one in lines} == {401}
    assert sum(summary["count"] for summary in summaries(caplog)) == len(refused)  # said when it ends


@pytest.mark.usefixtures("io_loop")
async def test_who_goes_on_with_a_wrong_key_waits_longer_and_is_told_the_same() -> None:
    async with RawUpstream(always(answer(200, b"{}"))) as upstream, proxy(upstream.url, CLIENT) as here:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answers = [await ask(here.port, "POST", GENERATE, WRONG, body=b"{}") for _ in range(8)]
        assert loop.time() - began >= 0.9  # three of them had to wait for their turn
        async with connect(here.port) as client:
            client.send("POST", GENERATE, WRONG, body=b"{}")
            await until(lambda: bool(here.app.context.running))
        await until(lambda: not here.app.context.running)  # who leaves meanwhile is not waited for
    assert [got.status for got in answers] == [401] * 8


@pytest.mark.usefixtures("io_loop")
async def test_a_flood_of_wrong_keys_hurts_nobody_behind_the_same_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("proxycore.http.credential_limiter.LONGEST_DELAY", 2.0)
    async with RawUpstream(always(answer(200, b"{}"))) as upstream, proxy(upstream.url, CLIENT) as here:
        here.app.context.limiter._clock = lambda: 100.0
        right = ("Authorization", "Bearer the-clients-own-key")
        flood = [ask(here.port, "POST", GENERATE, WRONG, body=b"{}") for _ in range(100)]
        users = [ask(here.port, "POST", GENERATE, right, body=b"{}") for _ in range(100)]
        work = [asyncio.ensure_future(one) for pair in zip(flood, users, strict=True) for one in pair]
        assert {(await one).status for one in work[1::2]} == {200}
        assert {(await one).status for one in work[::2]} == {401, 429}
