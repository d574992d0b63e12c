"""What the request log gets of each request: metadata, and every attempt, but no content."""

import asyncio
import json

import pytest

from proxycore.http.access_record import RequestOutcome
from proxycore.storage.rows import AttemptRow, EventKind
from tests.relay.test_live import SETUP, closed, echo, session
from tests.relay.test_live import upstream as live_upstream
from tests.relay.test_relay_failover import BARE, DISABLED, GENERATE, INVALID, by_key, drop, keys
from tests.support.clocks import TurnedClock, loops_clock
from tests.support.google_errors import minute_spent
from tests.support.journal import Kept
from tests.support.proxy import proxy
from tests.support.waiting import until
from tests.support.wire import CHUNKED, RawUpstream, Seen, always, answer, ask, chunk, connect

pytestmark = pytest.mark.usefixtures("io_loop")
USAGE = {"promptTokenCount": 7, "candidatesTokenCount": 3, "cachedContentTokenCount": 2}
OK = answer(200, json.dumps({"usageMetadata": USAGE}).encode(), ("Content-Type", "application/json"))
REGION = {
    "code": 400,
    "message": "User location is not supported for the API use.",
    "status": "FAILED_PRECONDITION",
}
CLIENT = ("x-goog-api-key", "the-key-of-alice")


def shown(attempts: tuple[AttemptRow, ...]) -> list[tuple[str, int, str, str]]:
    return [(one.key, one.status, one.verdict, one.why) for one in attempts]


async def test_a_served_request_is_kept_with_its_tokens_and_its_attempt() -> None:
    async with RawUpstream(always(OK)) as upstream:
        async with proxy(upstream.url, keys(1), OUTPUT_API_KEY_ALICE=CLIENT[1]) as here:
            kept = Kept(here)
            before = here.app.pool.clock.wall()
            got = await ask(here.port, "POST", f"{GENERATE}?key=x&q=a", CLIENT, body=b'{"a": 1}')
            row = await kept.row()
    assert row.id == got.one("X-Request-Id")
    assert before - 1 <= row.time <= before + 60
    assert (row.client, row.address) == ("ALICE", "127.0.0.1")
    assert (row.method, row.path, row.model) == ("POST", GENERATE, "gemini-2.0-flash")
    assert (row.key, row.status, row.outcome) == ("1", 200, RequestOutcome.SERVED)
    assert (row.input_tokens, row.output_tokens, row.unread) == (7, 3, False)
    assert (row.received_bytes, row.sent_bytes) == (8, len(got.body))
    assert row.first_byte is not None
    assert 0 <= row.first_byte <= row.seconds
    assert shown(row.attempts) == [("1", 200, "served", "")]
    assert 0 <= row.attempts[0].seconds <= row.seconds
    assert 0 <= row.attempts[0].at <= row.seconds
    assert (row.why, row.waited) == ("", 0.0)


async def test_every_attempt_is_kept_with_why_it_failed() -> None:
    async with RawUpstream(by_key({"1": INVALID, "2": BARE})) as upstream:
        async with proxy(upstream.url, keys(3)) as here:
            kept = Kept(here)
            statuses = [(await ask(here.port, "POST", GENERATE, body=b"{}")).status for _ in range(6)]
            await until(lambda: len(kept.requests) == 6)
    assert set(statuses) == {200}
    failed = {one.key: one for row in kept.requests for one in row.attempts if one.key != "3"}
    assert shown(tuple(failed[key] for key in "12")) == [
        ("1", 400, "failover", "API key not valid or expired"),
        ("2", 429, "compare", "refused without a reason"),
    ]
    assert all(row.attempts[-1].key == row.key == "3" for row in kept.requests)
    causes = {event.request for event in kept.events if event.kind in {EventKind.BENCHED, EventKind.RETIRED}}
    assert causes <= {row.id for row in kept.requests if len(row.attempts) > 1}
    assert "1" in {event.key for event in kept.events}


async def test_an_attempt_without_a_response_has_no_status() -> None:
    async with RawUpstream(drop) as upstream:
        async with proxy(upstream.url, keys(1), MAX_ATTEMPTS="1") as here:
            kept = Kept(here)
            assert (await ask(here.port, "POST", GENERATE, body=b"{}")).status == 500
            row = await kept.row()
    assert (row.status, row.outcome) == (500, RequestOutcome.FAILED)
    assert shown(row.attempts) == [("1", 0, "retry", "upstream error")]


async def test_a_request_whose_client_leaves_is_kept_with_the_attempt_in_flight() -> None:
    async def silent(_: Seen, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(600)

    async with RawUpstream(silent) as upstream, proxy(upstream.url, keys(1)) as here:
        kept = Kept(here)
        async with connect(here.port) as client:
            client.send("POST", GENERATE, body=b"{}")
            await until(lambda: bool(upstream.seen))
        row = await kept.row()
    assert (row.status, row.outcome, row.first_byte) == (499, RequestOutcome.LEFT, None)
    assert shown(row.attempts) == [("1", 0, "abandoned", "")]


async def test_a_response_that_breaks_off_is_kept_as_cut() -> None:
    async def broken(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"words"))
        await writer.drain()
        writer.close()

    async with RawUpstream(broken) as upstream, proxy(upstream.url, keys(1)) as here:
        kept = Kept(here)
        async with connect(here.port) as client:
            client.send("POST", GENERATE, body=b"{}")
            await client.reader.read()
        row = await kept.row()
    assert (row.status, row.outcome, row.sent_bytes) == (200, RequestOutcome.CUT, 5)


async def test_requests_that_are_refused_are_kept_without_an_attempt() -> None:
    async with RawUpstream(always(OK)) as upstream:
        async with proxy(upstream.url, {}, OUTPUT_API_KEY_ALICE=CLIENT[1]) as here:
            kept = Kept(here)
            assert (await ask(here.port, "POST", GENERATE, body=b"{}")).status == 401
            assert (await ask(here.port, "POST", GENERATE, CLIENT, body=b"{}")).status == 401
            await until(lambda: len(kept.requests) == 2)
    wrong, no_key = kept.requests
    assert (wrong.client, wrong.outcome, wrong.attempts) == ("-", RequestOutcome.CLIENT_ERROR, ())
    assert (no_key.client, no_key.outcome, no_key.attempts) == ("ALICE", RequestOutcome.REFUSED, ())


MODEL, LIMIT = {"CLIENT_ALICE": "models=gemini-3*"}, {"CLIENT_ALICE": "requests=1/minute"}


@pytest.mark.parametrize(
    ("variables", "upstreams", "status", "why"),
    [
        ({"OUTPUT_API_KEY": "another"}, OK, 401, "The API key is missing or invalid"),
        (LIMIT, OK, 429, "Client ALICE has reached its limit of 1 requests per minute"),
        (MODEL, OK, 403, "Client ALICE may not use the model gemini-2.0-flash"),
        ({"MAX_BODY_MB": "0.001"}, OK, 413, "The request body is larger than"),
        ({"MAX_WAIT": "0"}, BARE, 429, "No Gemini API key is available for gemini-2.0-flash ("),
    ],
    ids=["credential", "limit", "model", "size", "keys"],
)
async def test_a_response_of_the_proxys_own_is_kept_with_its_reason(
    variables: dict[str, str], upstreams: bytes, status: int, why: str
) -> None:
    clients = {} if "OUTPUT_API_KEY" in variables else {"OUTPUT_API_KEY_ALICE": CLIENT[1]}
    async with RawUpstream(always(upstreams)) as upstream:
        async with proxy(upstream.url, keys(1) | clients | variables) as here:
            kept = Kept(here)
            got = [await ask(here.port, "POST", GENERATE, CLIENT, body=b" " * 2000) for _ in range(2)]
            await until(lambda: len(kept.requests) == 2)
    assert got[1].status == kept.requests[1].status == status
    assert kept.requests[1].why.startswith(why)


async def test_a_live_session_that_is_refused_once_it_is_open_is_kept_with_the_reason() -> None:
    variables = keys(1) | {"OUTPUT_API_KEY_ALICE": CLIENT[1]} | MODEL
    async with live_upstream(echo) as url, proxy(url, variables) as here:
        kept = Kept(here)
        async with session(here, additional_headers=[CLIENT]) as client:
            await client.send(json.dumps(SETUP))
            assert (await closed(client))[0] == 1008
        row = await kept.row()
    assert (row.status, row.outcome) == (403, RequestOutcome.CLIENT_ERROR)
    assert row.why == "Client ALICE may not use the model gemini-2.5-flash-live-preview"


async def test_a_refusal_of_the_upstreams_has_no_reason_of_the_proxys() -> None:
    missing = answer(404, json.dumps({"error": {"code": 404, "message": "No such model."}}).encode())
    async with RawUpstream(always(missing)) as upstream, proxy(upstream.url, keys(1)) as here:
        kept = Kept(here)
        assert (await ask(here.port, "POST", GENERATE, body=b"{}")).status == 404
        row = await kept.row()
    assert (row.why, row.waited) == ("", 0.0)
    assert row.attempts[-1].why


async def test_a_reason_is_short_and_has_no_secret() -> None:
    secret = keys(1)["GOOGLE_API_KEY_1"]
    limits = {"OUTPUT_API_KEY_ALICE": CLIENT[1], "CLIENT_ALICE": "models=gemini-3*"}
    async with RawUpstream(always(OK)) as upstream, proxy(upstream.url, keys(1) | limits) as here:
        kept = Kept(here)
        path = f"/v1beta/models/{secret}{'x' * 4000}:generateContent"
        assert (await ask(here.port, "POST", path, CLIENT, body=b"{}")).status == 403
        row = await kept.row()
    assert row.why.startswith("Client ALICE may not use the model [")
    assert secret not in row.why
    assert len(row.why) <= 300


@pytest.mark.turned
async def test_a_wait_for_a_key_is_kept_and_when_each_attempt_began() -> None:
    clock = loops_clock()
    spent, spent_until = minute_spent("gemini-2.0-flash", 15, 2.0), clock() + 2.0

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.25)
        writer.write(answer(spent.status, spent.body, *spent.fields) if clock() < spent_until else OK)

    async with RawUpstream(script) as upstream, proxy(upstream.url, keys(1), clock, MAX_WAIT="30") as here:
        kept = Kept(here)
        assert (await ask(here.port, "POST", GENERATE, body=b"{}")).status == 200
        row = await kept.row()
    refused, served = row.attempts
    assert refused.at < 0.1
    assert 1.5 < row.waited < row.seconds - 0.4
    assert served.at == pytest.approx(refused.at + refused.seconds + row.waited, abs=0.1)
    assert row.why == ""


@pytest.mark.turned
async def test_a_client_that_leaves_while_it_waits_has_waited() -> None:
    clock, spent = loops_clock(), minute_spent("gemini-2.0-flash", 15, 20.0)
    answers = answer(spent.status, spent.body, *spent.fields)
    async with RawUpstream(always(answers)) as upstream:
        async with proxy(upstream.url, keys(1), clock, MAX_WAIT="60") as here:
            kept = Kept(here)
            async with connect(here.port) as client:
                client.send("POST", GENERATE, body=b"{}")
                await until(lambda: here.app.queues.waiting == 1)
                began = clock()
                await asyncio.sleep(3)
            row = await kept.row()
            assert 3 <= row.waited <= clock() - began + 0.1
            await until(lambda: here.app.queues.waiting == 0)
    assert (row.outcome, row.why) == (RequestOutcome.LEFT, "")


async def test_a_bench_and_its_end_are_events_of_the_requests_that_caused_them() -> None:
    clock, answers = TurnedClock(), {"1": DISABLED}
    async with RawUpstream(by_key(answers)) as upstream:
        async with proxy(upstream.url, keys(2), clock, FORBIDDEN_BENCH_SECONDS="60") as here:
            kept = Kept(here)
            for _ in range(20):
                await ask(here.port, "POST", GENERATE, body=b"{}")
            (benched,) = kept.events
            answers.clear()
            clock.turn(70)
            for _ in range(20):
                await ask(here.port, "POST", GENERATE, body=b"{}")
            await until(lambda: len(kept.requests) == 40)
    _, recovered = kept.events
    (failed,) = [row for row in kept.requests if len(row.attempts) == 2]
    assert (benched.kind, benched.key, benched.why) == (EventKind.BENCHED, "1", "SERVICE_DISABLED")
    assert benched.request == failed.id
    assert benched.until is not None
    assert 60 <= benched.until - benched.time <= 63
    assert (recovered.kind, recovered.key, recovered.until) == (EventKind.RECOVERED, "1", None)
    assert recovered.request in {row.id for row in kept.requests if row.key == "1"}


async def test_an_outage_is_two_events_of_the_whole_pool() -> None:
    clock = TurnedClock()
    answers = {"1": answer(400, json.dumps({"error": REGION}).encode(), ("Content-Type", "application/json"))}
    async with RawUpstream(by_key(answers)) as upstream, proxy(upstream.url, keys(1), clock) as here:
        kept = Kept(here)
        first = await ask(here.port, "POST", GENERATE, body=b"{}")
        answers.clear()
        clock.turn(5)
        second = await ask(here.port, "POST", GENERATE, body=b"{}")
        await until(lambda: len(kept.events) == 2)
    began, ended = kept.events
    assert [began.request, ended.request] == [one.one("X-Request-Id") for one in (first, second)]
    assert (began.kind, began.key, ended.kind) == (EventKind.OUTAGE_BEGAN, "", EventKind.OUTAGE_ENDED)
    assert began.why == "Google does not support this server's region: set UPSTREAM_PROXY"
    assert ended.why == "outage over after 5 s: region not supported"


async def test_an_outage_that_a_search_found_has_the_requests_that_were_refused_last_and_served_first() -> (
    None
):
    clock = TurnedClock()
    answers = dict.fromkeys("1234", BARE)
    async with RawUpstream(by_key(answers)) as upstream:
        async with proxy(upstream.url, keys(4), clock, MAX_WAIT="0") as here:
            kept = Kept(here)
            asked = []
            for _ in range(12):
                asked.append((await ask(here.port, "POST", GENERATE, body=b"{}")).one("X-Request-Id"))
                clock.turn(1.5)
            answers.clear()
            served = await ask(here.port, "POST", GENERATE, body=b"{}")
            await until(lambda: len(kept.events) == 2)
    began, ended = kept.events
    assert (began.kind, began.about, began.key) == (EventKind.OUTAGE_BEGAN, "gemini-2.0-flash", "")
    assert began.request in asked
    assert (ended.kind, ended.request) == (EventKind.OUTAGE_ENDED, served.one("X-Request-Id"))


async def test_a_refusal_for_money_is_an_event_of_every_key_of_the_account() -> None:
    error = {"code": 402, "message": "Your prepayment credits are depleted.", "status": "RESOURCE_EXHAUSTED"}
    spent = answer(402, json.dumps({"error": error}).encode(), ("Content-Type", "application/json"))
    named = {f"GOOGLE_API_KEY_{name}__project{name}__acme": f"upstream-{name}" for name in "123"}
    async with RawUpstream(by_key(dict.fromkeys("123", spent))) as upstream:
        async with proxy(upstream.url, named | {"GOOGLE_API_KEY_4": "upstream-4"}) as here:
            kept = Kept(here)
            for _ in range(12):
                assert (await ask(here.port, "POST", GENERATE, body=b"{}")).status == 200
            await until(lambda: len(kept.requests) == 12)
    (failed,) = [row for row in kept.requests if len(row.attempts) == 2]
    assert {event.key for event in kept.events} == {"1", "2", "3"}
    assert {(event.kind, event.request) for event in kept.events} == {(EventKind.BENCHED, failed.id)}
    assert {event.why for event in kept.events} == {failed.attempts[0].why}
