"""When the relay goes on with another key, when it waits, and what the client is told at the end."""

import asyncio
import gzip
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.clocks import TurnedClock, loops_clock
from tests.support.proxy import proxy, rests
from tests.support.waiting import until
from tests.support.wire import CHUNKED, Got, RawUpstream, Script, Seen, always, answer, ask, chunk, connect

GENERATE = "/v1beta/models/gemini-2.0-flash:generateContent"
CHAT = "/v1beta/openai/chat/completions"
OK = answer(200, b'{"ok": 1}', ("Content-Type", "application/json"))
pytestmark = pytest.mark.usefixtures("io_loop")


def keys(count: int) -> dict[str, str]:
    return {f"GOOGLE_API_KEY_{number}": f"secret-of-key-{number}" for number in range(1, count + 1)}


def error(code: int, message: str = "No.", status: str = "X", *details: dict[str, Any]) -> bytes:
    body = {"error": {"code": code, "message": message, "status": status, "details": list(details)}}
    return answer(code, json.dumps(body).encode(), ("Content-Type", "application/json"))


def spent(delay: str) -> bytes:
    """A minute quota that is spent, for the time told."""
    quota = {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "quotaValue": "15"}
    return error(
        429,
        "You exceeded your current quota.",
        "RESOURCE_EXHAUSTED",
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [quota]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    )


INVALID = error(
    400,
    "API key not valid. Please pass a valid API key.",
    "INVALID_ARGUMENT",
    {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"},
)
UNAUTHENTICATED = error(401, "Request had invalid authentication credentials.", "UNAUTHENTICATED")
DISABLED = error(
    403,
    "Generative Language API has not been used in project 70001 before or it is disabled.",
    "PERMISSION_DENIED",
    {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"},
)
FORBIDDEN = error(403, "The caller does not have permission", "PERMISSION_DENIED")
BARE = error(429, "Resource has been exhausted (e.g. check quota).", "RESOURCE_EXHAUSTED")


def by_key(answers: dict[str, bytes]) -> Script:
    """Answers by the number of the key; OK for those not named."""

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.get(seen.key.rpartition("-")[2], OK))

    return script


def in_turn(*answers: bytes) -> Script:
    """One answer after the other, whatever the key; the last one from then on."""
    turns = itertools.chain(answers, itertools.repeat(answers[-1]))

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(next(turns))

    return script


async def drop(_: Seen, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def generate(port: int, target: str = GENERATE, body: bytes = b"{}") -> Got:
    return await ask(port, "POST", target, ("Content-Type", "application/json"), body=body)


def told(got: Got) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(got.body)["error"]
    return content


@pytest.mark.turned
@pytest.mark.parametrize(
    "refusal",
    [spent("60s"), FORBIDDEN, DISABLED, INVALID, UNAUTHENTICATED, BARE],
    ids=["spent", "forbidden", "disabled", "invalid", "unauthenticated", "bare"],
)
async def test_a_refused_key_is_replaced_before_the_client_notices(refusal: bytes) -> None:
    async with (
        RawUpstream(by_key({"1": refusal, "2": refusal})) as upstream,
        proxy(upstream.url, keys(3), loops_clock()) as here,
    ):
        for _ in range(20):
            got = await generate(here.port)
            assert (got.status, got.body) == (200, b'{"ok": 1}')
    refused = [seen.key for seen in upstream.seen if seen.key != "secret-of-key-3"]
    assert len(refused) == len(set(refused)), "a key that rests was asked again"


async def test_the_body_is_the_same_with_every_key() -> None:
    body = json.dumps({"contents": "x" * 300_000}).encode()
    async with RawUpstream(by_key({"1": spent("60s"), "2": FORBIDDEN})) as upstream:
        async with proxy(upstream.url, keys(3)) as here:
            while len({seen.key for seen in upstream.seen}) < 3:
                assert (await generate(here.port, body=body)).status == 200
    assert {seen.body for seen in upstream.seen} == {body}


async def test_a_quota_benches_the_key_for_its_model_only() -> None:
    async with (
        RawUpstream(in_turn(spent("60s"), OK)) as upstream,
        proxy(upstream.url, keys(1), MAX_WAIT="0") as here,
    ):
        assert (await generate(here.port)).status == 429
        assert (await generate(here.port)).status == 429
        assert (await generate(here.port, "/v1/models/gemini-2.5-pro:generateContent")).status == 200
        assert (await ask(here.port, "GET", "/readyz")).status == 200
    assert len(upstream.seen) == 2


async def test_the_same_model_is_meant_on_the_openai_path() -> None:
    async with (
        RawUpstream(in_turn(spent("60s"), OK)) as upstream,
        proxy(upstream.url, keys(1), MAX_WAIT="0") as here,
    ):
        assert (await generate(here.port, CHAT, b'{"model": "gemini-2.0-flash"}')).status == 429
        assert (await generate(here.port)).status == 429
        assert (await generate(here.port, CHAT, b'{"model": "models/gemini-2.5-pro"}')).status == 200
    assert [seen.all("authorization") for seen in upstream.seen] == [["Bearer secret-of-key-1"]] * 2
    assert not any(seen.all("x-goog-api-key") for seen in upstream.seen)


async def test_a_key_whose_project_is_disabled_is_benched_for_all_models() -> None:
    async with RawUpstream(always(DISABLED)) as upstream, proxy(upstream.url, keys(1)) as here:
        first = await generate(here.port)
        assert (first.status, first.body) == (403, DISABLED.partition(b"\r\n\r\n")[2])
        got = await generate(here.port, "/v1/models/gemini-2.5-pro:generateContent")
        assert (got.status, told(got)["status"]) == (429, "RESOURCE_EXHAUSTED")
        assert 290 <= int(got.one("retry-after")) <= 302
        assert "it is disabled." in told(got)["message"]
        assert (await ask(here.port, "GET", "/readyz")).status == 503
    assert len(upstream.seen) == 1


async def test_a_caller_whom_every_key_refuses_sees_that_and_no_key_is_benched() -> None:
    async with RawUpstream(always(FORBIDDEN)) as upstream, proxy(upstream.url, keys(1)) as here:
        upstream.script = always(OK)
        assert (await generate(here.port)).status == 200
        upstream.script = always(FORBIDDEN)
        got = await generate(here.port)
        assert (got.status, told(got)["message"]) == (403, "The caller does not have permission")
        assert (await ask(here.port, "GET", "/readyz")).status == 200
        assert here.app.rotator.keys[0].callers == {}
        upstream.script = always(OK)
        assert (await generate(here.port)).status == 200
    assert len(upstream.seen) == 3


@pytest.mark.turned
async def test_when_all_keys_are_benched_longer_than_max_wait_the_client_is_told_when_to_retry() -> None:
    clock = loops_clock()
    async with RawUpstream(always(spent("41s"))) as upstream, proxy(upstream.url, keys(3), clock) as here:
        began = clock()
        got = await generate(here.port)
        assert clock() - began < 5
    assert (got.status, told(got)["code"], told(got)["status"]) == (429, 429, "RESOURCE_EXHAUSTED")
    seconds = int(got.one("retry-after"))
    assert 41 <= seconds <= 43
    quota = {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "quotaValue": "15"}
    assert told(got)["details"] == [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [quota]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"},
    ]
    assert "You exceeded your current quota." in told(got)["message"]
    assert got.one("access-control-allow-origin") == "*"
    assert len(upstream.seen) == 3


@pytest.mark.turned
async def test_a_request_waits_for_the_first_key_to_come_back() -> None:
    clock = loops_clock()
    async with (
        RawUpstream(in_turn(spent("1s"), spent("1s"), OK)) as upstream,
        proxy(upstream.url, keys(2), clock) as here,
    ):
        began = clock()
        assert (await generate(here.port)).status == 200
        assert 1.0 <= clock() - began < 5
    assert len(upstream.seen) == 3


@pytest.mark.turned
async def test_those_who_wait_are_served_in_order_of_arrival_one_at_a_time() -> None:
    served: list[bytes] = []
    clock = loops_clock()
    spent_until = clock() + 1.0

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if clock() < spent_until:
            writer.write(spent("1s"))
        else:
            served.append(seen.body)
            writer.write(OK)

    async with RawUpstream(script) as upstream, proxy(upstream.url, keys(1), clock) as here:
        first = asyncio.ensure_future(generate(here.port, body=b"0"))
        await until(lambda: here.app.queues.waiting == 1)
        others = []
        for number in range(1, 20):
            others.append(asyncio.ensure_future(generate(here.port, body=b"%d" % number)))
            await until(lambda number=number: here.app.queues.waiting == number + 1)  # type: ignore[misc]
        assert {got.status for got in await asyncio.gather(first, *others)} == {200}
        assert here.app.queues.waiting == 0
    assert len(served) == 20
    # Those that are sent at the same moment, a few at first, may overtake each other on the way.
    assert all(abs(int(number) - place) < 6 for place, number in enumerate(served))
    assert len(upstream.seen) <= 22


@pytest.mark.turned
async def test_a_client_that_disconnects_while_it_waits_leaves_the_queue() -> None:
    clock = loops_clock()
    async with RawUpstream(in_turn(spent("1s"), OK)) as upstream, proxy(upstream.url, keys(1), clock) as here:
        async with connect(here.port) as leaver:
            leaver.send("POST", GENERATE, body=b"leaver")
            await until(lambda: here.app.queues.waiting == 1)
            stays = asyncio.ensure_future(generate(here.port, body=b"stays"))
            await until(lambda: here.app.queues.waiting == 2)
        await until(lambda: here.app.queues.waiting == 1)
        assert (await stays).status == 200
    assert [seen.body for seen in upstream.seen] == [b"leaver", b"stays"]


@pytest.mark.turned
async def test_waiting_ends_with_max_wait() -> None:
    async with (
        RawUpstream(always(spent("1s"))) as upstream,
        proxy(upstream.url, keys(1), loops_clock(), MAX_WAIT="1.5") as here,
    ):
        got = await generate(here.port)
        assert (got.status, here.app.queues.waiting) == (429, 0)
    assert len(upstream.seen) == 2


@pytest.mark.turned
async def test_refusals_without_a_reason_go_through_all_keys_one_at_a_time_and_are_no_keys_fault() -> None:
    clock, sent = loops_clock(), []

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        sent.append(clock())
        writer.write(BARE)

    async with RawUpstream(script) as upstream, proxy(upstream.url, keys(10), clock) as here:
        got = await generate(here.port)
        assert (got.status, got.body) == (429, BARE.partition(b"\r\n\r\n")[2])
        assert not any(rests(key) for key in here.app.rotator.keys)
    assert len(upstream.seen) == len({seen.key for seen in upstream.seen}) == 10
    # Three find out; then a search begins, whose pauses grow from 50 ms.
    assert sent[2] - sent[0] < 0.05
    pauses = [later - earlier for earlier, later in itertools.pairwise(sent[2:])]
    assert all(pause >= 0.05 for pause in pauses)
    assert sum(pauses) < 10


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_without_time_to_wait_a_server_error_is_tried_three_times_and_passed_on(status: int) -> None:
    async with RawUpstream(always(error(status, "Internal error encountered."))) as upstream:
        async with proxy(upstream.url, keys(10), MAX_WAIT="0") as here:
            got = await generate(here.port)
    assert (got.status, told(got)["message"]) == (status, "Internal error encountered.")
    tries = 2 if status == 504 else 3  # a deadline that was run into was a long wait
    assert len(upstream.seen) == len({seen.key for seen in upstream.seen}) == tries


@pytest.mark.turned
@pytest.mark.parametrize("script", [always(error(503)), drop], ids=["503", "reset"])
async def test_server_errors_are_retried_again_within_max_wait_after_pauses_that_grow(script: Script) -> None:
    clock, sent = loops_clock(), []

    async def noted(seen: Seen, writer: asyncio.StreamWriter) -> None:
        sent.append(clock())
        await script(seen, writer)

    async with RawUpstream(noted) as upstream, proxy(upstream.url, keys(20), clock, MAX_WAIT="10") as here:
        began = clock()
        assert (await generate(here.port)).status >= 500
        assert clock() - began < 10.5
        assert not any(rests(key) for key in here.app.rotator.keys)
    assert len({seen.key for seen in upstream.seen}) == len(upstream.seen) >= 7
    assert sent[-1] - sent[0] <= 10.1  # the last try is made when the time is over
    for number, (earlier, later) in enumerate(itertools.pairwise(sent[:-1])):
        assert min(0.05 * 2**number, 2.0) <= later - earlier < min(0.25 * 2**number, 2.0) + 0.1


@pytest.mark.turned
async def test_server_errors_of_every_call_cost_no_more_than_the_retry_budget() -> None:
    async with RawUpstream(always(error(503))) as upstream:
        async with proxy(upstream.url, keys(5), TurnedClock(), MAX_WAIT="0") as here:
            for _ in range(200):
                assert (await generate(here.port)).status == 503
    assert len(upstream.seen) == 200 + 50  # which are saved up; only what is served earns more


@pytest.mark.turned
async def test_each_served_request_pays_for_two_retries() -> None:
    async with RawUpstream(always(error(503))) as upstream:
        async with proxy(upstream.url, keys(5), TurnedClock(), MAX_WAIT="0") as here:
            for _ in range(50):
                await generate(here.port)
            upstream.script = always(OK)
            for _ in range(10):
                assert (await generate(here.port)).status == 200
            upstream.script = always(error(503))
            upstream.seen.clear()
            for _ in range(50):
                assert (await generate(here.port)).status == 503
    assert len(upstream.seen) == 50 + 2 * 10


async def test_a_server_error_costs_no_key_its_rank() -> None:
    async with RawUpstream(in_turn(error(503), OK)) as upstream, proxy(upstream.url, keys(1)) as here:
        for _ in range(3):
            assert (await generate(here.port)).status == 200
    assert len(upstream.seen) == 4


@pytest.mark.parametrize(
    "target",
    [
        "/v1beta/interactions",
        "/v1beta/cachedContents",
        "/v1beta/batches",
        "/v1beta/models/veo-3:predictLongRunning",
        "/v1beta/models/gemini-2.5-flash:batchGenerateContent",
        "/v1beta/fileSearchStores",
    ],
)
async def test_what_creates_something_is_not_repeated_after_a_server_error(target: str) -> None:
    async with RawUpstream(always(error(503))) as upstream, proxy(upstream.url, keys(5)) as here:
        assert (await generate(here.port, target)).status == 503
        upstream.script = drop
        assert (await generate(here.port, target)).status == 500
    assert len(upstream.seen) == 2


async def test_what_creates_something_does_go_on_with_another_key() -> None:
    async with RawUpstream(by_key({"1": spent("60s"), "2": FORBIDDEN})) as upstream:
        async with proxy(upstream.url, keys(3)) as here:
            for _ in range(6):
                assert (await generate(here.port, "/v1beta/cachedContents")).status == 200


async def test_without_time_to_wait_a_connection_that_breaks_early_is_tried_three_times() -> None:
    async with RawUpstream(drop) as upstream, proxy(upstream.url, keys(5), MAX_WAIT="0") as here:
        got = await generate(here.port)
        assert (got.status, told(got)["status"]) == (500, "UNAVAILABLE")
        assert "broke off" in told(got)["message"]
        assert here.app.rotator.usable
    assert len(upstream.seen) == 3


async def test_a_reused_connection_that_was_closed_meanwhile_costs_no_more_attempts() -> None:
    async with RawUpstream(always(OK)) as upstream, proxy(upstream.url, keys(5), MAX_WAIT="0") as here:
        assert (await generate(here.port)).status == 200
        upstream.script = drop
        assert (await generate(here.port)).status == 500
    assert len(upstream.seen) == 1 + 3


async def test_an_upstream_that_is_not_there_is_reported() -> None:
    async with RawUpstream(always(OK)) as upstream:
        url = upstream.url
    async with proxy(url, keys(5)) as here:
        got = await generate(here.port)
    assert (got.status, told(got)["status"]) == (500, "UNAVAILABLE")
    assert "could not be reached: no connection to its address" in told(got)["message"]


async def test_a_response_that_is_not_http_is_an_upstream_failure() -> None:
    async with (
        RawUpstream(always(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")) as upstream,
        proxy(upstream.url, keys(5)) as here,
    ):
        got = await generate(here.port)
    assert (got.status, told(got)["status"]) == (500, "UNAVAILABLE")


@pytest.mark.parametrize("status", [400, 404, 409, 413, 416, 418, 499])
async def test_a_client_error_is_passed_on_as_it_was(status: int) -> None:
    body = b'{\n  "error": {"message": "Invalid JSON payload received."}}'
    sent = answer(
        status, body, ("Content-Type", "text/event-stream"), ("X-A", "1"), ("X-A", "2"), reason="Oh Dear"
    )
    async with RawUpstream(always(sent)) as upstream, proxy(upstream.url, keys(5)) as here:
        got = await generate(here.port)
    assert (got.status, got.reason, got.body) == (status, "Oh Dear", body)
    assert (got.one("content-type"), got.all("x-a")) == ("text/event-stream", ["1", "2"])
    assert len(upstream.seen) == 1


async def test_a_region_that_is_not_served_costs_one_attempt_and_no_key() -> None:
    refusal = error(400, "User location is not supported for the API use.", "FAILED_PRECONDITION")
    async with RawUpstream(always(refusal)) as upstream, proxy(upstream.url, keys(5)) as here:
        assert (await generate(here.port)).status == 400
        assert here.app.rotator.usable
    assert len(upstream.seen) == 1


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/v1beta/files/abc", b""),
        (GENERATE, b'{"contents": [{"parts": [{"fileData": {"fileUri": "https://x/v1beta/files/abc"}}]}]}'),
        (GENERATE, b'{"cachedContent": "cachedContents/abc"}'),
    ],
)
async def test_a_resource_of_another_keys_project_is_found_by_asking(target: str, body: bytes) -> None:
    stranger = error(
        403, "You do not have permission to access the File abc or it may not exist.", "PERMISSION_DENIED"
    )
    others = {str(number): stranger for number in range(1, 8)}
    async with RawUpstream(by_key(others)) as upstream, proxy(upstream.url, keys(8)) as here:
        for _ in range(4):
            assert (await ask(here.port, "POST" if body else "GET", target, body=body)).status == 200
        assert not any(rests(key) for key in here.app.rotator.keys)
        others["8"] = stranger
        upstream.seen.clear()
        got = await ask(here.port, "POST" if body else "GET", target, body=body)
    assert (got.status, "File abc" in told(got)["message"]) == (403, True)
    assert len(upstream.seen) == len({seen.key for seen in upstream.seen}) == 8


async def test_max_attempts_is_the_most_that_a_request_costs() -> None:
    async with (
        RawUpstream(always(spent("60s"))) as upstream,
        proxy(upstream.url, keys(9), MAX_ATTEMPTS="2") as here,
    ):
        got = await generate(here.port)
    assert (got.status, int(got.one("retry-after"))) == (429, 1)
    assert len(upstream.seen) == 2


async def test_without_any_key_the_response_is_401() -> None:
    async with proxy("http://127.0.0.1:9", {}) as here:
        got = await generate(here.port)
        assert (got.status, told(got)["status"]) == (401, "UNAUTHENTICATED")
        assert (await ask(here.port, "GET", "/readyz")).status == 503


async def test_when_all_keys_are_called_dead_the_client_sees_that_and_401_once_it_is_proved() -> None:
    clock = TurnedClock()
    async with (
        RawUpstream(always(INVALID)) as upstream,
        proxy(upstream.url, keys(2), clock, MAX_WAIT="0") as here,
    ):
        got = await generate(here.port)
        assert (got.status, got.body) == (400, INVALID.partition(b"\r\n\r\n")[2])
        assert len(upstream.seen) == 2
        for _ in range(120):
            clock.turn(2)
            got = await generate(here.port)
            if got.status == 401:
                break
        assert all(key.retired for key in here.app.rotator.keys)
        assert clock() >= here.app.rotator.keys[0].deaths.first_at + 60
        upstream.seen.clear()
        got = await generate(here.port)
        assert (got.status, told(got)["status"]) == (401, "UNAUTHENTICATED")
        assert "API key not valid" in told(got)["message"]
    assert upstream.seen == []


SUSPENDED = "Permission denied: Consumer 'api_key:secret-of-key-1' has been suspended."


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
async def test_a_key_in_an_error_text_reaches_neither_client_nor_log(
    pack: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    body = json.dumps({"error": {"code": 404, "message": SUSPENDED + SUSPENDED + SUSPENDED}}).encode()
    fields = [("Content-Encoding", "gzip")] if pack is gzip.compress else []
    sent = answer(404, pack(body), ("X-Debug", "key=secret-of-key-1"), *fields)
    async with RawUpstream(always(sent)) as upstream, proxy(upstream.url, keys(2)) as here:
        got = await generate(here.port)
    assert got.status == 404
    assert "secret-of-key" not in str(got.fields) + got.body.decode() + caplog.text
    assert told(got)["message"].count("api_key:[key 1]") == 3
    assert got.one("x-debug") == "key=[key 1]"


async def test_an_error_that_cant_be_read_is_not_passed_on() -> None:
    sent = answer(404, b"(\xb5/\xfd secret-of-key-1", ("Content-Encoding", "zstd"))
    async with RawUpstream(always(sent)) as upstream, proxy(upstream.url, keys(2)) as here:
        got = await generate(here.port)
    assert (got.status, b"secret" in got.body, got.all("content-encoding")) == (404, False, [])


async def test_an_endless_error_is_given_up() -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED.replace(b"200", b"404"))
        while True:
            writer.write(chunk(bytes(65536)))
            await writer.drain()

    async with RawUpstream(script) as upstream, proxy(upstream.url, keys(2)) as here:
        assert (await generate(here.port)).status == 404
        await until(lambda: upstream.seen[0].closed is not None)
