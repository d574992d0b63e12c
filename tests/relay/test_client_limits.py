"""A client with limits: what it may do is served, what is over a limit is refused as Google would."""

import asyncio
import json
from datetime import timedelta

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidStatus

from tests.relay.test_live import LIVE, SETUP, closed, echo, session, upstream
from tests.support.clocks import TurnedClock
from tests.support.proxy import KEYS, Proxy, proxy, settings
from tests.support.waiting import until
from tests.support.wire import CHUNKED, Got, RawUpstream, Seen, always, answer, ask, chunk, connect

pytestmark = pytest.mark.usefixtures("io_loop")
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
CHAT = "/v1beta/openai/chat/completions"
ANN, BOB = ("x-goog-api-key", "the-key-of-ann"), ("x-goog-api-key", "the-key-of-bob")
CLIENTS = KEYS | {"OUTPUT_API_KEY_ANN": ANN[1], "OUTPUT_API_KEY_BOB": BOB[1]}
SERVED = answer(200, b'{"usageMetadata": {"promptTokenCount": 30, "candidatesTokenCount": 20}}')


async def generate(here: Proxy, client: tuple[str, str] = ANN, target: str = GENERATE) -> Got:
    return await ask(here.port, "POST", target, client, body=b'{"model": "gemini-2.5-flash"}')


def seconds_told(got: Got) -> int:
    """The wait that a 429 names, which is the same in its field and its detail."""
    assert got.status == 429
    error = json.loads(got.body)["error"]
    assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")
    failure, retry = error["details"]
    assert failure["@type"] == "type.googleapis.com/google.rpc.QuotaFailure"
    assert retry == {
        "@type": "type.googleapis.com/google.rpc.RetryInfo",
        "retryDelay": f"{got.one('retry-after')}s",
    }
    return int(got.one("retry-after"))


async def test_requests_over_the_rate_are_refused_until_the_time_that_is_told() -> None:
    clock = TurnedClock()
    async with (
        RawUpstream(always(SERVED)) as google,
        proxy(google.url, CLIENTS, clock, CLIENT_ANN="requests=2/minute") as here,
    ):
        assert (await generate(here)).status == 200
        clock.turn(10.5)
        assert (await generate(here)).status == 200
        clock.turn(1)
        for target in (GENERATE, CHAT):
            refused = await generate(here, target=target)
            told = seconds_told(refused)
            assert told == 49
            assert b"limit of 2 requests per minute. Retry in 49s." in refused.body
        assert (await generate(here, BOB)).status == 200  # who has no limits
        clock.turn(told - 1)
        assert seconds_told(await generate(here)) == 1
        clock.turn(1)
        assert (await generate(here)).status == 200
        assert len(google.seen) == 4


async def test_the_details_name_the_limit() -> None:
    async with (
        RawUpstream(always(SERVED)) as google,
        proxy(google.url, CLIENTS, CLIENT_ANN="requests=1/hour") as here,
    ):
        await generate(here)
        (violation,) = json.loads((await generate(here)).body)["error"]["details"][0]["violations"]
    assert violation["quotaId"] == "RequestsPerHourPerClient"
    assert (violation["quotaValue"], violation["quotaDimensions"]) == ("1", {"client": "ANN"})


async def test_a_day_ends_at_midnight_in_california() -> None:
    clock = TurnedClock()
    async with (
        RawUpstream(always(SERVED)) as google,
        proxy(google.url, CLIENTS, clock, CLIENT_ANN="requests=1/day") as here,
    ):
        assert (await generate(here)).status == 200
        told = seconds_told(await generate(here))
        assert 0 < told <= 25 * 3600
        clock.turn(told - 1)
        assert (await generate(here)).status == 429
        clock.turn(1)
        assert (await generate(here)).status == 200


@pytest.mark.parametrize("target", [GENERATE, GENERATE.replace(":g", ":streamG") + "?alt=sse", CHAT])
async def test_tokens_that_were_spent_refuse_the_next_request(target: str) -> None:
    clock = TurnedClock()
    async with (
        RawUpstream(always(SERVED)) as google,
        proxy(google.url, CLIENTS, clock, CLIENT_ANN="tokens=60/minute") as here,
    ):
        assert [(await generate(here, target=target)).status for _ in range(2)] == [200, 200]
        assert seconds_told(await generate(here, target=target)) == 60
        clock.turn(60)
        assert (await generate(here, target=target)).status == 200


async def test_a_request_in_progress_takes_a_place_until_its_response_ends() -> None:
    done = asyncio.Event()

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"data: {}\r\n\r\n"))
        await done.wait()
        writer.write(b"0\r\n\r\n")

    async with (
        RawUpstream(script) as google,
        proxy(google.url, CLIENTS, CLIENT_ANN="concurrent=2") as here,
        connect(here.port) as one,
        connect(here.port) as two,
    ):
        for client in (one, two):
            client.send("POST", GENERATE, ANN, body=b"{}")
            await client.head()
        assert seconds_told(await generate(here)) == 1
        one.close()  # the client disconnects
        await until(lambda: len(here.app.context.running) == 1)
        done.set()
        assert (await generate(here)).status == 200
        await until(lambda: not here.app.context.running)
        assert [(await generate(here)).status for _ in range(5)] == [200] * 5


async def test_a_live_session_takes_a_place_until_it_is_closed() -> None:
    async with upstream(echo) as google, proxy(google, CLIENTS, CLIENT_ANN="concurrent=1") as here:
        async with session(here, additional_headers=[ANN]) as live:
            await live.send(json.dumps(SETUP))
            await live.recv()
            with pytest.raises(InvalidStatus) as refused:
                async with session(here, additional_headers=[ANN]):
                    pass
            assert refused.value.response.status_code == 429
        await until(lambda: not here.app.context.running)
        async with session(here, additional_headers=[ANN]) as live:
            await live.send(json.dumps(SETUP))
            await live.recv()


async def test_the_tokens_of_a_live_session_count() -> None:
    async def script(connection: ServerConnection) -> None:
        async for _ in connection:
            await connection.send('{"usageMetadata": {"promptTokenCount": 60}}')

    async with upstream(script) as google, proxy(google, CLIENTS, CLIENT_ANN="tokens=60/day") as here:
        async with session(here, additional_headers=[ANN]) as live:
            await live.send(json.dumps(SETUP))
            await live.recv()
        with pytest.raises(InvalidStatus):
            async with session(here, additional_headers=[ANN]):
                pass


async def test_a_model_that_is_not_allowed_is_forbidden_and_does_not_count() -> None:
    async with (
        RawUpstream(always(SERVED)) as google,
        proxy(google.url, CLIENTS, CLIENT_ANN="models=gemini-*-flash*,gemma-* requests=1/hour") as here,
    ):
        for target in (GENERATE.replace("flash", "pro"), "/v1beta/openai/chat/completions"):
            got = await ask(here.port, "POST", target, ANN, body=b'{"model": "gemini-2.5-pro"}')
            assert got.status == 403
            error = json.loads(got.body)["error"]
            assert error["status"] == "PERMISSION_DENIED"
            assert "gemini-2.5-pro" in error["message"]
        assert (await generate(here)).status == 200
        assert len(google.seen) == 1


async def test_a_live_session_with_a_model_that_is_not_allowed_is_closed() -> None:
    async with upstream(echo) as google, proxy(google, CLIENTS, CLIENT_ANN="models=gemma-*") as here:
        async with session(here, additional_headers=[ANN]) as live:
            await live.send(json.dumps(SETUP))
            code, reason = await closed(live)
    assert code == 1008
    assert reason
    assert "may not use the model gemini-2.5-flash-live-preview" in reason


async def test_after_its_last_day_a_client_is_forbidden_everything() -> None:
    clock = TurnedClock()
    today = "2027-01-15"  # in California
    async with (
        RawUpstream(always(SERVED)) as google,
        proxy(google.url, CLIENTS, clock, CLIENT_ANN=f"until={today}") as here,
    ):
        assert (await generate(here)).status == 200
        clock.turn(timedelta(days=1).total_seconds())
        got = await generate(here)
        assert (got.status, json.loads(got.body)["error"]["status"]) == (403, "PERMISSION_DENIED")
        assert (await ask(here.port, "GET", LIVE, ANN)).status == 403
        assert (await generate(here, BOB)).status == 200


async def test_what_the_proxy_refuses_itself_does_not_count() -> None:
    spent = answer(
        429,
        b'{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x", "details": [{"@type":'
        b'"type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "50s"}]}}',
        ("Content-Type", "application/json"),
    )
    clock = TurnedClock()
    async with (
        RawUpstream(always(spent)) as google,
        proxy(google.url, CLIENTS, clock, CLIENT_ANN="requests=1/hour", MAX_WAIT="0") as here,
    ):
        for _ in range(3):
            got = await generate(here)
            assert (got.status, b"No Gemini API key is available" in got.body) == (429, True)
        clock.turn(300)
        google.script = always(SERVED)
        assert [(await generate(here)).status for _ in range(2)] == [200, 429]


async def test_a_request_that_failed_over_counts_once() -> None:
    broken = answer(
        403, b'{"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "SERVICE_DISABLED"}}'
    )

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        first = seen.all("x-goog-api-key") == [KEYS["GOOGLE_API_KEY_1"]]
        writer.write(broken if first else SERVED)

    async with (
        RawUpstream(script) as google,
        proxy(google.url, CLIENTS, CLIENT_ANN="requests=6/hour") as here,
    ):
        assert [(await generate(here)).status for _ in range(7)] == [200] * 6 + [429]
        assert len(google.seen) > 6


async def test_clients_without_limits_of_their_own_have_the_default_ones_each() -> None:
    async with (
        RawUpstream(always(SERVED)) as google,
        proxy(google.url, CLIENTS, CLIENT_DEFAULT="requests=1/hour", CLIENT_BOB="requests=2/hour") as here,
    ):
        assert [(await generate(here)).status for _ in range(2)] == [200, 429]
        assert [(await generate(here, BOB)).status for _ in range(3)] == [200, 200, 429]


async def test_with_an_open_proxy_a_client_is_its_address() -> None:
    async with (
        RawUpstream(always(SERVED)) as google,
        proxy(google.url, CLIENT_DEFAULT="requests=1/hour") as here,
    ):
        for address in ("127.0.0.1", "127.0.0.2"):
            got = [await ask(here.port, "GET", "/v1beta/models/x", address=address) for _ in range(2)]
            assert [one.status for one in got] == [200, 429]


async def test_a_reload_changes_limits_and_keeps_what_is_counted() -> None:
    async with (
        RawUpstream(always(SERVED)) as google,
        proxy(google.url, CLIENTS, CLIENT_ANN="requests=1/hour") as here,
    ):
        assert [(await generate(here)).status for _ in range(2)] == [200, 429]
        here.app.reload(settings(google.url, CLIENTS, CLIENT_ANN="requests=2/hour models=gemini-*"))
        assert [(await generate(here)).status for _ in range(2)] == [200, 429]
        here.app.reload(settings(google.url, CLIENTS))
        assert (await generate(here)).status == 200


async def test_status_and_metrics_show_the_limits_and_the_refusals() -> None:
    admin = ("x-goog-api-key", "the-admin")
    async with (
        RawUpstream(always(SERVED)) as google,
        proxy(
            google.url,
            CLIENTS,
            ADMIN_API_KEY="the-admin",
            CLIENT_ANN="requests=2/hour tokens=2k/day concurrent=3 models=gemini-* until=2099-12-31",
        ) as here,
    ):
        for _ in range(4):
            await generate(here)
        await ask(here.port, "POST", "/v1beta/models/veo:predict", ANN)
        status = json.loads((await ask(here.port, "GET", "/status.json", admin)).body)
        metrics = (await ask(here.port, "GET", "/metrics", admin)).body.decode()
    (ann,) = status["clients"]
    assert (ann["name"], ann["requests"]) == ("ANN", 5)
    assert ann["limits"] == {
        "rates": [
            {"of": "requests", "per": "hour", "limit": 2, "used": 2},
            {"of": "tokens", "per": "day", "limit": 2000, "used": 100},
        ],
        "concurrent": 3,
        "models": ["gemini-*"],
        "until": "2099-12-31",
        "weight": 1.0,
    }
    assert 'gemini_proxy_client_refusals_total{client="ANN",limit="requests/hour"} 3.0' in metrics
