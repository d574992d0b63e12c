"""Actions of the operator, and the stream of status updates."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxycore.admin import event_stream as updates
from proxycore.demo import Health, MockServer
from tests.support.clocks import CLOCK
from tests.support.proxy import Proxy, proxy, settings
from tests.support.waiting import until
from tests.support.wire import HOME, Client, Got, RawUpstream, Seen, always, answer, ask, connect

pytestmark = pytest.mark.usefixtures("io_loop")
MODEL = "gemini-2.5-flash"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
BODY = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
JSON = ("Content-Type", "application/json")
KEYS = {"GOOGLE_API_KEY_one": "AQ.first", "GOOGLE_API_KEY_two": "AQ.second"}


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Updates are sent twenty times as often as in production."""
    monkeypatch.setattr(updates, "_EVERY", 0.05)


@contextlib.asynccontextmanager
async def watched(first: Health, second: Health) -> AsyncIterator[tuple[Proxy, MockServer]]:
    """A proxy before a mock with two keys."""
    mock = MockServer({"AQ.first": first, "AQ.second": second})
    async with proxy(mock.listen(), KEYS) as here:
        yield here, mock
    await mock.stop()


async def act(here: Proxy, *fields: tuple[str, str], **asked: object) -> Got:
    return await ask(
        here.port, "POST", "/status.json", *(fields or (HOME, JSON)), body=json.dumps(asked).encode()
    )


async def done(here: Proxy, **asked: object) -> dict[str, Any]:
    got = await act(here, **asked)
    assert got.status == 200
    content: dict[str, Any] = json.loads(got.body)
    return content


async def generate(here: Proxy, count: int = 1) -> set[int]:
    return {(await ask(here.port, "POST", GENERATE, body=BODY)).status for _ in range(count)}


class Watcher:
    """A client of the stream of updates, which merges changes into a document."""

    def __init__(self, client: Client) -> None:
        self.document: dict[str, Any] = {}
        self.kinds: list[str] = []
        self._client = client
        self._rest = b""

    async def next(self) -> dict[str, Any]:
        while b"\n\n" not in self._rest:
            self._rest += await anext(self._client.chunks())
        event, self._rest = self._rest.split(b"\n\n", 1)
        kind, data = event.decode().splitlines()
        content = json.loads(data.removeprefix("data: "))
        self.kinds.append(kind.removeprefix("event: "))
        if self.kinds[-1] == "status":
            self.document = content
        else:
            changed = {key["name"]: key for key in content.pop("keys", [])}
            self.document |= content
            self.document["keys"] = [changed.get(key["name"], key) for key in self.document["keys"]]
        return self.document

    async def end(self) -> None:
        """Reads on until the stream ends, as a whole one."""
        with contextlib.suppress(StopAsyncIteration):
            while True:
                await self.next()

    async def key(self, name: str, state: str) -> dict[str, Any]:
        """The key's entry, once it is in this state."""
        while True:
            for key in (await self.next())["keys"]:
                if key["name"] == name and key["state"] == state:
                    return dict(key)


@contextlib.asynccontextmanager
async def watching(here: Proxy) -> AsyncIterator[Watcher]:
    async with connect(here.port) as client:
        client.send("GET", "/status.json", HOME, ("Accept", "text/event-stream"))
        head = await client.head()
        assert head.status == 200
        assert head.one("content-type") == "text/event-stream; charset=UTF-8"
        yield Watcher(client)


async def test_watchers_see_a_bench_and_its_manual_release() -> None:
    async with (
        watched(Health.healthy(), Health.service_disabled()) as (here, mock),
        watching(here) as watcher,
    ):
        assert (await watcher.next())["totals"]["requests"] == 0
        await generate(here, 20)
        benched = await watcher.key("two", "benched")
        assert benched["bench"]["reason"] == "SERVICE_DISABLED"
        mock.keys["AQ.second"] = Health.healthy()
        told = await done(here, action="release", key="two")
        assert (told["message"], told["accepted"]) == ("Key two is released.", None)
        assert (told["key"]["state"], told["key"]["bench"]) == ("ready", None)
        await watcher.key("two", "ready")
        assert watcher.kinds[0] == "status"
        assert watcher.kinds.count("change") > 1
        assert watcher.document["totals"]["requests"] == 20
        await generate(here, 20)
        assert {call.status for call in list(mock.calls)[-5:]} == {200}


async def test_a_watchers_document_equals_the_whole_status() -> None:
    async with watched(Health.quota(1), Health.suspended()) as (here, _), watching(here) as watcher:
        await watcher.next()
        await generate(here, 2)
        while watcher.document["totals"]["requests"] < 2:
            await watcher.next()
        whole = json.loads((await ask(here.port, "GET", "/status.json", HOME)).body)
        for name in set(whole) - {"time", "history"}:
            assert watcher.document[name] == whole[name], name


async def test_a_bench_for_a_model_is_released_for_that_model() -> None:
    async with watched(Health(models={MODEL: Health.day_spent()}), Health.healthy()) as (here, _):
        await generate(here, 20)
        told = await done(here, action="release", key="one", model="another-model")
        assert told["message"] == "Key one is not benched for another-model."
        assert told["key"]["models"][MODEL]["bench"]["reason"] == "daily quota exhausted"
        told = await done(here, action="release", key="one", model=MODEL)
        assert told["message"] == f"Key one is released for {MODEL}."
        assert told["key"]["models"].get(MODEL, {}).get("bench") is None


async def test_a_key_can_be_benched_manually_for_a_time() -> None:
    async with watched(Health.healthy(), Health.healthy()) as (here, mock):
        before = time.time()
        told = await done(here, action="rest", key="one", seconds=90)
        assert told["key"]["state"] == "benched"
        assert told["key"]["bench"]["reason"] == "manual"
        assert before + 89 <= told["key"]["bench"]["until"] <= time.time() + 91
        await generate(here, 20)
        assert {call.key for call in mock.calls} == {"AQ.second"}


async def test_a_key_is_tested_without_using_quota() -> None:
    async with watched(Health.suspended(), Health.healthy()) as (here, mock):
        told = await done(here, action="try", key="one")
        assert (told["accepted"], told["key"]["state"]) == (False, "benched")
        assert "suspended or leaked" in told["message"]
        mock.keys["AQ.first"] = Health.healthy()
        told = await done(here, action="try", key="one")
        assert (told["accepted"], told["key"]["state"]) == (True, "ready")
        assert {(call.method, call.target.partition("?")[0]) for call in mock.calls} == {
            ("GET", "/v1beta/models")
        }


async def test_a_successful_test_ends_a_bench_for_a_403_but_not_a_manual_one() -> None:
    async with watched(Health.service_disabled(), Health.healthy()) as (here, mock):
        assert (await done(here, action="try", key="one"))["key"]["state"] == "benched"
        mock.keys["AQ.first"] = Health.healthy()
        assert (await done(here, action="try", key="one"))["key"]["state"] == "ready"
        await done(here, action="rest", key="one", seconds=60)
        told = await done(here, action="try", key="one")
        assert (told["accepted"], told["key"]["state"]) == (True, "benched")


async def test_an_inconclusive_probe_blames_no_key() -> None:
    async with proxy("http://127.0.0.1:9", KEYS) as here:
        told = await done(here, action="try", key="one")
        assert (told["accepted"], told["key"]["state"]) == (None, "ready")
        assert told["message"].startswith("Key one could not be tested: The upstream could not be reached")


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"action": "release"}, 404),
        ({"action": "release", "key": "three"}, 404),
        ({"action": "dance", "key": "one"}, 400),
        ({"action": ["add"], "key": "one"}, 400),
        ({"action": "add", "key": "one"}, 403),
        ({"action": "rest", "key": "one"}, 400),
        ({"action": "rest", "key": "one", "seconds": 0}, 400),
        ({"action": "rest", "key": "one", "seconds": "60"}, 400),
        ({"action": "rest", "key": "one", "seconds": 1e12}, 400),
        ({"action": "release", "key": "one", "model": 3}, 400),
    ],
)
async def test_invalid_actions_are_refused(asked: dict[str, object], status: int) -> None:
    async with proxy("http://127.0.0.1:9", KEYS) as here:
        got = await act(here, **asked)
        assert got.status == status
        assert json.loads(got.body)["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        ((HOME, JSON), b"{", 400),
        ((HOME, JSON), b"[1]", 400),
        ((HOME, JSON), b"[" * 60_000, 400),
        ((HOME, JSON), b" " * 100_000, 413),
        ((HOME, ("Content-Type", "text/plain")), b'{"action": "rest", "key": "one", "seconds": 9}', 400),
        ((("Host", "rebound.example"), JSON), b'{"action": "rest", "key": "one", "seconds": 9}', 401),
        (
            (HOME, JSON, ("Origin", "https://evil.example")),
            b'{"action": "rest", "key": "one", "seconds": 9}',
            401,
        ),
    ],
)
async def test_a_page_of_another_site_can_do_nothing(
    fields: tuple[tuple[str, str], ...], body: bytes, status: int
) -> None:
    async with proxy("http://127.0.0.1:9", KEYS) as here:
        assert (await ask(here.port, "POST", "/status.json", *fields, body=body)).status == status
        assert here.app.rotator.keys[0].whole is None


@pytest.mark.parametrize(
    ("target", "allowed"),
    [("/status.json", "GET, HEAD, POST"), ("/metrics", "GET, HEAD"), ("/", "GET, HEAD")],
)
async def test_other_methods_are_refused_once_their_bodies_were_read(target: str, allowed: str) -> None:
    async with proxy("http://127.0.0.1:9", KEYS) as here, connect(here.port) as client:
        client.send("PUT", target, HOME, body=b"x" * 200_000)
        got = await client.got()
        assert (got.status, got.one("allow")) == (405, allowed)
        client.send("GET", "/healthz")
        assert (await client.got()).status == 200


async def test_actions_need_the_admin_key() -> None:
    variables = {"ADMIN_API_KEY": "the-admin", "OUTPUT_API_KEY": "a-client"}
    async with proxy("http://127.0.0.1:9", KEYS, CLOCK, **variables) as here:
        for key, status in (("a-client", 401), ("the-admin", 200)):
            got = await act(here, ("x-goog-api-key", key), JSON, action="rest", key="one", seconds=9)
            assert got.status == status
            assert (here.app.rotator.keys[0].whole is not None) == (status == 200)


async def test_watchers_reconnect_after_a_reload_and_do_not_delay_the_end() -> None:
    async with watched(Health.healthy(), Health.healthy()) as (here, mock), watching(here) as watcher:
        await watcher.next()
        here.app.reload(settings(mock.listen(), {"GOOGLE_API_KEY_three": "AQ.first"}))
        await watcher.end()
        async with watching(here) as again:
            assert [key["name"] for key in (await again.next())["keys"]] == ["three"]
            await until(lambda: not here.app.context.running)


async def test_watchers_share_one_document_and_none_is_made_without_watchers() -> None:
    async with watched(Health.healthy(), Health.healthy()) as (here, _):
        async with watching(here) as one, watching(here) as other:
            first, second = await asyncio.gather(one.next(), other.next())
            assert first == second
            await asyncio.gather(one.next(), other.next())
            assert one.document == other.document
        await until(lambda: not here.app.updates.watched)


# What concerns requests that name no model.

SPENT = answer(
    429,
    json.dumps(
        {
            "error": {
                "code": 429,
                "message": "You exceeded your current quota.",
                "status": "RESOURCE_EXHAUSTED",
                "details": [
                    {
                        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                        "violations": [{"quotaId": "ListRequestsPerMinutePerProject", "quotaValue": "15"}],
                    },
                    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "300s"},
                ],
            }
        }
    ).encode(),
    JSON,
)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1beta/models"),
        ("GET", "/v1beta/files"),
        ("GET", "/openai/models"),
        ("POST", "/v1beta/auth_tokens"),
        ("POST", "/v1beta/interactions"),
    ],
)
async def test_a_bench_for_requests_without_a_model_has_a_name_and_is_released_by_it(
    method: str, target: str
) -> None:
    answers = [SPENT]

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.pop() if answers else answer(200, b"{}", JSON))

    body = b"{}" if method == "POST" else None
    async with (
        RawUpstream(script) as upstream,
        proxy(upstream.url, {"GOOGLE_API_KEY_one": "AQ.first"}) as here,
    ):
        assert (await ask(here.port, method, target, body=body)).status == 429
        assert len(upstream.seen) == 1
        assert (await ask(here.port, method, target, body=body)).status == 429
        assert len(upstream.seen) == 1  # it rests
        shown = json.loads((await ask(here.port, "GET", "/status.json", HOME)).body)
        ((name, known),) = shown["keys"][0]["models"].items()
        assert name
        assert known["bench"]["until"] > shown["time"] + 30
        told = await done(here, action="release", key="one", model=name)
        assert told["message"] == f"Key one is released for {name}."
        assert "" not in told["key"]["models"]
        assert (await ask(here.port, method, target, body=body)).status == 200


async def test_no_model_has_an_empty_name() -> None:
    async with RawUpstream(always(SPENT)) as upstream, proxy(upstream.url, KEYS, MAX_WAIT="0") as here:
        for method, target in (("GET", "/v1beta/models"), ("POST", "/v1beta/auth_tokens"), ("GET", "/v1/x")):
            await ask(here.port, method, target, body=None if method == "GET" else b"{}")
        await ask(here.port, "POST", "/v1beta/interactions", body=b'{"input": "hi"}')
        shown = json.loads((await ask(here.port, "GET", "/status.json", HOME)).body)
    assert all(name for key in shown["keys"] for name in key["models"])
    assert any(key["models"] for key in shown["keys"])
