"""Resources that belong to one key's project: every request finds its owner, and nobody is blamed."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from proxycore.clock import Clock
from proxycore.demo import Health, MockServer
from proxycore.rotation.bench import Bench, BenchPlace
from tests.support.clocks import CLOCK, TurnedClock
from tests.support.proxy import Proxy, proxy, rests
from tests.support.wire import Got, ask

JSON = ("Content-Type", "application/json")
MODEL = "/v1beta/models/gemini-2.5-flash"
GENERATE = f"{MODEL}:generateContent"
RAW = (("X-Goog-Upload-Protocol", "raw"), ("Content-Type", "text/plain"))

pytestmark = pytest.mark.usefixtures("io_loop")


@contextlib.asynccontextmanager
async def pool(
    count: int = 5, clock: Clock = CLOCK, **settings: str
) -> AsyncIterator[tuple[MockServer, Proxy]]:
    """The proxy before a mock with this many healthy keys."""
    healths = {f"AQ.secret-key-{number}": Health.healthy() for number in range(count)}
    mock = MockServer(healths, clock=clock)
    try:
        async with restarted(mock, mock.listen(), clock, **settings) as here:
            yield mock, here
    finally:
        await mock.stop()


@contextlib.asynccontextmanager
async def restarted(
    mock: MockServer, url: str, clock: Clock = CLOCK, **settings: str
) -> AsyncIterator[Proxy]:
    """A proxy that knows nothing yet."""
    keys = {f"GOOGLE_API_KEY_{number}": secret for number, secret in enumerate(mock.keys)}
    async with proxy(url, keys, clock, **settings) as here:
        yield here


async def post(here: Proxy, target: str, document: Mapping[str, Any]) -> Got:
    return await ask(here.port, "POST", target, JSON, body=json.dumps(document).encode())


async def upload(here: Proxy, content: bytes = b"content", *fields: tuple[str, str]) -> str:
    got = await ask(here.port, "POST", "/upload/v1beta/files", *RAW, *fields, body=content)
    assert got.status == 200
    return str(json.loads(got.body)["file"]["name"])


def about(*names: str) -> dict[str, Any]:
    parts = [
        {"fileData": {"fileUri": f"https://generativelanguage.googleapis.com/v1beta/{name}"}}
        for name in names
    ]
    return {"contents": [{"parts": [*parts, {"text": "What is this?"}]}]}


def keys_of(mock: MockServer, text: str) -> set[str]:
    """The keys with which something was asked that has this text in its target or body."""
    return {call.key for call in mock.calls if text in call.target or text.encode() in call.body}


# Every kind of resource, made through the proxy and then asked about.


async def make_file(here: Proxy) -> tuple[str, dict[str, Any]]:
    name = await upload(here)
    return name, about(name)


async def make_cache(here: Proxy) -> tuple[str, dict[str, Any]]:
    made = await post(here, "/v1beta/cachedContents", {"model": "models/gemini-2.5-flash", **about()})
    name = json.loads(made.body)["name"]
    return name, {**about(), "cachedContent": name}


async def make_store(here: Proxy) -> tuple[str, dict[str, Any]]:
    name = json.loads((await post(here, "/v1beta/fileSearchStores", {"displayName": "s"})).body)["name"]
    return name, {**about(), "tools": [{"fileSearch": {"fileSearchStoreNames": [name]}}]}


@pytest.mark.parametrize("make", [make_file, make_cache, make_store])
async def test_what_a_key_made_is_asked_about_with_that_key(make: Any) -> None:  # noqa: ANN401 - one of three
    async with pool() as (mock, here):
        for _ in range(5):
            name, question = await make(here)
            assert (await ask(here.port, "GET", f"/v1beta/{name}")).status == 200
            assert (await post(here, GENERATE, question)).status == 200
            assert (await post(here, f"{MODEL}:streamGenerateContent?alt=sse", question)).status == 200
            assert len(keys_of(mock, name)) == 1
            assert (await ask(here.port, "DELETE", f"/v1beta/{name}")).status == 200
        assert {call.status for call in mock.calls} == {200}


@pytest.mark.parametrize("make", [make_file, make_cache, make_store])
async def test_after_a_restart_an_owner_is_found_by_asking_and_nobody_is_blamed(make: Any) -> None:  # noqa: ANN401 - the same
    async with pool() as (mock, here):
        _, question = await make(here)
        async with restarted(mock, here.app.upstream.origin) as new:
            for _ in range(3):
                assert (await post(new, GENERATE, question)).status == 200
            # At most once each to find it, and never again.
            assert sum(call.status == 403 for call in mock.calls) <= 4
            assert not any(rests(key) for key in new.app.rotator.keys)


async def test_operations_are_polled_and_their_results_are_fetched_with_their_own_key() -> None:
    async with pool() as (mock, here):
        for _ in range(4):
            model = "/v1beta/models/veo-3.0-generate-preview"
            made = json.loads(
                (await post(here, f"{model}:predictLongRunning", {"instances": [{"prompt": "x"}]})).body
            )
            done = json.loads((await ask(here.port, "GET", f"/v1beta/{made['name']}")).body)
            uri = done["response"]["generateVideoResponse"]["generatedSamples"][0]["video"]["uri"]
            target = "/" + uri.split("/", 3)[3]
            whole = await ask(here.port, "GET", target)
            part = await ask(here.port, "GET", target, ("Range", "bytes=10-19"))
            again = await ask(here.port, "GET", target.replace("/v1beta/", "/download/v1beta/", 1))
            assert (whole.status, part.status, again.body) == (200, 206, whole.body)
            assert (part.body, part.one("content-range")[:12]) == (whole.body[10:20], "bytes 10-19/")
        assert {call.status for call in mock.calls} == {200, 206}


async def test_batches_and_their_files_stay_with_their_key() -> None:
    async with pool() as (mock, here):
        for _ in range(4):
            name = await upload(here, b'{"key": "1", "request": {}}\n')
            batch = {"batch": {"displayName": "b", "inputConfig": {"fileName": name}}}
            made = json.loads((await post(here, f"{MODEL}:batchGenerateContent", batch)).body)
            for _ in range(3):
                got = json.loads((await ask(here.port, "GET", f"/v1beta/{made['name']}")).body)
            results = got["response"]["responsesFile"]
            fetched = await ask(here.port, "GET", f"/download/v1beta/{results}:download?alt=media")
            assert fetched.status == 200
        assert {call.status for call in mock.calls} == {200}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_conversations_of_interactions_stay_with_their_key(stream: bool) -> None:
    async with pool() as (mock, here):
        for _ in range(4):
            previous: dict[str, Any] = {}
            for _ in range(3):
                asked = {"model": "gemini-2.5-flash", "input": "Hello", "stream": stream, **previous}
                got = await post(here, "/v1beta/interactions", asked)
                assert got.status == 200
                text = got.body.decode()
                name = json.loads(text)["id"] if not stream else text.split('"id": "')[1].split('"')[0]
                previous = {"previous_interaction_id": name}
            assert (await ask(here.port, "GET", f"/v1beta/interactions/{name}")).status == 200
        assert {call.status for call in mock.calls} == {200}


async def test_a_fresh_interaction_that_is_not_there_yet_costs_one_call_and_is_not_forgotten() -> None:
    async with pool() as (mock, here):
        mock.interaction_delay = 1000.0
        got = await post(here, "/v1beta/interactions", {"model": "gemini-2.5-flash", "input": "Hello"})
        name = json.loads(got.body)["id"]
        mock.calls.clear()
        for _ in range(3):
            assert (await ask(here.port, "GET", f"/v1beta/interactions/{name}")).status == 404
        assert len(mock.calls) == 3
        mock.interaction_delay = 0.0
        assert (await ask(here.port, "GET", f"/v1beta/interactions/{name}")).status == 200
        assert len(keys_of(mock, name)) == 1


async def test_the_key_that_minted_a_token_is_known() -> None:
    async with pool() as (mock, here):
        name = json.loads((await post(here, "/v1alpha/auth_tokens", {"uses": 1})).body)["name"]
        minter = here.app.affinity.of(name)
        assert minter
        assert minter.secret == mock.calls[-1].key


# Owners that rest, that differ, that are unknown to everyone.


async def test_a_benched_owner_is_waited_for_or_its_time_is_named() -> None:
    clock = TurnedClock()
    async with pool(clock=clock, MAX_WAIT="0") as (mock, here):
        name = await upload(here)
        owner = here.app.affinity.of(name)
        assert owner
        mock.keys[owner.secret] = Health.quota(1, window=40.0)
        assert (await post(here, GENERATE, about(name))).status == 200
        for _ in range(3):
            got = await post(here, GENERATE, about(name))
            assert (got.status, int(got.one("retry-after")) in range(38, 43)) == (429, True)
            clock.turn(0.5)
            assert name in json.loads(got.body)["error"]["message"]
        assert keys_of(mock, name) == {owner.secret}
        assert (await post(here, GENERATE, about())).status == 200


async def test_a_request_waits_for_its_owner_to_come_off_the_bench() -> None:
    async with pool(MAX_WAIT="10") as (mock, here):
        name = await upload(here)
        owner = here.app.affinity.of(name)
        assert owner
        mock.keys[owner.secret] = Health.quota(1, window=1.0)
        for _ in range(3):
            assert (await post(here, GENERATE, about(name))).status == 200
        assert keys_of(mock, name) == {owner.secret}


async def test_two_owners_in_one_request_are_a_clear_mistake_that_reaches_nobody() -> None:
    async with pool() as (mock, here):
        names = [await upload(here)]
        while here.app.affinity.of(names[0]) is here.app.affinity.of(names[-1]):
            names.append(await upload(here))
        mock.calls.clear()
        got = await post(here, GENERATE, about(names[0], names[-1]))
        error = json.loads(got.body)["error"]
        assert (got.status, error["status"], len(mock.calls)) == (400, "INVALID_ARGUMENT", 0)
        assert names[0] in error["message"]
        assert names[-1] in error["message"]


async def test_what_is_made_in_one_group_is_made_with_one_key_while_it_is_ready() -> None:
    group = ("X-Resource-Group", "my report")
    async with pool() as (mock, here):
        names = [await upload(here, b"content", group) for _ in range(8)]
        assert (await post(here, GENERATE, about(*names))).status == 200
        assert len({call.key for call in mock.calls}) == 1
        assert not any("X-Resource-Group" in call.headers for call in mock.calls)
        mock.keys[mock.calls[0].key] = Health.service_disabled()
        started = ("X-Goog-Upload-Protocol", "resumable"), ("X-Goog-Upload-Command", "start"), group
        for _ in range(2):
            assert (await ask(here.port, "POST", "/upload/v1beta/files", *started, body=b"{}")).status == 200
        assert mock.calls[-1].key == mock.calls[-2].key


async def test_what_was_deleted_is_gone_and_says_so_even_while_another_key_is_benched() -> None:
    async with pool(3) as (mock, here):
        name = await upload(here)
        owner = here.app.affinity.of(name)
        resting = next(key for key in here.app.rotator.keys if key is not owner)
        mock.keys[resting.secret] = Health.service_disabled()
        assert (await ask(here.port, "GET", "/v1beta/files")).one("x-incomplete-keys") == resting.name
        assert (await ask(here.port, "DELETE", f"/v1beta/{name}")).status == 200
        got = await ask(here.port, "GET", f"/v1beta/{name}")
        assert (got.status, name.partition("/")[2] in got.body.decode()) == (403, True)


async def test_what_is_deleted_inside_a_resource_does_not_change_its_owner() -> None:
    async with pool() as (mock, here):
        store = json.loads((await post(here, "/v1beta/fileSearchStores", {})).body)["name"]
        target = f"/upload/v1beta/{store}:uploadToFileSearchStore"
        made = json.loads((await ask(here.port, "POST", target, *RAW, body=b"content")).body)
        document = made["response"]["documentName"]
        assert (await ask(here.port, "DELETE", f"/v1beta/{document}?force=true")).status == 200
        assert (await ask(here.port, "GET", f"/v1beta/{store}")).status == 200
        assert len(keys_of(mock, store)) == 1


async def test_what_nobody_knows_is_asked_of_everyone_once_and_the_upstreams_response_is_passed_on() -> None:
    async with pool() as (mock, here):
        got = await ask(here.port, "GET", "/v1beta/files/nobodys")
        assert (got.status, "nobodys" in got.body.decode()) == (403, True)
        assert sorted(call.key for call in mock.calls) == sorted(mock.keys)


async def test_a_key_that_may_do_nothing_is_not_waited_for_when_nobody_else_knows_a_name() -> None:
    async with pool(3) as (mock, here):
        mock.keys["AQ.secret-key-1"] = Health.service_disabled()
        for number in range(6):  # in whatever order the three are asked
            here.app.rotator.keys[1].whole = None if number % 2 else here.app.rotator.keys[1].whole
            assert (await ask(here.port, "GET", f"/v1beta/files/nobodys{number}")).status == 403


async def test_another_key_never_responds_for_a_benched_owner() -> None:
    clock = TurnedClock()
    mock = MockServer({f"AQ.secret-key-{number}": Health.healthy() for number in range(2)})
    keys = {f"GOOGLE_API_KEY_{number}": secret for number, secret in enumerate(mock.keys)}
    url = mock.listen()
    async with proxy(url, keys) as before:
        name = await upload(before)
        owner = before.app.affinity.of(name)
    assert owner
    async with proxy(url, keys, clock, MAX_WAIT="0") as here:
        mock.keys[owner.secret] = Health.quota(1, window=40.0)
        while not any(rests(key) for key in here.app.rotator.keys):
            assert (await post(here, GENERATE, about())).status == 200
        got = await post(here, GENERATE, about(name))
        assert (got.status, got.one("retry-after") > "0") == (429, True)
        mock.keys[owner.secret] = Health.healthy()
        clock.turn(60)
        assert (await post(here, GENERATE, about(name))).status == 200
    await mock.stop()


async def test_the_resources_of_a_retired_owner_are_searched_among_the_others() -> None:
    async with pool(2) as (mock, here):
        name = await upload(here)
        owner = here.app.affinity.of(name)
        assert owner
        mock.keys[owner.secret] = Health.suspended()
        refused = await ask(here.port, "GET", f"/v1beta/{name}")
        assert (refused.status, b"suspended" in refused.body) == (403, True)
        here.app.rotator.set_bench(owner, BenchPlace.RETIRED, Bench("suspended or leaked", CLOCK() + 60.0, 3))
        mock.calls.clear()
        unknown = await ask(here.port, "GET", f"/v1beta/{name}")
        assert (unknown.status, b"suspended" in unknown.body) == (403, False)
        assert owner.secret not in {call.key for call in mock.calls}


async def test_fifty_files_are_asked_about_at_once_and_only_their_owners_respond() -> None:
    async with pool() as (mock, here):
        names = [await upload(here) for _ in range(50)]
        secrets = list(mock.keys)
        mock.keys[secrets[0]] = Health(models={"gemini-2.5-pro": Health.quota(0, window=60.0)})
        answers = await asyncio.gather(
            *(post(here, GENERATE, about(name)) for name in names for _ in range(4)),
            *(post(here, "/v1beta/models/gemini-2.5-pro:generateContent", about()) for _ in range(20)),
        )
        assert {got.status for got in answers} == {200}
        assert {call.status for call in mock.calls} <= {200, 429}
        for name in names:
            assert len(keys_of(mock, name)) == 1
