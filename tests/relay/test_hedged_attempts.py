"""A late request is sent to a second project, and the first to speak is relayed (`HEDGE`)."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.support.clocks import loops_clock
from tests.support.proxy import Proxy, proxy, rests, settings
from tests.support.scripted import BARE, OVERLOADED, STREAM, Answer, Q, error, quota, retry
from tests.support.waiting import quiet, until
from tests.support.wire import CHUNKED, HOME, Got, RawUpstream, Script, Seen, answer, ask, chunk, connect

pytestmark = [
    pytest.mark.usefixtures("io_loop"),
    pytest.mark.turned(grace=0.002),
    pytest.mark.timeout(seconds=1e7),
]

MODEL = "/v1beta/models/gemini-2.5-flash"
GENERATE, STREAMED = f"{MODEL}:generateContent", f"{MODEL}:streamGenerateContent?alt=sse"
BODY = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
USUAL, LATE = 0.1, 60.0  # seconds to the first byte
SERVED = answer(200, b'{"ok": 1}', ("Content-Type", "application/json"))
MINUTE = error(
    429,
    "RESOURCE_EXHAUSTED",
    Q,
    quota("GenerateRequestsPerMinutePerProjectPerModel", "gemini-2.5-flash", "1000"),
    retry("34s"),
)


def raw(refusal: Answer) -> bytes:
    return answer(refusal.status, refusal.body, *refusal.fields)


def keys(count: int) -> dict[str, str]:
    return {f"GOOGLE_API_KEY_{number}": f"secret-of-{number}" for number in range(1, count + 1)}


def after(seconds: float, data: bytes = SERVED) -> Script:
    """A script that answers after a time."""

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        writer.write(data)

    return script


def in_turn(*scripts: Script) -> Script:
    """The first request is served by the first script, and so on; all others by the last."""
    left = list(scripts)

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(seen, writer)

    return script


@dataclass
class Here:
    upstream: RawUpstream
    proxy: Proxy

    async def post(self, target: str = GENERATE, body: bytes = BODY) -> Got:
        return await ask(self.proxy.port, "POST", target, body=body)

    async def learn(self, target: str = GENERATE, body: bytes = BODY) -> None:
        """Let it learn how long a first byte usually takes."""
        self.upstream.script = after(USUAL)
        await asyncio.gather(*(self.post(target, body) for _ in range(60)))
        self.upstream.seen.clear()

    async def metrics(self) -> dict[str, int]:
        """The hedges by their results."""
        text = (await ask(self.proxy.port, "GET", "/metrics", HOME)).body.decode()
        lines = [line for line in text.splitlines() if line.startswith("gemini_proxy_hedges_total{")]
        return {line.split('"')[1]: int(float(line.rpartition(" ")[2])) for line in lines}


@contextlib.asynccontextmanager
async def pool(count: int = 3, hedge: str = "100%", **variables: str) -> AsyncIterator[Here]:
    """A proxy that hedges, and its upstream."""
    async with RawUpstream(after(USUAL)) as upstream:
        async with proxy(upstream.url, keys(count), loops_clock(), HEDGE=hedge, **variables) as here:
            yield Here(upstream, here)


async def test_when_the_first_is_late_the_second_is_relayed_and_the_first_is_closed() -> None:
    async with pool() as here:
        await here.learn()
        here.upstream.script = in_turn(after(LATE), after(USUAL))
        began = asyncio.get_running_loop().time()
        assert (await here.post()).body == b'{"ok": 1}'
        assert asyncio.get_running_loop().time() - began < 4 * USUAL
        first, second = here.upstream.seen
        assert first.key != second.key
        assert (first.line, first.body) == (second.line, second.body)
        assert second.body == BODY
        await until(lambda: first.closed is not None)
        assert second.closed is None
        assert await here.metrics() == {"won": 1}
        assert not here.proxy.app.upstream.busy


async def test_a_first_that_speaks_after_all_is_relayed_and_the_second_is_closed() -> None:
    async with pool() as here:
        await here.learn()
        here.upstream.script = in_turn(after(3 * USUAL, answer(200, b"first")), after(LATE))
        assert (await here.post()).body == b"first"
        first, second = here.upstream.seen
        await until(lambda: second.closed is not None)
        assert first.closed is None
        assert await here.metrics() == {"abandoned": 1}


async def test_a_request_that_is_not_late_is_sent_once() -> None:
    async with pool() as here:
        await here.learn()
        for _ in range(10):
            await here.post()
        assert len(here.upstream.seen) == 10


async def test_before_fifty_requests_nothing_is_hedged() -> None:
    async with pool() as here:
        await asyncio.gather(*(here.post() for _ in range(49)))
        here.upstream.seen.clear()
        here.upstream.script = in_turn(after(LATE), after(USUAL))
        assert (await here.post()).status == 200
        assert len(here.upstream.seen) == 1


async def test_by_default_nothing_is_hedged() -> None:
    async with pool(hedge="") as here:
        await here.learn()
        here.upstream.script = in_turn(after(LATE), after(USUAL))
        assert (await here.post()).status == 200
        assert len(here.upstream.seen) == 1
        assert await here.metrics() == {}


async def test_the_times_of_a_stream_and_of_a_whole_response_are_learned_apart() -> None:
    async with pool() as here:
        await here.learn()
        here.upstream.script = in_turn(after(LATE), after(USUAL))
        await here.post(STREAMED)
        chat = {"model": "gemini-2.5-flash", "messages": [], "stream": True}
        await here.post("/v1beta/openai/chat/completions", json.dumps(chat).encode())
        await here.post("/v1beta/models/gemini-2.5-pro:generateContent")
        assert len(here.upstream.seen) == 3


async def test_a_stream_speaks_with_its_first_event_and_is_relayed_byte_for_byte() -> None:
    async def silent(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        await asyncio.sleep(LATE)

    async def speaks(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        for piece in STREAM:
            writer.write(chunk(piece))
            await asyncio.sleep(5 * USUAL)
        writer.write(b"0\r\n\r\n")

    async with pool() as here:
        await here.learn(STREAMED)
        here.upstream.script = in_turn(silent, speaks)
        async with connect(here.proxy.port) as client:
            client.send("POST", STREAMED, body=BODY)
            got = await client.head()
            pieces = client.chunks()
            received = [await anext(pieces)]
            await until(lambda: here.upstream.seen[0].closed is not None)
            metrics = (await ask(here.proxy.port, "GET", "/metrics", HOME)).body.decode()
            assert 'answer="abandoned"' in metrics
            received += [piece async for piece in pieces]
        assert (got.status, tuple(received)) == (200, STREAM)
        assert len(here.upstream.seen) == 2


async def test_a_stream_that_has_spoken_is_not_hedged_however_long_it_takes() -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(STREAM[0]))
        await asyncio.sleep(LATE)
        writer.write(chunk(STREAM[1]) + b"0\r\n\r\n")

    async with pool() as here:
        await here.learn(STREAMED)
        here.upstream.script = script
        assert (await here.post(STREAMED)).body == b"".join(STREAM[:2])
        assert len(here.upstream.seen) == 1


@pytest.mark.parametrize("refusal", [MINUTE, OVERLOADED, BARE], ids=["429", "503", "bare"])
async def test_when_the_second_is_refused_that_is_settled_and_the_first_is_relayed(refusal: Answer) -> None:
    async with pool() as here:
        await here.learn()
        here.upstream.script = in_turn(after(LATE, answer(200, b"first")), after(USUAL, raw(refusal)))
        assert (await here.post()).body == b"first"
        assert len(here.upstream.seen) == 2
        assert await here.metrics() == {"refused": 1}
        benched = [key.secret for key in here.proxy.app.rotator.keys if rests(key)]
        assert benched == ([] if refusal is OVERLOADED else [here.upstream.seen[1].key])


async def test_a_second_that_fails_ends_nothing_when_no_retries_are_left() -> None:
    async with pool(MAX_WAIT="0") as here:
        await here.learn()
        here.upstream.script = after(0.0, raw(OVERLOADED))
        for _ in range(60):
            await here.post()
        here.upstream.seen.clear()
        here.upstream.script = in_turn(after(0.5, answer(200, b"first")), after(0.0, raw(OVERLOADED)))
        assert (await here.post()).body == b"first"
        assert len(here.upstream.seen) == 2


async def test_when_the_first_is_refused_the_second_is_relayed() -> None:
    async with pool() as here:
        await here.learn()
        here.upstream.script = in_turn(after(3 * USUAL, raw(MINUTE)), after(3 * USUAL))
        assert (await here.post()).status == 200
        assert len(here.upstream.seen) == 2
        assert await here.metrics() == {"won": 1}
        benched = [key.secret for key in here.proxy.app.rotator.keys if rests(key)]
        assert benched == [here.upstream.seen[0].key]


async def test_when_both_are_refused_the_exchange_goes_on() -> None:
    async with pool() as here:
        await here.learn()
        late, soon = after(5 * USUAL, raw(MINUTE)), after(USUAL, raw(MINUTE))
        here.upstream.script = in_turn(late, soon, after(USUAL))
        assert (await here.post()).status == 200
        assert len({seen.key for seen in here.upstream.seen}) == len(here.upstream.seen) == 3


async def test_when_all_are_refused_the_client_gets_the_last_response() -> None:
    async with pool(2, MAX_WAIT="0") as here:
        await here.learn()
        here.upstream.script = in_turn(after(5 * USUAL, raw(OVERLOADED)), after(USUAL, raw(OVERLOADED)))
        got = await here.post()
        assert (got.status, got.body) == (503, OVERLOADED.body)


@pytest.mark.parametrize("drop", [0, 1], ids=["the first", "the second"])
async def test_a_connection_that_breaks_leaves_the_other(drop: int) -> None:
    async def breaks(_: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3 * USUAL)
        writer.transport.abort()

    async with pool() as here:
        await here.learn()
        scripts = [after(10 * USUAL), after(10 * USUAL)]
        scripts[drop] = breaks
        here.upstream.script = in_turn(*scripts)
        assert (await here.post()).status == 200
        assert len(here.upstream.seen) == 2


async def test_a_client_that_disconnects_closes_both() -> None:
    async with pool() as here:
        await here.learn()
        here.upstream.script = after(LATE)
        async with connect(here.proxy.port) as client:
            client.send("POST", GENERATE, body=BODY)
            await until(lambda: len(here.upstream.seen) == 2)
            now = asyncio.get_running_loop().time()
            client.close()
            await until(lambda: all(seen.closed is not None for seen in here.upstream.seen))
            assert asyncio.get_running_loop().time() - now <= 0.05
        await quiet()
        assert await here.metrics() == {"abandoned": 1}
        assert not here.proxy.app.upstream.busy


async def test_a_stream_that_breaks_off_after_it_has_won_cuts_the_client() -> None:
    async def breaks(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(STREAM[0]))
        await asyncio.sleep(USUAL)
        writer.transport.abort()

    async with pool() as here:
        await here.learn(STREAMED)
        here.upstream.script = in_turn(after(LATE), breaks)
        got = await here.post(STREAMED)
        assert (got.status, got.body, got.whole) == (200, STREAM[0], False)
        await quiet()
        assert not here.proxy.app.upstream.busy


@pytest.mark.parametrize(
    "early",
    [b"", CHUNKED, CHUNKED + chunk(b": wait\r\n\r\n")],
    ids=["the head", "the event", "after a comment"],
)
async def test_of_two_that_speak_together_one_is_relayed(early: bytes) -> None:
    gate: asyncio.Future[None]

    async def waits(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(early)
        await gate
        writer.write(CHUNKED.removeprefix(early) if len(early) < len(CHUNKED) else b"")
        for piece in (b"data: " + seen.key.encode(), b"\r\n\r\n", b"data: end\r\n\r\n"):
            writer.write(chunk(piece))
            await asyncio.sleep(USUAL)
        writer.write(b"0\r\n\r\n")

    async with pool() as here:
        await here.learn(STREAMED)
        here.upstream.script = waits
        for _ in range(5):
            gate = asyncio.get_running_loop().create_future()
            response = asyncio.ensure_future(here.post(STREAMED))
            await until(lambda: len(here.upstream.seen) == 2)
            await quiet()
            gate.set_result(None)
            got = await response
            bodies = [
                b"data: " + seen.key.encode() + b"\r\n\r\ndata: end\r\n\r\n" for seen in here.upstream.seen
            ]
            assert got.whole
            assert got.body.removeprefix(b": wait\r\n\r\n") in bodies
            await quiet()
            here.upstream.seen.clear()


@pytest.mark.parametrize("which", [0, 1], ids=["the first", "the second"])
async def test_a_response_about_the_request_goes_to_the_client_and_the_other_attempt_is_closed(
    which: int,
) -> None:
    wrong = error(400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
    async with pool() as here:
        await here.learn()
        scripts = [after(LATE), after(LATE)]
        scripts[which] = after(3 * USUAL, raw(wrong))
        here.upstream.script = in_turn(*scripts)
        got = await here.post()
        assert (got.status, got.body) == (400, wrong.body)
        await until(lambda: here.upstream.seen[1 - which].closed is not None)
        assert len(here.upstream.seen) == 2


@pytest.mark.parametrize(
    "target",
    [
        "/v1beta/interactions",
        "/v1beta/cachedContents",
        f"{MODEL}:countTokens",
        f"{MODEL}:predictLongRunning",
        "/upload/v1beta/files",
    ],
)
async def test_only_what_generates_and_may_be_repeated_is_hedged(target: str) -> None:
    async with pool() as here:
        await here.learn(target)
        here.upstream.script = after(LATE)
        assert (await here.post(target)).status == 200
        assert len(here.upstream.seen) == 1


async def test_what_names_a_resource_is_not_hedged() -> None:
    body = b'{"contents": [], "cachedContent": "cachedContents/abc"}'
    async with pool() as here:
        await here.learn(body=body)
        here.upstream.script = after(LATE)
        assert (await here.post(body=body)).status == 200
        assert len(here.upstream.seen) == 1


@pytest.mark.parametrize("suffixes", [["1"], ["1__shop", "2__shop"]], ids=["one key", "one project"])
async def test_without_a_second_project_nothing_is_hedged(suffixes: list[str]) -> None:
    named = {f"GOOGLE_API_KEY_{suffix}": f"secret-of-{suffix}" for suffix in suffixes}
    async with RawUpstream(after(USUAL)) as upstream, proxy(upstream.url, named, HEDGE="100%") as running:
        here = Here(upstream, running)
        await here.learn()
        upstream.script = in_turn(after(LATE), after(USUAL))
        assert (await here.post()).status == 200
        assert len(upstream.seen) == 1


async def test_no_project_that_has_used_more_than_half_of_a_quota_is_asked() -> None:
    served: dict[str, list[float]] = {}
    late = False

    async def counts(seen: Seen, writer: asyncio.StreamWriter) -> None:
        now = asyncio.get_running_loop().time()
        calls = served.setdefault(seen.key, [])
        calls[:] = [call for call in calls if call > now - 60.0]
        if len(calls) >= 20:
            about = quota("GenerateRequestsPerMinutePerProjectPerModel", "gemini-2.5-flash", "20")
            told = retry(f"{calls[0] + 60.0 - now:.3f}s")
            writer.write(raw(error(429, "RESOURCE_EXHAUSTED", Q, about, told)))
            return
        calls.append(now)
        await asyncio.sleep(LATE if late and len(here.upstream.seen) == 1 else USUAL)
        writer.write(SERVED)

    async with pool(2) as here:
        await here.learn()
        await asyncio.sleep(100.0)
        here.upstream.script = counts
        for _ in range(42):  # both quotas are spent, and named by a refusal
            await here.post()
        for used, calls in ((32, 1), (8, 2)):  # of the forty of both projects
            await asyncio.sleep(150.0)
            late = False
            for _ in range(used):
                await here.post()
            late = True
            here.upstream.seen.clear()
            assert (await here.post()).status == 200
            assert len(here.upstream.seen) == calls


async def test_nothing_is_hedged_while_others_wait_for_a_key() -> None:
    soon = error(429, "RESOURCE_EXHAUSTED", Q, retry("8s"))
    body = b'{"contents": [{"parts": [{"fileData": {"fileUri": "https://a.example/v1beta/files/abc"}}]}]}'
    async with pool() as here:
        await here.learn()
        here.proxy.app.affinity.learn(["files/abc"], here.proxy.app.rotator.keys[0])
        here.upstream.script = in_turn(after(0.0, raw(soon)), after(5.0), after(USUAL))
        waits = asyncio.ensure_future(here.post(body=body))
        await until(lambda: here.proxy.app.queues.waiting == 1)
        assert (await here.post()).status == 200
        assert len(here.upstream.seen) == 2
        assert not waits.done()
        assert (await waits).status == 200
        here.upstream.seen.clear()
        here.upstream.script = in_turn(after(5.0), after(USUAL))
        assert (await here.post()).status == 200
        assert len(here.upstream.seen) == 2


async def test_max_attempts_counts_a_second_attempt_too() -> None:
    async with pool(MAX_ATTEMPTS="1") as here:
        await here.learn()
        here.upstream.script = in_turn(after(LATE), after(USUAL))
        await here.post()
        assert len(here.upstream.seen) == 1


async def test_no_more_than_the_share_is_hedged() -> None:
    async with pool(hedge="6.25%") as here:
        await here.learn()
        here.upstream.script = after(5.0)
        await asyncio.gather(*(here.post() for _ in range(40)))
        assert sum((await here.metrics()).values()) == (60 + 40) // 16
        assert len(here.upstream.seen) == 40 + 6


async def test_a_reload_switches_it_on_and_off() -> None:
    async with pool(hedge="off") as here:
        reload = here.proxy.app.reload
        reload(settings(here.upstream.url, keys(3), HEDGE="100%"))
        await here.learn()
        for hedge, calls in (("100%", 2), ("0", 1)):
            reload(settings(here.upstream.url, keys(3), HEDGE=hedge))
            here.upstream.script = in_turn(after(LATE), after(USUAL))
            here.upstream.seen.clear()
            await here.post()
            assert len(here.upstream.seen) == calls
