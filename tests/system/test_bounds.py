"""Extreme input of one client or an odd upstream costs little, and others are served meanwhile."""

import asyncio
import gzip
import json

import pytest

from proxycore.transport.attempt import Attempt
from proxycore.transport.buffered_response import BUFFERED_BYTES
from proxycore.transport.messages import Outgoing
from tests.support.proxy import Proxy, proxy, rests
from tests.support.wire import RawUpstream, Seen, always, answer, ask

GENERATE = "/v1beta/models/gemini-2.0-flash:generateContent"
OK = always(answer(200, b"{}"))
JSON = ("Content-Type", "application/json")

pytestmark = pytest.mark.usefixtures("io_loop")


async def test_a_body_with_half_a_million_names_is_served() -> None:
    body = b"{%b}" % b",".join(b'"fileUri":"files/%d"' % number for number in range(500_000))
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here:
        assert (await ask(here.port, "POST", GENERATE, body=body)).status == 200
        assert len(here.app.affinity) <= 256
    assert upstream.seen[0].body == body


@pytest.mark.parametrize("status", [400, 403, 429])
async def test_an_error_that_unfolds_to_too_much_is_told_but_not_passed_on(status: int) -> None:
    error = json.dumps({"error": {"code": status, "message": "a" * 8_000_000, "status": "X"}}).encode()
    bomb = always(answer(status, gzip.compress(error), JSON, ("Content-Encoding", "gzip")))
    async with RawUpstream(bomb) as upstream, proxy(upstream.url, MAX_WAIT="0", MAX_ATTEMPTS="1") as here:
        got = await ask(here.port, "POST", GENERATE, body=b"{}")
    assert got.status in (status, 429)  # a refusal of keys is told in words of our own
    assert len(got.body) < 1000
    assert json.loads(got.body)["error"]["code"] == got.status


@pytest.mark.parametrize("more", [0, 1])
async def test_an_error_is_passed_on_up_to_the_size_that_is_kept(more: int) -> None:
    error = b'{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "%b"}}'
    error %= b"a" * (BUFFERED_BYTES - len(error) + 2 + more)
    async with RawUpstream(always(answer(400, error, JSON))) as upstream, proxy(upstream.url) as here:
        got = await ask(here.port, "POST", GENERATE, body=b"{}")
    assert got.status == 400
    assert (got.body == error) is not bool(more)


async def test_an_error_with_ten_thousand_quotas_teaches_a_few() -> None:
    violations = [
        {"quotaId": f"GenerateRequestsPerMinute-{number}", "quotaValue": "5"} for number in range(3000)
    ]
    detail = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "spent", "details": [detail]}
    script = always(answer(429, json.dumps({"error": error}).encode(), JSON))
    async with RawUpstream(script) as upstream, proxy(upstream.url, MAX_WAIT="0") as here:
        assert (await ask(here.port, "POST", GENERATE, body=b"{}")).status == 429
        assert all(rests(key) for key in here.app.rotator.keys)
        for key in here.app.rotator.keys:
            for limiter in key.project.limiters.values():
                assert len(limiter.quotas) <= 32


def attempt_at(here: Proxy) -> Attempt:
    outgoing = Outgoing("POST", GENERATE, [], b"{}")
    return Attempt(here.app.upstream, outgoing, ("x-goog-api-key", "a-key"), proxy=None, fresh=True)


SIZE = 30_000_000


@pytest.mark.parametrize("status", [200, 500])
async def test_an_upstream_that_sends_all_at_once_waits_until_somebody_takes_it(status: int) -> None:
    waits = asyncio.Event()

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(status, bytes(SIZE)))
        waits.set()
        await writer.drain()

    async with RawUpstream(script) as upstream, proxy(upstream.url) as here:
        attempt = attempt_at(here)
        assert (await attempt.head()).status == status
        await waits.wait()
        for _ in range(50):  # turns in which more could be read
            await asyncio.sleep(0.001)
        assert len(attempt._held) <= 2**18
        got = bytearray()
        await attempt.relay(got.extend)
        attempt.end()
        assert len(got) == SIZE
