"""TLS to the upstream: who cannot prove to be the upstream gets nothing, and the client is told why."""

import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.certificates import GOOD, NAME, ROOT, hostile, valid
from tests.support.odd_responses import CL2, TE
from tests.support.odd_responses import OK as LINE
from tests.support.process import Program
from tests.support.raw_socket import SECRETS, running
from tests.support.smuggling import NEXT, post
from tests.support.strict_http import Message, Reading, read_responses
from tests.support.tls_server import Behaviour, TlsServer, corrupting, resetting, saying
from tests.system.test_smuggling import exchange

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.timeout(seconds=120)]

ASK = post(b"Connection: close\r\nContent-Length: 2\r\n")
STATUS = b"GET /status.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
UNTRUSTED = "The upstream could not be reached: its TLS certificate is not trusted."
FAILED = "The upstream could not be reached: the TLS handshake failed."


@contextlib.asynccontextmanager
async def by_name(folder: Path) -> AsyncIterator[tuple[TlsServer, Program]]:
    """The program in front of a server that it knows by `NAME`."""
    (folder / "ca.pem").write_bytes(ROOT.pem)
    with TlsServer(tunnel=True) as server:
        outbound = {"UPSTREAM_PROXY": f"http://127.0.0.1:{server.port}", "UPSTREAM_CA_FILE": "ca.pem"}
        async with running(folder, f"https://{NAME}", **outbound) as here:
            yield server, here


async def ask(here: Program) -> Reading:
    return read_responses(await exchange(here.port, ASK), [b"POST"], closed=True)


async def refusal(server: TlsServer, here: Program, behaviour: Behaviour) -> str:
    """The message of the 500 that there has to be, for which the server has got nothing."""
    server.behaviour, server.received = behaviour, b""
    answered = await ask(here)
    assert [one.status for one in answered.messages] == [500], answered
    assert server.received == b""
    return message_in(answered.messages[0])


def message_in(answer: Message) -> str:
    assert not any(secret.encode() in answer.body for secret in SECRETS.values())
    error = json.loads(answer.body)["error"]
    assert error["status"] == "UNAVAILABLE"
    return str(error["message"])


async def states(here: Program) -> list[object]:
    """What is held against the keys."""
    (shown,) = read_responses(await exchange(here.port, STATUS)).messages
    return [(key["name"], key["state"], key.get("until")) for key in json.loads(shown.body)["keys"]]


async def test_a_server_that_cannot_prove_its_name_gets_nothing(tmp_path: Path) -> None:
    async with by_name(tmp_path) as (server, here):
        before = await states(here)
        told = {
            name: await refusal(server, here, server.answering(context))
            for name, context in hostile().items()
        }
        assert told == dict.fromkeys(told, UNTRUSTED)
        assert await states(here) == before
        server.behaviour = server.answering(ROOT.issue(GOOD).context())
        assert [one.status for one in (await ask(here)).messages] == [200]


async def test_a_server_that_can_is_served(tmp_path: Path) -> None:
    async with by_name(tmp_path) as (server, here):
        for name, context in valid().items():
            server.behaviour, server.received = server.answering(context), b""
            assert [one.body for one in (await ask(here)).messages] == [b"{}"], name
            assert server.received.startswith(b"POST /v1beta/")


async def test_an_address_has_to_be_in_the_certificate_as_an_address(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(ROOT.pem)
    with TlsServer() as server:
        url = f"https://127.0.0.1:{server.port}"
        async with running(tmp_path, url, UPSTREAM_CA_FILE="ca.pem") as here:
            for names, common_name in {
                (("127.0.0.2",), "x"),
                (("localhost",), "x"),
                ((), "127.0.0.1"),
                (("*.0.0.1",), "x"),
            }:
                context = ROOT.issue(replace(GOOD, names=names, common_name=common_name)).context()
                assert await refusal(server, here, server.answering(context)) == UNTRUSTED, names
            context = ROOT.issue(replace(GOOD, names=("127.0.0.1",))).context()
            server.behaviour = server.answering(context)
            assert [one.body for one in (await ask(here)).messages] == [b"{}"]


async def test_an_authority_of_the_system_is_not_trusted_beside_a_file(tmp_path: Path) -> None:
    """A server of the made-up authority is refused where no file names it."""
    with TlsServer(tunnel=True) as server:
        outbound = f"http://127.0.0.1:{server.port}"
        async with running(tmp_path, f"https://{NAME}", UPSTREAM_PROXY=outbound) as here:
            good = server.answering(ROOT.issue(GOOD).context())
            assert await refusal(server, here, good) == UNTRUSTED


def too_old() -> ssl.SSLContext:
    """A server that speaks no more than TLS 1.1."""
    context = ROOT.issue(GOOD).context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_a_handshake_that_fails_in_any_way_is_told_as_such(tmp_path: Path) -> None:
    async with by_name(tmp_path) as (server, here):
        before = await states(here)
        behaviours: dict[str, Behaviour] = {
            "TLS 1.1": server.answering(too_old()),
            "closes at once": lambda _: None,
            "closes after the client's first message": saying(b""),
            "closes in its first message": saying(b"\x16\x03\x03\x00\x7a\x02\x00\x00"),
            "resets": resetting,
            "says HTTP": saying(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
            "says nonsense": saying(bytes(range(256)) * 20),
            "says NUL": saying(bytes(5000)),
            "says an alert": saying(b"\x15\x03\x03\x00\x02\x02\x28"),
            "says a record that is too long": saying(b"\x16\x03\x03\xff\xff" + b"x" * 70_000),
        }
        told = {name: await refusal(server, here, behaviour) for name, behaviour in behaviours.items()}
        assert told == dict.fromkeys(told, FAILED)
        assert await states(here) == before


async def test_a_body_that_ends_with_the_connection_has_ended_only_if_tls_says_so(tmp_path: Path) -> None:
    context = ROOT.issue(GOOD).context()
    bodies = {"by the connection": LINE + b"\r\n{}", "long": LINE + b"\r\n" + b"x" * 100_000}
    async with by_name(tmp_path) as (server, here):
        for body in bodies.values():
            server.behaviour = server.answering(context, body)
            assert [one.body for one in (await ask(here)).messages] == [body.partition(b"\r\n\r\n")[2]]
            for cut in (server.answering(context, body, notify=False), corrupting(context, body)):
                server.behaviour = cut
                answered = await ask(here)
                assert not answered.error
                assert [one.status for one in answered.messages] in ([], [500])


async def test_a_body_that_is_whole_needs_no_goodbye(tmp_path: Path) -> None:
    context = ROOT.issue(GOOD).context()
    async with by_name(tmp_path) as (server, here):
        for whole in (LINE + CL2 + b"\r\n{}", LINE + TE + b"\r\n2\r\n{}\r\n0\r\n\r\n"):
            server.behaviour = server.answering(context, whole, notify=False)
            assert [one.body for one in (await ask(here)).messages] == [b"{}"]
            server.behaviour = corrupting(context, whole)
            assert [one.status for one in (await ask(here)).messages] in ([200], [500])
            server.behaviour = server.answering(context, whole[:-1])
            assert [one.status for one in (await ask(here)).messages] in ([], [500])
        server.behaviour = server.answering(context)
        assert (await exchange(here.port, NEXT)).startswith(b"HTTP/1.1 200 ")
