"""TLS to the upstream, and tunnels through outbound proxies with TLS inside, on real sockets."""

import asyncio
import datetime
import os
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from proxycore.transport.messages import UpstreamError
from tests.support.attempts import ON_EITHER_LOOP, StalledSink, attempt, client, failure, fetch, steady
from tests.support.outbound import http_proxy, socks_proxy
from tests.support.serving import serving
from tests.support.waiting import until
from tests.support.wire import CHUNKED, RawUpstream, Script, Seen, always, answer, chunk

OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = OK + b"Content-Length: 5\r\n\r\nhello"
pytestmark = ON_EITHER_LOOP


class TlsUpstream(RawUpstream):
    """An upstream with a certificate; `resumed` says of each connection whether its session was resumed."""

    def __init__(self, script: Script, certificate: trustme.LeafCert) -> None:
        super().__init__(script)
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(self.tls)
        self.resumed: list[bool] = []

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.resumed.append(writer.get_extra_info("ssl_object").session_reused)
        await super()._serve(reader, writer)


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    return made


@pytest.fixture
def ca_file(tmp_path: Path, authority: trustme.CA) -> str:  # noqa: ARG001 - it writes the file
    return str(tmp_path / "ca.pem")


async def test_bodies_of_any_size_arrive_whole_in_both_directions(
    authority: trustme.CA, ca_file: str
) -> None:
    data = bytes(range(256)) * 20_000

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        for start in range(0, len(seen.body), 100_000):
            writer.write(chunk(seen.body[start : start + 100_000]))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async with TlsUpstream(script, authority.issue_cert("127.0.0.1")) as upstream:
        async with client(upstream.url, ca_file=ca_file) as here:
            for size in (0, 1, 16_384, 16_385, len(data)):
                assert (await fetch(here, "POST", body=data[:size]))[1] == data[:size]
            assert upstream.connections == 1


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_later_connections_resume_the_session(
    newest: ssl.TLSVersion, authority: trustme.CA, ca_file: str
) -> None:
    async with TlsUpstream(always(PLAIN), authority.issue_cert("127.0.0.1")) as upstream:
        assert upstream.tls
        upstream.tls.maximum_version = newest
        async with client(upstream.url, ca_file=ca_file) as here:
            for _ in range(4):
                await fetch(here, fresh=True)
    assert upstream.resumed == [False, True, True, True]


async def test_a_body_may_end_with_the_connection_if_tls_is_closed_properly(
    authority: trustme.CA, ca_file: str
) -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\nhello")
        writer.close()  # with a close_notify

    async with TlsUpstream(script, authority.issue_cert("127.0.0.1")) as upstream:
        async with client(upstream.url, ca_file=ca_file) as here:
            assert (await fetch(here))[1] == b"hello"
            await until(lambda: here.connections == 0)


@pytest.mark.parametrize("data", [OK + b"\r\nhello", PLAIN[:-1], CHUNKED + chunk(b"hello")])
async def test_a_truncated_body_is_not_whole(data: bytes, authority: trustme.CA, ca_file: str) -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await asyncio.sleep(0.02)
        with socket.socket(fileno=os.dup(writer.transport.get_extra_info("socket").fileno())) as below:
            below.shutdown(socket.SHUT_WR)  # without a word of TLS's
        await asyncio.sleep(0.02)
        writer.transport.abort()

    async with TlsUpstream(script, authority.issue_cert("127.0.0.1")) as upstream:
        async with client(upstream.url, ca_file=ca_file) as here:
            one, got = attempt(here), bytearray()
            await one.head()
            with pytest.raises(UpstreamError, match="broke off"):
                await one.relay(got.extend)
            one.end()
            assert bytes(got) in (b"hello", b"hell")


async def test_a_sink_that_cant_take_more_stops_an_upstream_with_tls(
    authority: trustme.CA, ca_file: str
) -> None:
    sent = 0

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(CHUNKED)
        for _i in range(400):
            writer.write(chunk(b"x" * 99) * 1000)
            sent += 99_000
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async with TlsUpstream(script, authority.issue_cert("127.0.0.1")) as upstream:
        async with client(upstream.url, ca_file=ca_file) as here:
            one, sink = attempt(here), StalledSink()
            await one.head()
            relayed = asyncio.ensure_future(one.relay(sink))
            await steady(lambda: sent)
            assert sink.got + len(one._held) <= 2**18
            sink.free.set_result(None)
            await relayed
            one.end()
            assert sink.got == sent == 400 * 99_000


LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
HOSTILE = ["expired", "not valid yet", "another name", "another address", "unknown authority", "self-signed"]


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_certificate_is_rejected_before_anything_is_sent(
    case: str, authority: trustme.CA, ca_file: str
) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=2)
    leaf = {
        "expired": lambda: authority.issue_cert("127.0.0.1", not_before=LONG_AGO, not_after=LONG_AGO),
        "not valid yet": lambda: authority.issue_cert("127.0.0.1", not_before=soon),
        "another name": lambda: authority.issue_cert("google.example"),
        "another address": lambda: authority.issue_cert("127.0.0.2"),
        "unknown authority": lambda: trustme.CA().issue_cert("127.0.0.1"),
        "self-signed": lambda: trustme.CA().issue_cert("127.0.0.1"),
    }[case]()
    async with TlsUpstream(always(PLAIN), leaf) as upstream:
        async with client(upstream.url, ca_file=ca_file) as here:
            error = await failure(here)
            assert str(error) == "The upstream could not be reached: its TLS certificate is not trusted."
            assert not error.sent
            assert error.detail.strip("()")
            assert here.connections == 0
        assert not upstream.seen


async def test_what_speaks_no_tls_fails_in_the_handshake(ca_file: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with serving(serve) as port, client(f"https://127.0.0.1:{port}", ca_file=ca_file) as here:
        error = await failure(here)
    assert str(error) == "The upstream could not be reached: the TLS handshake failed."
    assert not error.sent


async def test_a_file_of_authorities_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    for name in ("none.pem", "missing.pem"):
        async with client("https://127.0.0.1:9", ca_file=str(tmp_path / name)) as here:
            assert "the file of certificate authorities can't be read" in str(await failure(here))


async def test_an_attempt_can_be_ended_in_the_handshake(ca_file: str) -> None:
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        closed.set()
        writer.close()

    async with serving(serve) as port, client(f"https://127.0.0.1:{port}", ca_file=ca_file) as here:
        one = attempt(here)
        head = asyncio.ensure_future(one.head())
        await asyncio.sleep(0.05)
        one.end()
        with pytest.raises(UpstreamError):
            await head
        await closed.wait()


# Outbound proxies.


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS inside"])
@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
@pytest.mark.parametrize("user", ["", "us%40er:pass%3Aword@"], ids=["open", "credentials"])
async def test_every_kind_of_outbound_proxy(
    scheme: str, user: str, authority: trustme.CA, ca_file: str, *, secure: bool
) -> None:
    asked: list[bytes] = []
    names: list[str] = []
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    if scheme.startswith("socks"):
        outbound = socks_proxy(names, (b"us@er", b"pass:word") if user else None)
    else:
        credential = b"us@er:pass:word" if user else b""
        outbound = http_proxy(asked, credential, tls if scheme == "https" else None)
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    made = TlsUpstream(always(PLAIN), certificate) if secure else RawUpstream(always(PLAIN))
    async with made as upstream, outbound as port:
        url = upstream.url.replace("127.0.0.1", "localhost" if scheme == "socks5h" else "127.0.0.1")
        proxy = f"{scheme}://{user}127.0.0.1:{port}"
        async with client(url, ca_file=ca_file, proxy=proxy) as here:
            for _ in range(2):
                assert (await fetch(here))[1] == b"hello"
            assert (upstream.connections, here.connections) == (1, 1)
    assert len(asked) + len(names) == 1
    assert names in ([], ["localhost" if scheme == "socks5h" else "127.0.0.1"])
    assert all(not seen.all("proxy-authorization") for seen in upstream.seen)


async def test_an_outbound_proxy_that_refuses_is_told_with_its_reason() -> None:
    asked: list[bytes] = []
    names: list[str] = []
    cases = {
        "http": (http_proxy(asked, b"user:pass"), "(CONNECT was answered 407)"),
        "socks5": (socks_proxy(names, (b"a", b"b")), "(it accepts no offered authentication)"),
        "socks5h": (socks_proxy(names, reply=5), "(connection refused)"),
    }
    for scheme, (outbound, detail) in cases.items():
        async with outbound as port:
            async with client("http://127.0.0.1:9", proxy=f"{scheme}://127.0.0.1:{port}") as here:
                error = await failure(here)
        assert str(error) == "The upstream could not be reached: the outbound proxy refused."
        assert (error.detail, error.sent) == (detail, False)
    async with socks_proxy(names, (b"a", b"b")) as port:
        async with client("http://127.0.0.1:9", proxy=f"socks5://a:c@127.0.0.1:{port}") as here:
            assert "user name and password" in (await failure(here)).detail


SAID = {
    "nothing": b"",
    "SSH": b"SSH-2.0\r\n\r\n",
    "more than a response": b"HTTP/1.1 200 OK\r\n\r\nmore",
    "half a reply": b"\x05",
    "no end": b"x" * 99_999,
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_an_outbound_proxy_that_speaks_something_else_is_refused(scheme: str, said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(said)
        writer.close()

    async with (
        serving(serve) as port,
        client("http://127.0.0.1:9", proxy=f"{scheme}://127.0.0.1:{port}") as here,
    ):
        assert str(await failure(here)) == "The upstream could not be reached: the outbound proxy refused."


async def test_the_certificate_of_an_outbound_proxy_is_verified(authority: trustme.CA, ca_file: str) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("proxy.example").configure_cert(tls)
    asked: list[bytes] = []
    async with http_proxy(asked, tls=tls) as port:
        async with client("http://127.0.0.1:9", ca_file=ca_file, proxy=f"https://127.0.0.1:{port}") as here:
            error = await failure(here)
    assert str(error) == "The upstream could not be reached: its TLS certificate is not trusted."
    assert not asked


async def test_a_refusal_is_answered_over_tls_and_the_connection_kept(
    authority: trustme.CA, ca_file: str
) -> None:
    async with TlsUpstream(always(answer(429, b"no")), authority.issue_cert("127.0.0.1")) as upstream:
        async with client(upstream.url, ca_file=ca_file) as here:
            for _ in range(3):
                head, body = await fetch(here, "POST", body=b"{}")
                assert (head.status, body) == (429, b"no")
            assert upstream.connections == 1
