"""Request smuggling: a request reaches the upstream as the one that it is, or not at all."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.raw_socket import SECRETS, RawSocket, Recorder, raw_client, running
from tests.support.smuggling import CHUNKS, CODINGS, LENGTHS, NEXT, NEXT_PATH, Case
from tests.support.smuggling_heads import ELSEWHERE, FIELDS, HOSTS, LINES, get
from tests.support.strict_http import Message, read_responses
from tests.support.waiting import until

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.timeout(seconds=120)]

CASES = LENGTHS | CODINGS | CHUNKS | HOSTS | FIELDS | LINES
HOP_BY_HOP = {b"connection", b"te", b"trailer", b"upgrade", b"http2-settings", b"expect", b"keep-alive"}


async def exchange(port: int, raw: bytes) -> bytes:
    """All that a client gets for these bytes until its connection is closed, or its body is too large."""
    async with raw_client(port) as client:
        client.write(raw)
        return await end_of(client)


async def end_of(client: RawSocket) -> bytes:
    """All that the client got once its connection is closed, or the rest of its body is only waited for."""
    await until(
        lambda: (
            client.gone.is_set()
            or (client.data.startswith(b"HTTP/1.1 413 ") and read_responses(bytes(client.data)).whole)
        )
    )
    return bytes(client.data)


def problem(case: Case, got: bytes, arrived: list[Message]) -> str:
    """What is wrong with what a client got and with what arrived upstream; empty if nothing is."""
    answered = read_responses(got, closed=True)
    statuses = [one.status for one in answered.messages]
    if not answered.whole:
        return f"the response is not well-formed: {answered}"
    if [(one.target, one.body) for one in arrived] != case.arrives:
        return f"{arrived} arrived, and {statuses} came back"
    if not case.statuses:
        return "" if statuses == [200] * len(case.arrives) else f"{statuses} came back"
    if len(statuses) != 1 or statuses[0] not in case.statuses:
        return f"{statuses} came back"
    (refusal,) = answered.messages
    closes = refusal.all(b"connection") == [b"close"] or refusal.status == 413
    said = json.loads(refusal.body)["error"]["code"] == refusal.status
    return "" if closes and said else f"the refusal is {refusal}"


def strays(arrived: list[Message]) -> list[str]:
    """Fields that must not be in a request to the upstream, and the credential if it is not one of ours."""
    found = [f"{name!r}" for one in arrived for name, _ in one.fields if name.lower() in HOP_BY_HOP]
    keys = [one.all(b"x-goog-api-key") for one in arrived]
    return found + [
        f"the key is {key}" for key in keys if len(key) != 1 or key[0].decode() not in SECRETS.values()
    ]


async def test_a_request_reaches_the_upstream_as_the_one_that_it_is_or_not_at_all(tmp_path: Path) -> None:
    problems: dict[str, object] = {}
    async with Recorder() as upstream, running(tmp_path, upstream.url) as here:
        for name, case in CASES.items():
            got = await exchange(here.port, case.raw + NEXT)
            arrived = upstream.take()
            assert (await exchange(here.port, NEXT)).startswith(b"HTTP/1.1 200 ")
            late = upstream.take()  # what is still on its way comes no later than this one
            if [one.target for one in late] != [NEXT_PATH]:
                problems[name] = f"{late} arrived late"
            elif wrong := problem(case, got, arrived) or strays(arrived):
                problems[name] = wrong
        # Of what was refused inside its body the upstream has seen a beginning, and never the end.
        await until(lambda: all(one.gone.is_set() or not one.reading.rest for one in upstream.connections))
    assert not problems, "\n".join(f"{name}: {wrong}" for name, wrong in problems.items())
    assert len(CASES) >= 200


async def test_it_does_not_matter_how_a_request_is_cut_into_packets(tmp_path: Path) -> None:
    problems: dict[str, object] = {}
    short = {name: case for name, case in CASES.items() if len(case.raw) < 2000}
    async with Recorder() as upstream, running(tmp_path, upstream.url) as here:
        for name, case in short.items():
            async with raw_client(here.port) as client:
                middle = case.raw.find(b"\r\n\r\n") + 4
                head, body = case.raw[:middle], case.raw[middle:] + NEXT
                for piece in (head[:-3], head[-3:], body[:1], body[1:4]):
                    client.write(piece)
                    await asyncio.sleep(0.001)
                client.write(body[4:])
                got = await end_of(client)
                if wrong := problem(case, got, upstream.take()):
                    problems[name] = wrong
    assert not problems, "\n".join(f"{name}: {wrong}" for name, wrong in problems.items())


async def test_a_target_that_is_no_path_reaches_nobody(tmp_path: Path) -> None:
    async with Recorder() as upstream, running(tmp_path, upstream.url) as here:
        for name, target in ELSEWHERE.items():
            answered = read_responses(await exchange(here.port, get(path=target) + NEXT))
            assert answered.messages[0].status in {400, 404}, name
            assert [one.target for one in upstream.take()] in ([], [NEXT_PATH]), name


async def test_bytes_one_by_one_are_the_same_request(tmp_path: Path) -> None:
    case = CHUNKS["a quoted extension"]
    async with Recorder() as upstream, running(tmp_path, upstream.url) as here:
        async with raw_client(here.port) as client:
            for number in range(len(case.raw)):
                client.write(case.raw[number : number + 1])
                await asyncio.sleep(0)
            client.write(NEXT)
            await client.over()
        assert [(one.target, one.body) for one in upstream.take()] == case.arrives
