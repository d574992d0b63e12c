"""Ephemeral tokens: each goes on as it is, with nothing of ours, and opens nothing that is ours."""

import asyncio
import json

import pytest
from websockets.asyncio.server import ServerConnection

from tests.relay.test_live import CLIENT, LIVE, LOCKED, echo, session, upstream
from tests.support.proxy import KEYS, proxy, rests
from tests.support.wire import RawUpstream, Seen, always, answer, ask

TOKEN = "auth_tokens/0123456789abcdef"
PLAIN = "/v1beta/interactions/int-1?alt=json"
PLACES = {
    "key field": ("", ("x-goog-api-key", TOKEN)),
    "authorization": ("", ("Authorization", f"Token {TOKEN}")),
    "small letters": ("", ("authorization", f"token {TOKEN}")),
    "query": (f"&access_token={TOKEN}", None),
    "query, escaped": ("&access_token=auth_tokens%2F0123456789abcdef", None),
}

pytestmark = pytest.mark.usefixtures("io_loop")


def credentials(seen: Seen) -> list[str]:
    """All values with which a request could present itself."""
    names = {"x-goog-api-key", "authorization", "x-api-key", "cookie"}
    return [value for name, value in seen.fields if name.lower() in names]


@pytest.mark.parametrize(("part", "field"), PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_over_plain_http_it_goes_on_in_its_place_alone(
    method: str, part: str, field: tuple[str, str] | None
) -> None:
    fields = [field] if field else []
    async with (
        RawUpstream(always(answer(200, b"{}"))) as upstream,
        proxy(upstream.url, KEYS | LOCKED) as here,
    ):
        got = await ask(here.port, method, PLAIN + part, *fields, body=b"{}" if method == "POST" else None)
    assert (got.status, got.body) == (200, b"{}")
    (seen,) = upstream.seen
    assert seen.target == PLAIN + part
    assert credentials(seen) == ([field[1]] if field else [])
    assert not any(secret in str(seen.fields) for secret in (*KEYS.values(), CLIENT))


@pytest.mark.parametrize(
    ("authorization", "part", "sent"),
    [
        (f"Token {TOKEN}", f"&access_token={TOKEN}", [f"Token {TOKEN}"]),
        (f"Bearer {CLIENT}", f"&access_token={TOKEN}", []),
        (f"Bearer {CLIENT}", "", [TOKEN]),
        ("Token else", "&access_token=else", [TOKEN]),
    ],
)
async def test_of_several_credentials_only_one_goes_on(
    authorization: str, part: str, sent: list[str]
) -> None:
    fields = ("x-goog-api-key", CLIENT), ("x-goog-api-key", TOKEN), ("Authorization", authorization)
    async with (
        RawUpstream(always(answer(200, b"{}"))) as upstream,
        proxy(upstream.url, KEYS | LOCKED) as here,
    ):
        target = f"{PLAIN}&key={CLIENT}{part}"
        assert (await ask(here.port, "GET", target, *fields)).status == 200
    (seen,) = upstream.seen
    assert (seen.target, credentials(seen)) == (PLAIN if sent else PLAIN + part, sent)


@pytest.mark.parametrize(
    "target",
    ["/v1beta/models", "/v1beta/files", "/v1beta/models/m:generateContent", "/v1beta/openai/models", PLAIN],
)
async def test_an_invented_one_is_the_upstreams_to_refuse(target: str) -> None:
    refusal = answer(401, b'{"error": {"code": 401, "message": "no", "status": "UNAUTHENTICATED"}}')
    async with RawUpstream(always(refusal)) as upstream, proxy(upstream.url, KEYS | LOCKED) as here:
        got = await ask(here.port, "GET", target, ("x-goog-api-key", TOKEN))
        assert not any(map(rests, here.app.rotator.keys))
    assert got.status == 401
    assert [credentials(seen) for seen in upstream.seen] == [[TOKEN]]


@pytest.mark.parametrize(
    "field",
    [
        ("x-goog-api-key", "Auth_tokens/x"),
        ("Authorization", f"Bearer {TOKEN}"),
        ("Authorization", f"Token  x{TOKEN}"),
        ("x-api-key", TOKEN),
        ("Cookie", f"access_token={TOKEN}"),
    ],
)
async def test_what_only_looks_like_one_lets_nobody_in(field: tuple[str, str]) -> None:
    async with RawUpstream(always(answer(200))) as upstream, proxy(upstream.url, KEYS | LOCKED) as here:
        assert (await ask(here.port, "GET", PLAIN, field)).status == 401
    assert not upstream.seen


async def test_it_opens_no_upload() -> None:
    async with RawUpstream(always(answer(200))) as upstream, proxy(upstream.url, KEYS | LOCKED) as here:
        got = await ask(here.port, "POST", "/upload/v1beta/files", ("x-goog-api-key", TOKEN), body=b"{}")
    assert (got.status, upstream.seen) == (401, [])


async def test_an_upstream_that_is_not_there_is_reported() -> None:
    async with proxy("http://127.0.0.1:9", KEYS | LOCKED) as here:
        got = await ask(here.port, "GET", PLAIN, ("x-goog-api-key", TOKEN))
    assert (got.status, b"could not be reached" in got.body) == (500, True)


async def test_those_of_an_interaction_are_minted_and_deleted_by_the_key_that_owns_it() -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        key = seen.key
        if seen.method == "POST" and seen.target.endswith("/interactions"):
            owner.append(key)
            writer.write(answer(200, b'{"id": "int-7"}', ("Content-Type", "application/json")))
        elif key in owner or key == TOKEN:
            token = json.dumps({"auth_token": TOKEN, "expires_at": "2027-01-01T00:00:00Z"}).encode()
            writer.write(answer(200, token, ("Content-Type", "application/json")))
        else:
            writer.write(answer(404, b'{"error": {"code": "not_found", "message": "not found"}}'))

    owner: list[str] = []
    keys = {f"GOOGLE_API_KEY_{n}": f"AQ.secret-of-key-{n}" for n in range(8)}
    mine = ("x-goog-api-key", CLIENT)
    async with RawUpstream(script) as upstream, proxy(upstream.url, keys | LOCKED) as here:
        body = b'{"model": "gemini-live", "input": "hi"}'
        await ask(here.port, "POST", "/v1beta/interactions", mine, body=body)
        minted = await ask(here.port, "POST", "/v1beta/interactions/int-7/auth_tokens", mine, body=b"{}")
        assert json.loads(minted.body)["auth_token"] == TOKEN
        minter = here.app.affinity.of(TOKEN)
        assert minter
        assert minter.secret == owner[0]
        path = f"/v1beta/interactions/int-7/{TOKEN}"
        assert (await ask(here.port, "DELETE", path, mine)).status == 200
        plain = await ask(here.port, "GET", "/v1beta/interactions/int-7", ("x-goog-api-key", TOKEN))
        assert plain.status == 200
    assert [seen.key for seen in upstream.seen] == [*owner * 3, TOKEN]


@pytest.mark.parametrize(("part", "field"), PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("path", [f"{LIVE}Constrained", "/v1beta/interactions/live"])
async def test_a_session_goes_on_with_it_alone_and_is_not_tried_again(
    path: str, part: str, field: tuple[str, str] | None
) -> None:
    seen: list[tuple[str, list[str]]] = []

    async def script(connection: ServerConnection) -> None:
        assert connection.request
        headers = connection.request.headers
        sent = [*headers.get_all("x-goog-api-key"), *headers.get_all("Authorization")]
        seen.append((connection.request.path, sent))
        await connection.recv()
        await connection.close(1007, "API key not valid. Please pass a valid API key.")

    target = f"{path}?a=b{part}"
    fields = dict([field]) if field else {}
    async with upstream(script) as url, proxy(url, KEYS | LOCKED) as here:
        async with session(here, target, additional_headers=fields) as client:
            await client.send("{}")
            await client.wait_closed()
            assert client.close_code == 1007
        assert not any(map(rests, here.app.rotator.keys))
    assert seen == [(target, [field[1]] if field else [])]


async def test_a_session_with_one_talks_both_ways() -> None:
    async with upstream(echo) as url, proxy(url, KEYS | LOCKED) as here:
        async with session(here, f"{LIVE}?access_token={TOKEN}") as client:
            for message in ("Hello", b"\x00", "x" * 2_000_000):
                await client.send(message)
                assert await client.recv() == message
