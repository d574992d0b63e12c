"""Malformed and odd responses: a client sees what was meant, an error, or a cut; never something else."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.odd_responses import BODIES, EVIL, FRAMING, HEADS, REPAIRED, Odd
from tests.support.raw_socket import OK, Cut, Recorder, UpstreamSocket, raw_client, running
from tests.support.smuggling import NEXT, NEXT_PATH, post
from tests.support.strict_http import Message, Reading, read_responses
from tests.support.waiting import until
from tests.system.test_smuggling import exchange

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.timeout(seconds=120)]

CASES = {
    f"{kind}: {name}": odd
    for kind, odds in {"framing": FRAMING, "head": HEADS, "body": BODIES}.items()
    for name, odd in odds.items()
}
ASK = post(b"Connection: close\r\nContent-Length: 2\r\n")


def problem(odd: Odd, answered: Reading) -> str:
    """What is wrong with what a client got; empty if nothing is."""
    if answered.error or len(answered.messages) + bool(answered.rest) > 1:
        return f"not one well-formed response: {answered}"
    if not answered.messages:
        return "" if odd.cut or odd.lenient else f"it was cut: {answered.rest!r}"
    (got,) = answered.messages
    if got.status == 500:
        error = json.loads(got.body)["error"]
        said = error["status"] == "UNAVAILABLE" and error["message"].startswith("The upstream")
        return "" if said and (odd.cut or odd.lenient or not odd.status) else f"{got}"
    meant = (got.status, got.body) == (odd.status, odd.body) and not odd.cut
    return "" if meant else f"it was {got}"


class Upstream(Recorder):
    """Answers with `odd`, and in good order on `NEXT_PATH`; `last` is the connection that was used last."""

    def __init__(self) -> None:
        super().__init__(self._respond)
        self.odd = Odd(OK)
        self.last: UpstreamSocket | None = None

    def _respond(self, connection: UpstreamSocket, request: Message) -> None:
        self.last = connection
        connection.write(OK if request.target == NEXT_PATH else self.odd.raw)
        if self.odd.close and request.target != NEXT_PATH:
            connection.end(Cut.FIN)


@contextlib.asynccontextmanager
async def odd_upstream(folder: Path) -> AsyncIterator[tuple[Upstream, int]]:
    """An upstream, and the port of the program in front of it."""
    async with Upstream() as upstream, running(folder, upstream.url) as here:
        yield upstream, here.port


async def test_a_response_is_what_was_meant_or_an_error_or_cut(tmp_path: Path) -> None:
    problems: dict[str, str] = {}
    repaired = set()
    async with odd_upstream(tmp_path) as (upstream, port):
        for name, odd in CASES.items():
            upstream.odd = odd
            got = read_responses(await exchange(port, ASK), [b"POST"], closed=True)
            used = upstream.last
            after = read_responses(await exchange(port, NEXT))
            if wrong := problem(odd, got):
                problems[name] = wrong
            elif [(one.status, one.body) for one in after.messages] != [(200, b"{}")]:
                problems[name] = f"the next request got {after}"
            elif upstream.last is used and not odd.reusable:
                problems[name] = "its connection was used again"
            if odd.lenient and [one.status for one in got.messages] == [odd.status]:
                repaired.add(name)
    assert not problems, "\n".join(f"{name}: {wrong}" for name, wrong in problems.items())
    assert repaired == REPAIRED
    assert len(CASES) >= 100


async def test_a_response_in_single_bytes_is_the_same(tmp_path: Path) -> None:
    odd = BODIES["a quoted extension"]
    async with odd_upstream(tmp_path) as (upstream, port):

        async def drip(connection: UpstreamSocket) -> None:
            for number in range(len(odd.raw)):
                connection.write(odd.raw[number : number + 1])
                await asyncio.sleep(0)

        tasks = []
        upstream.respond = lambda connection, _: tasks.append(asyncio.ensure_future(drip(connection)))
        got = read_responses(await exchange(port, ASK), [b"POST"])
        assert [(one.status, one.body) for one in got.messages] == [(200, b"{}")]
        await asyncio.gather(*tasks)


async def test_a_response_that_nobody_asked_for_is_nobodys(tmp_path: Path) -> None:
    async with odd_upstream(tmp_path) as (upstream, port):
        for _ in range(20):
            await exchange(port, NEXT)
            idle = upstream.last
            assert idle
            idle.write(EVIL)
            after = read_responses(await exchange(port, NEXT))
            assert [one.body for one in after.messages if one.status == 200] in ([b"{}"], [])
            assert b"evil" not in after.messages[0].body


async def test_a_connection_that_was_closed_while_idle_is_not_used_again(tmp_path: Path) -> None:
    async with odd_upstream(tmp_path) as (upstream, port):
        for how in [Cut.FIN, Cut.RST] * 10:
            await exchange(port, NEXT)
            assert upstream.last
            upstream.last.end(how)
            await asyncio.sleep(0.005)
            after = read_responses(await exchange(port, NEXT))
            assert [one.status for one in after.messages] == [200]


async def test_a_connection_is_used_again_after_a_good_response(tmp_path: Path) -> None:
    async with odd_upstream(tmp_path) as (upstream, port), raw_client(port) as client:
        for number in range(1, 6):
            client.write(NEXT.replace(b"Connection: close\r\n", b""))
            await until(lambda number=number: client.data.count(b"HTTP/1.1 200") == number)  # type: ignore[misc]
        assert len(upstream.connections) == 1
