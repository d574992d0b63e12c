"""Waiting is fair between clients, over real sockets."""

import asyncio

import pytest

from tests.support.clocks import loops_clock
from tests.support.google_errors import minute_spent
from tests.support.proxy import proxy
from tests.support.waiting import until
from tests.support.wire import Got, RawUpstream, Seen, answer, ask

GENERATE = "/v1beta/models/gemini-2.0-flash:generateContent"
OK = answer(200, b'{"ok": 1}', ("Content-Type", "application/json"))
CLIENTS = {
    "OUTPUT_API_KEY_HEAVY": "client-key-of-the-heavy",
    "OUTPUT_API_KEY_LIGHT": "client-key-of-the-light",
}
pytestmark = pytest.mark.usefixtures("io_loop")


@pytest.mark.turned
@pytest.mark.parametrize(("weight", "last"), [("1", 8), ("8", 6)])
async def test_a_client_of_more_weight_is_served_more_often(weight: str, last: int) -> None:
    served = await order_of([b"heavy"] * 8 + [b"light"] * 4, CLIENT_LIGHT=f"weight={weight}")
    assert abs(max(place for place, body in enumerate(served, 1) if body == b"light") - last) <= 1


@pytest.mark.turned
async def test_a_client_with_one_request_does_not_wait_for_all_of_another_with_many() -> None:
    served = await order_of([b"heavy"] * 8 + [b"light"])
    # The first calls after a refusal are one, then two at once, which may overtake each other on the way.
    assert b"light" in served[:3]
    assert len(served) == 9


async def order_of(bodies: list[bytes], **limits: str) -> list[bytes]:
    """In which order these are served, each of the client in it, that wait together for a key."""
    clock, served = loops_clock(), list[bytes]()
    spent, spent_until = minute_spent("gemini-2.0-flash", 15, 1.0), clock() + 1.0

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if clock() < spent_until:
            writer.write(answer(spent.status, spent.body, *spent.fields))
        else:
            served.append(seen.body)
            writer.write(OK)

    async with (
        RawUpstream(script) as upstream,
        proxy(upstream.url, {"GOOGLE_API_KEY_1": "upstream-key"}, clock, **CLIENTS, **limits) as here,
    ):

        async def wait(body: bytes) -> "asyncio.Task[Got]":
            waiting = here.app.queues.waiting
            key = CLIENTS[f"OUTPUT_API_KEY_{body.decode().upper()}"]
            fields = ("Content-Type", "application/json"), ("x-goog-api-key", key)
            task = asyncio.ensure_future(ask(here.port, "POST", GENERATE, *fields, body=body))
            await until(lambda: here.app.queues.waiting == waiting + 1)
            return task

        tasks = [await wait(body) for body in bodies]
        assert {got.status for got in await asyncio.gather(*tasks)} == {200}
    return served
