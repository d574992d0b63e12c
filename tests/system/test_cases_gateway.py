"""Refusals that are not Google's (a gateway's, a firewall's) blame no key, and end when they end."""

import gzip
import json

import pytest

from tests.support.cases_clients import all_served
from tests.support.cases_support import CASES, CHAT, INTERACTIONS, Answered, chat, interaction, named, pool
from tests.support.scripted import JSON, Answer, Fields, everyone, interactions_error, only

pytestmark = CASES
TEXT: Fields = (("Content-Type", "text/plain"),)
HTML: Fields = (("Content-Type", "text/html"),)


def told(status: int, body: object) -> Answer:
    return Answer(status, json.dumps(body).encode())


OPENAI = {
    "message": "Incorrect API key provided.",
    "type": "invalid_request_error",
    "code": "invalid_api_key",
}
NOT_GOOGLE = {
    "cloudflare": told(
        401, {"success": False, "result": [], "error": [{"code": 1000, "message": "Unauthorized"}]}
    ),
    "text 401": Answer(401, b"Unauthorized", TEXT),
    "text 403": Answer(403, b"Access denied by policy.", TEXT),
    "nothing 401": Answer(401, b"", ()),
    "nothing 403": Answer(403, b""),
    "nothing 429": Answer(429, b""),
    "html 403": Answer(403, b"<html><body>403 Forbidden</body></html>", HTML),
    "html 429": Answer(429, b"<!doctype html><title>Too many requests</title>", HTML),
    "text 429": Answer(429, b"slow down", TEXT),
    "text 402": Answer(402, b"Payment required", TEXT),
    "openai 401": told(401, {"error": OPENAI}),
    "openai 402": told(402, {"error": OPENAI | {"code": "insufficient_quota", "type": "billing"}}),
    "openai 429": told(
        429, {"error": {"code": "rate_limit_exceeded", "message": "Rate limit reached", "type": "tokens"}}
    ),
    "a string": told(401, {"error": "API key not valid. Please pass a valid API key."}),
    "no status": told(403, {"error": {"code": 403, "message": "Your project has been denied access."}}),
    "a word for code": told(401, {"error": {"code": "forbidden_here", "message": "API key not valid."}}),
    "digits for code": told(
        401, {"error": {"code": "401", "message": "API key expired.", "status": "UNAUTHENTICATED"}}
    ),
    "two": told(401, [{"error": {"code": 401, "message": "no", "status": "UNAUTHENTICATED"}}] * 2),
    "detail": told(401, {"detail": "Your API key was reported as leaked."}),
    "null": told(401, None),
    "no UTF-8": Answer(401, b"\xff\xfe\x00", JSON),
    "text in gzip": Answer(403, gzip.compress(b"no", mtime=0), (*TEXT, ("Content-Encoding", "gzip"))),
}


@pytest.mark.parametrize("name", NOT_GOOGLE)
async def test_what_a_gateway_refuses_is_no_key_s_fault(name: str) -> None:
    async with pool(3, everyone(NOT_GOOGLE[name])) as here:
        for answer in await here.in_turn(3):
            assert (answer.status, answer.body) == (NOT_GOOGLE[name].status, NOT_GOOGLE[name].body)
        assert await here.rests() == {}
        here.upstream.script = lambda _: None
        begun = here.now
        assert (await here.plain()).status == 200
        assert here.now - begun <= 4.0
        assert await here.rests() == {}
        assert await here.outages() == []


@pytest.mark.parametrize("name", ["cloudflare", "openai 401", "openai 429", "text 403"])
async def test_so_on_the_openai_path(name: str) -> None:
    async with pool(3, everyone(NOT_GOOGLE[name])) as here:

        async def request() -> Answered:
            return await here.ask("POST", CHAT, chat())

        assert {answer.status for answer in await here.at_once(6, request)} == {NOT_GOOGLE[name].status}
        here.upstream.script = lambda _: None
        assert all_served(await here.at_once(6, request))
        assert await here.rests() == {}


UNAUTHENTICATED = interactions_error(401, "unauthenticated", "Invalid API key")


async def test_the_words_of_the_interactions_api_are_google_s() -> None:
    async with pool(3, only({"1"}, UNAUTHENTICATED)) as here:

        async def request() -> Answered:
            return await here.ask("POST", INTERACTIONS, interaction())

        assert all_served(await here.in_turn(9, request))
        assert len(here.upstream.of("1")) <= 2
        assert set(await here.rests()) == {"1"}
        assert "*" in (await here.rests())["1"]


@pytest.mark.parametrize("refusal", [NOT_GOOGLE["no status"], NOT_GOOGLE["text 429"]], ids=named)
async def test_with_a_gateway_beside_healthy_keys_the_client_is_told_what_it_said(refusal: Answer) -> None:
    async with pool(3, only({"1"}, refusal)) as here:
        answers = await here.at_once(9)
        assert {answer.status for answer in answers} <= {200, refusal.status}
        assert await here.rests() == {}
