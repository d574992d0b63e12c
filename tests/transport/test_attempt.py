"""The way to the upstream over TLS and through outbound proxies, with everything that can be wrong there."""

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
import trustme

from tests.support.outbound import http_proxy, socks_proxy
from tests.support.proxy import KEYS, proxy
from tests.support.wire import CHUNKED, Got, RawUpstream, Script, Seen, always, answer, ask, chunk

GENERATE = "/v1beta/models/gemini-2.0-flash:generateContent"
OK = always(answer(200, b'{"ok": 1}'))
pytestmark = pytest.mark.usefixtures("io_loop")


class TlsUpstream(RawUpstream):
    """An upstream with a certificate."""

    def __init__(self, script: Script, certificate: trustme.LeafCert) -> None:
        super().__init__(script)
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(self.tls)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    return made


async def through(url: str, **variables: str) -> Got:
    async with proxy(url, KEYS | variables) as here:
        return await ask(here.port, "POST", GENERATE, body=b"{}")


async def test_an_upstream_of_a_trusted_authority_is_relayed(authority: trustme.CA, tmp_path: Path) -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        for _i in range(5):
            writer.write(chunk(bytes(100_000)))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async with TlsUpstream(script, authority.issue_cert("127.0.0.1")) as upstream:
        got = await through(upstream.url, UPSTREAM_CA_FILE=str(tmp_path / "ca.pem"))
    assert (got.status, got.whole, len(got.body)) == (200, True, 500_000)


async def test_tls_connections_are_reused(authority: trustme.CA, tmp_path: Path) -> None:
    async with TlsUpstream(OK, authority.issue_cert("127.0.0.1")) as upstream:
        async with proxy(upstream.url, KEYS | {"UPSTREAM_CA_FILE": str(tmp_path / "ca.pem")}) as here:
            for _ in range(5):
                assert (await ask(here.port, "POST", GENERATE, body=b"{}")).status == 200
        assert upstream.connections == 1


@pytest.mark.parametrize("case", ["unknown authority", "wrong name", "expired"])
async def test_an_upstream_that_cant_prove_itself_gets_nothing(
    case: str, authority: trustme.CA, tmp_path: Path
) -> None:
    long_ago = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = {
        "unknown authority": lambda: trustme.CA().issue_cert("127.0.0.1"),
        "wrong name": lambda: authority.issue_cert("google.example"),
        "expired": lambda: authority.issue_cert("127.0.0.1", not_before=long_ago, not_after=long_ago),
    }[case]()
    async with TlsUpstream(OK, certificate) as upstream:
        got = await through(upstream.url, UPSTREAM_CA_FILE=str(tmp_path / "ca.pem"))
    assert got.status == 500
    assert b"its TLS certificate is not trusted" in got.body
    assert not upstream.seen


async def test_an_outbound_proxy_is_used_and_its_own_head_is_not_the_response() -> None:
    asked: list[bytes] = []
    async with RawUpstream(OK) as upstream, http_proxy(asked, b"user:pass") as port:
        got = await through(upstream.url, UPSTREAM_PROXY=f"http://user:pass@127.0.0.1:{port}")
    assert (got.status, got.all("x-of-the-proxy")) == (200, [])
    assert asked[0].startswith(b"CONNECT 127.0.0.1:")
    assert b"upstream-key" not in asked[0]
    assert upstream.seen[0].target == GENERATE
    assert not upstream.seen[0].all("proxy-authorization")


async def test_an_outbound_proxy_that_refuses_is_told_without_its_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[bytes] = []
    async with RawUpstream(OK) as upstream, http_proxy(asked, b"user:other") as port:
        got = await through(upstream.url, UPSTREAM_PROXY=f"http://user:t0p-s3cret@127.0.0.1:{port}")
    assert got.status == 500
    assert b"could not be reached" in got.body
    assert "t0p-s3cret" not in caplog.text + got.body.decode()
    assert not upstream.seen


async def test_an_outbound_proxy_may_speak_tls(authority: trustme.CA, tmp_path: Path) -> None:
    asked: list[bytes] = []
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with RawUpstream(OK) as upstream, http_proxy(asked, tls=tls) as port:
        proxies = {
            "UPSTREAM_PROXY": f"https://127.0.0.1:{port}",
            "UPSTREAM_CA_FILE": str(tmp_path / "ca.pem"),
        }
        assert (await through(upstream.url, **proxies)).status == 200
    assert len(asked) == 1


@pytest.mark.parametrize(("scheme", "host"), [("socks5", "127.0.0.1"), ("socks5h", "localhost")])
async def test_an_outbound_proxy_may_speak_socks(scheme: str, host: str) -> None:
    asked: list[str] = []
    async with RawUpstream(OK) as upstream, socks_proxy(asked) as port:
        url = upstream.url.replace("127.0.0.1", host)
        assert (await through(url, UPSTREAM_PROXY=f"{scheme}://127.0.0.1:{port}")).status == 200
    assert asked == [host]


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with RawUpstream(OK) as upstream:
        assert (await through(upstream.url)).status == 200
