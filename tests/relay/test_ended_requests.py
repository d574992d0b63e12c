"""The operator ends a request: its client is never left with a whole response, and the upstream is left."""

import asyncio
import json
import logging
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidStatus

from proxycore.http.access_record import RequestOutcome
from proxycore.storage.rows import EventKind, RequestRow
from tests.relay.test_live import LIVE, SETUP, closed, session
from tests.relay.test_live import upstream as live_upstream
from tests.relay.test_relay_failover import GENERATE, keys
from tests.support.clocks import loops_clock
from tests.support.google_errors import minute_spent
from tests.support.journal import Kept
from tests.support.proxy import Proxy, proxy
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
)

pytestmark = pytest.mark.usefixtures("io_loop")
JSON = ("Content-Type", "application/json")
ID = ("X-Request-Id", "the-request-to-end")
WHY = "The operator of this proxy has ended the request"
EVENT = b"data: 1\r\n\r\n"
STREAM = GENERATE.replace("generate", "streamGenerate")


async def row_of_ended(kept: Kept) -> RequestRow:
    """The row of the request that was ended, which is the only one."""
    row = await kept.row()
    assert (row.outcome, row.why) == (RequestOutcome.CUT, WHY)
    return row


async def silent(_: Seen, __: asyncio.StreamWriter) -> None:
    await asyncio.sleep(600)


async def end(here: Proxy, name: object = ID[1]) -> Got:
    body = json.dumps({"action": "end", "id": name}).encode()
    return await ask(here.port, "POST", "/status.json", HOME, JSON, body=body)


async def ended(here: Proxy) -> None:
    got = await end(here)
    assert (got.status, json.loads(got.body)["message"]) == (200, f"Request {ID[1]} is ended.")


async def cancelled(client: Client) -> Got:
    """What the client gets whose request was ended before any response."""
    got = await client.got()
    error = json.loads(got.body)["error"]
    assert (got.status, error["code"], error["status"]) == (499, 499, "CANCELLED")
    assert error["message"] == f"{WHY}."
    return got


async def test_a_request_that_waits_for_its_response_is_refused_and_the_upstream_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with RawUpstream(silent) as upstream, proxy(upstream.url, keys(1)) as here:
        kept = Kept(here)
        async with connect(here.port) as client:
            client.send("POST", GENERATE, ID, body=b"{}")
            await until(lambda: bool(upstream.seen))
            await ended(here)
            await cancelled(client)
        await until(lambda: upstream.seen[0].closed is not None)
        row = await row_of_ended(kept)
        assert (row.status, [one.verdict for one in row.attempts]) == (499, ["abandoned"])
        assert not here.app.context.running
        fields = [vars(one)["fields"] for one in caplog.records if one.message == "response cut off"]
        assert [(one["id"], one["reason"]) for one in fields] == [(ID[1], WHY)]
        assert "request ended manually" in caplog.text
        totals = json.loads((await ask(here.port, "GET", "/status.json", HOME)).body)["totals"]
        assert (totals["requests"], totals["cut"]) == (1, 1)


async def test_an_event_says_which_request_was_ended_and_which_one_asked_for_it() -> None:
    async with RawUpstream(silent) as upstream, proxy(upstream.url, keys(1)) as here:
        kept = Kept(here)
        async with connect(here.port) as client:
            client.send("POST", GENERATE, ID, body=b"{}")
            await until(lambda: bool(upstream.seen))
            asked = await end(here)
            await cancelled(client)
    (event,) = kept.events
    assert (event.kind, event.key, event.why) == (EventKind.ACTION, "", f"Request {ID[1]} is ended.")
    assert event.request == asked.one("X-Request-Id")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    "head", [CHUNKED + chunk(EVENT), b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + EVENT]
)
async def test_a_response_that_is_being_sent_is_cut_so_that_no_client_takes_it_for_whole(
    head: bytes, version: str
) -> None:
    async def begun(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await asyncio.sleep(600)

    async with RawUpstream(begun) as upstream, proxy(upstream.url, keys(1)) as here:
        kept = Kept(here)
        async with connect(here.port) as client:
            client.send("POST", STREAM, ID, body=b"{}", version=version)
            assert (await client.head()).status == 200
            received = await client.reader.readuntil(EVENT)
            await ended(here)
            try:
                received += await asyncio.wait_for(client.reader.read(), PATIENCE)
            except ConnectionResetError:  # which shows in HTTP/1.0 that the response is not whole
                assert version == "1.0"
            else:
                assert version == "1.1"
            assert received.count(b"data:") == 1
            assert b"0\r\n\r\n" not in received
        await until(lambda: upstream.seen[0].closed is not None)
        row = await row_of_ended(kept)
        assert (row.status, row.key) == (200, "1")


@pytest.mark.turned
async def test_a_request_that_waits_for_a_key_leaves_the_queue() -> None:
    spent = minute_spent("gemini-2.0-flash", 15, 20.0)
    refusal = answer(spent.status, spent.body, *spent.fields)
    async with RawUpstream(always(refusal)) as upstream:
        async with proxy(upstream.url, keys(1), loops_clock(), MAX_WAIT="60") as here:
            kept = Kept(here)
            async with connect(here.port) as client:
                client.send("POST", GENERATE, ID, body=b"{}")
                await until(lambda: here.app.queues.waiting == 1)
                await asyncio.sleep(3)
                await ended(here)
                await cancelled(client)
            await until(lambda: here.app.queues.waiting == 0)
            assert (await row_of_ended(kept)).waited >= 3


@pytest.mark.parametrize(
    "target", [GENERATE, "/upload/v1beta/files?uploadType=media"], ids=["held", "upload"]
)
async def test_a_request_whose_body_is_still_coming_is_refused(target: str) -> None:
    async with RawUpstream(silent) as upstream, proxy(upstream.url, keys(1)) as here:
        kept = Kept(here)
        async with connect(here.port) as client:
            client.send("POST", target, ID, ("Content-Length", "100000"), ("Content-Type", "text/plain"))
            client.writer.write(b"x" * 10)
            await until(lambda: any(one.record.received_bytes == 10 for one in running(here)))
            await ended(here)
            await cancelled(client)
        await row_of_ended(kept)
        await until(lambda: not here.app.context.running)
        await until(lambda: all(one.closed is not None for one in upstream.seen))


def running(here: Proxy) -> list[Any]:
    return list(here.app.context.running)


async def test_a_list_of_many_keys_is_ended_with_all_that_is_asked_for_it() -> None:
    async with RawUpstream(silent) as upstream, proxy(upstream.url, keys(5)) as here:
        kept = Kept(here)
        async with connect(here.port) as client:
            client.send("GET", "/v1beta/files", ID)
            await until(lambda: bool(upstream.seen))
            await ended(here)
            await cancelled(client)
        await row_of_ended(kept)
        await until(lambda: all(one.closed is not None for one in upstream.seen))


# Live sessions.


async def test_a_live_session_is_closed_on_both_sides_and_not_as_if_it_was_whole() -> None:
    left = asyncio.Event()

    async def script(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)
        left.set()

    async with live_upstream(script) as url, proxy(url, keys(1)) as here:
        kept = Kept(here)
        async with session(here, additional_headers=[ID]) as client:
            await client.send(json.dumps(SETUP))
            await client.recv()
            await ended(here)
            assert await closed(client) == (1008, f"{WHY}.")
        await asyncio.wait_for(left.wait(), PATIENCE)
        row = await row_of_ended(kept)
        assert (row.status, row.path) == (101, LIVE)
        await until(lambda: not here.app.context.running)


async def test_a_live_session_that_has_no_first_message_yet_is_closed() -> None:
    left = asyncio.Event()

    async def script(connection: ServerConnection) -> None:
        await connection.wait_closed()
        left.set()

    async with live_upstream(script) as url, proxy(url, keys(1)) as here:
        kept = Kept(here)
        async with session(here, additional_headers=[ID]) as client:
            await ended(here)
            assert await closed(client) == (1008, f"{WHY}.")
        await asyncio.wait_for(left.wait(), PATIENCE)
        await row_of_ended(kept)
        await until(lambda: not here.app.context.running)


async def test_a_live_session_is_closed_although_its_upstream_does_not_answer() -> None:
    async def script(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)
            connection.transport.pause_reading()

    async with live_upstream(script, close_timeout=0.1) as url, proxy(url, keys(1)) as here:
        kept = Kept(here)
        async with session(here, additional_headers=[ID]) as client:
            await client.send(json.dumps(SETUP))
            await client.recv()
            await ended(here)
            assert await closed(client) == (1008, f"{WHY}.")
        await row_of_ended(kept)


async def test_a_handshake_that_the_upstream_has_not_answered_is_refused_over_http() -> None:
    async with RawUpstream(silent) as upstream, proxy(upstream.url, keys(1)) as here:
        kept = Kept(here)
        opening = asyncio.ensure_future(session(here, additional_headers=[ID]).__aenter__())
        await until(lambda: bool(upstream.seen))
        await ended(here)
        with pytest.raises(InvalidStatus) as refused:
            await opening
        assert refused.value.response.status_code == 499
        assert (await row_of_ended(kept)).status == 499
        await until(lambda: not here.app.context.running)


# Which requests.


async def test_a_request_that_is_not_open_is_not_found() -> None:
    async with RawUpstream(always(answer(200, b"{}"))) as upstream, proxy(upstream.url, keys(1)) as here:
        kept = Kept(here)
        assert (await ask(here.port, "POST", GENERATE, ID, body=b"{}")).status == 200
        got = await end(here)
        assert got.status == 404
        assert b"There is no open request of that id; it may have ended already." in got.body
        assert (await end(here, "")).status == 404
        assert (await end(here, None)).status == (await end(here, 7)).status == 400
        assert kept.events == []


async def test_only_requests_to_the_upstream_can_be_ended() -> None:
    async with proxy("http://127.0.0.1:9", keys(1)) as here, connect(here.port) as watcher:
        watcher.send("GET", "/status.json", HOME, ID, ("Accept", "text/event-stream"))
        assert (await watcher.head()).status == 200
        assert (await end(here)).status == 404
        body = json.dumps({"action": "end", "id": "itself"}).encode()
        asked = (HOME, JSON, ("X-Request-Id", "itself"))
        assert (await ask(here.port, "POST", "/status.json", *asked, body=body)).status == 404


async def test_other_requests_go_on() -> None:
    go_on = asyncio.Event()

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(answer(200, b"{}"))

    async with RawUpstream(script) as upstream, proxy(upstream.url, keys(1)) as here:
        async with connect(here.port) as one, connect(here.port) as other:
            one.send("POST", GENERATE, ID, body=b"{}")
            other.send("POST", GENERATE, ("X-Request-Id", "another"), body=b"{}")
            await until(lambda: len(upstream.seen) == 2)
            await ended(here)
            await cancelled(one)
            go_on.set()
            assert (await other.got()).status == 200
