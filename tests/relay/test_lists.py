"""Lists show what the whole pool holds, key after key."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxycore.demo import Health, MockServer
from tests.support.proxy import Proxy, proxy
from tests.support.wire import Got, RawUpstream, Seen, always, answer, ask

RAW = (("X-Goog-Upload-Protocol", "raw"), ("Content-Type", "text/plain"))

pytestmark = pytest.mark.usefixtures("io_loop")


@contextlib.asynccontextmanager
async def pool(count: int = 5) -> AsyncIterator[tuple[MockServer, Proxy]]:
    mock = MockServer({f"AQ.secret-key-{number}": Health.healthy() for number in range(count)})
    keys = {f"GOOGLE_API_KEY_{number}": secret for number, secret in enumerate(mock.keys)}
    try:
        async with proxy(mock.listen(), keys, MAX_WAIT="0") as here:
            yield mock, here
    finally:
        await mock.stop()


async def upload(here: Proxy, count: int) -> set[str]:
    made = [await ask(here.port, "POST", "/upload/v1beta/files", *RAW, body=b"x") for _ in range(count)]
    return {json.loads(got.body)["file"]["name"] for got in made}


async def pages(here: Proxy, target: str, size: int) -> list[dict[str, Any]]:
    """All pages, as a client reads them."""
    place = ""
    found: list[dict[str, Any]] = []
    while not found or place:
        query = f"?pageSize={size}" + (f"&pageToken={place}" if place else "")
        got = await ask(here.port, "GET", target + query)
        assert got.status == 200, got.body
        found.append(json.loads(got.body))
        place = found[-1].get("nextPageToken", "")
    return found


@pytest.mark.parametrize("size", [1, 3, 10, 1000])
async def test_paging_shows_everything_once_and_never_an_empty_page(size: int) -> None:
    async with pool() as (_, here):
        names = await upload(here, 20)
        found = await pages(here, "/v1beta/files", size)
        assert all(page["files"] for page in found)
        listed = [file["name"] for page in found for file in page["files"]]
        assert (len(listed), set(listed)) == (20, names)
        assert max(len(page["files"]) for page in found) <= size


async def test_a_pool_that_holds_nothing_lists_nothing() -> None:
    async with pool(20) as (mock, here):
        assert await pages(here, "/v1/files", 10) == [{}]
        assert sorted(call.key for call in mock.calls) == sorted(mock.keys)


async def test_what_a_list_shows_has_an_owner() -> None:
    async with pool() as (mock, here):
        names = await upload(here, 10)
        affinity = {name: (here.app.affinity.of(name) or here.app.rotator.keys[0]).name for name in names}
        keys = {f"GOOGLE_API_KEY_{number}": secret for number, secret in enumerate(mock.keys)}
        async with proxy(here.app.upstream.origin, keys) as restarted:
            await pages(restarted, "/v1beta/files", 4)
            known = {name: restarted.app.affinity.of(name) for name in names}
            assert {name: key and key.name for name, key in known.items()} == affinity


@pytest.mark.parametrize("health", [Health.suspended(), Health.service_disabled(), Health.overloaded()])
async def test_a_key_that_fails_is_named_and_hides_nobody(health: Health) -> None:
    async with pool() as (mock, here):
        names = await upload(here, 20)
        affinity = {name: here.app.affinity.of(name) for name in names}
        mock.keys["AQ.secret-key-2"] = health
        for _ in range(2):  # the second time, it rests
            got = await ask(here.port, "GET", "/v1beta/files?pageSize=100")
            listed = {file["name"] for file in json.loads(got.body)["files"]}
            assert listed == {name for name, key in affinity.items() if key and key.name != "2"}
            assert got.one("x-incomplete-keys") == "2"
        assert "X-Incomplete-Keys" in got.one("access-control-expose-headers")


REFUSED = (
    b'{"error": {"code": 403, "message": "The caller does not have permission",'
    b' "status": "PERMISSION_DENIED"}}'
)


async def test_a_keys_name_may_be_in_any_alphabet() -> None:
    keys = {"GOOGLE_API_KEY_ключ": "secret-number-one", "GOOGLE_API_KEY_2": "secret-number-two"}

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(200, b"{}") if seen.key.endswith("two") else answer(403, REFUSED))

    async with RawUpstream(script) as upstream, proxy(upstream.url, keys) as here:
        got = await ask(here.port, "GET", "/v1beta/files")
    assert (got.status, got.one("x-incomplete-keys")) == (
        200,
        "ключ".encode("ascii", "backslashreplace").decode(),
    )


async def test_when_no_key_can_be_asked_the_response_is_as_for_any_request() -> None:
    async with pool(2) as (mock, here):
        mock.keys = dict.fromkeys(mock.keys, Health.service_disabled())
        refused = await ask(here.port, "GET", "/v1beta/files")
        assert (refused.status, b"SERVICE_DISABLED" in refused.body) == (403, True)
        assert (await ask(here.port, "GET", "/v1beta/files")).status == 429
        mock.keys = dict.fromkeys(mock.keys, Health.overloaded())
        here.app.rotator.keys[0].whole = here.app.rotator.keys[1].whole = None
        assert (await ask(here.port, "GET", "/v1beta/files")).status == 503


async def test_a_mistake_of_the_clients_is_answered_by_the_first_key() -> None:
    mistake = answer(
        400, b'{"error": {"code": 400, "message": "No such filter.", "status": "INVALID_ARGUMENT"}}'
    )
    async with RawUpstream(always(mistake)) as upstream, proxy(upstream.url) as here:
        got = await ask(here.port, "GET", "/v1beta/cachedContents?filter=x")
    assert (got.status, b"No such filter" in got.body, len(upstream.seen)) == (400, True, 1)


@pytest.mark.parametrize("token", ["invented", "bm90IGpzb24", "WyJub2JvZHkiLCAiIl0", "%00"])
async def test_a_token_that_is_not_ours_is_refused(token: str) -> None:
    async with pool() as (mock, here):
        got = await ask(here.port, "GET", f"/v1beta/files?pageToken={token}")
        assert (got.status, len(mock.calls)) == (400, 0)


async def test_other_parameters_go_on_and_each_key_gets_its_own_token() -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if "page_token=" in seen.target:
            writer.write(answer(200, b'{"agents": [{"id": "b"}]}'))
        else:
            writer.write(answer(200, b'{"agents": [{"id": "a"}], "next_page_token": "a/b+c="}'))

    async with RawUpstream(script) as upstream, proxy(upstream.url) as here:
        first = json.loads((await ask(here.port, "GET", "/v1/agents?page_size=1&x=%20y&x=")).body)
        token = first["next_page_token"]
        await ask(here.port, "GET", f"/v1/agents?page_size=1&page_token={token}&x=%20y&x=")
    assert upstream.seen[0].target == "/v1/agents?page_size=1&x=%20y&x="
    assert upstream.seen[1].target == "/v1/agents?page_size=1&x=%20y&x=&page_token=a%2Fb%2Bc%3D"
    assert upstream.seen[0].key == upstream.seen[1].key


async def test_models_are_listed_by_one_key() -> None:
    async with pool() as (mock, here):
        assert (await ask(here.port, "GET", "/v1beta/models?pageSize=2")).status == 200
        assert len(mock.calls) == 1


async def test_what_is_made_in_a_collection_is_made_once() -> None:
    async with pool() as (mock, here):
        got: Got = await ask(here.port, "POST", "/v1beta/fileSearchStores", body=b"{}")
        assert (got.status, len(mock.calls)) == (200, 1)
