"""Status 200, and the first event is an error; and a download that is redirected."""

import json
from urllib.parse import urlsplit

import pytest

from tests.support.cases_clients import all_served
from tests.support.cases_support import CASES, CHAT, FLASH, INTERACTIONS, STREAMED, chat, pool, prompt, target
from tests.support.scripted import (
    DENIED,
    INVALID,
    JSON,
    OVERLOADED,
    SSE,
    STREAM,
    UNGROUNDED,
    Answer,
    Call,
    Q,
    error,
    first,
    only,
    quota,
    retry,
    spoken,
)

pytestmark = CASES
MINUTE = error(
    429,
    "RESOURCE_EXHAUSTED",
    Q,
    quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", FLASH, "10"),
    retry("34s"),
)
# The whole of an endless chunked body in one event.
WHOLE = b"".join(STREAM)


def event(refusal: Answer, end: bytes = b"\r\n\r\n") -> Answer:
    return Answer(200, fields=SSE, pieces=(b"data: " + refusal.body + end,))


def in_two(refusal: Answer) -> Answer:
    data = b"data: " + refusal.body + b"\r\n\r\n"
    return Answer(200, fields=SSE, pieces=(data[:20], data[20:]), pause=0.02)


FIRST_EVENTS = {
    "503": event(OVERLOADED),
    "lines end in LF": event(OVERLOADED, b"\n\n"),
    "over several lines": Answer(
        200, fields=SSE, pieces=(b"data: " + json.dumps(json.loads(OVERLOADED.body)).encode() + b"\n\n",)
    ),
    "in two pieces": in_two(OVERLOADED),
    "a minute's quota": event(MINUTE),
    "denied": event(DENIED),
    "invalid key": event(INVALID),
    "raw JSON": Answer(
        200, fields=SSE, pieces=(json.dumps(json.loads(OVERLOADED.body), indent=2).encode() + b"\n",)
    ),
}


@pytest.mark.parametrize("name", FIRST_EVENTS)
async def test_a_stream_that_begins_with_an_error_is_tried_again(name: str) -> None:
    async with pool(3, only({"1", "2"}, FIRST_EVENTS[name])) as here:
        for _ in range(9):
            answer = await here.ask("POST", STREAMED, prompt())
            assert (answer.status, answer.body, answer.whole) == (200, WHOLE, True)


async def test_such_an_error_counts_as_that_error() -> None:
    async with pool(3, only({"1"}, event(MINUTE))) as here:
        assert all_served([await here.ask("POST", STREAMED, prompt()) for _ in range(9)])
        assert len(here.upstream.of("1")) == 1
        assert set(await here.rests()) == {"1"}
        assert (await here.rests())["1"][FLASH] == pytest.approx(34.0, abs=2.0)


async def test_however_many_keys_begin_so() -> None:
    async with pool(8, first(6, event(DENIED))) as here:
        answers = [await here.ask("POST", STREAMED, prompt()) for _ in range(6)]
        assert {answer.body for answer in answers} == {WHOLE}


@pytest.mark.parametrize(
    ("path", "body", "bad", "good"),
    [
        (
            CHAT,
            {**chat(), "stream": True},
            Answer(200, fields=SSE, pieces=(b"data: [" + OVERLOADED.body + b"]\n\n",)),
            Answer(200, fields=SSE, pieces=(b'data: {"choices": []}\n\n', b"data: [DONE]\n\n")),
        ),
        (
            target(method="streamGenerateContent"),
            prompt(),
            Answer(200, fields=JSON, pieces=(b"[" + OVERLOADED.body + b"\n]",)),
            Answer(200, fields=JSON, pieces=(b"[" + spoken("one"), b",\r\n" + spoken("two"), b"]")),
        ),
    ],
    ids=["openai", "array"],
)
async def test_so_with_streams_of_other_forms(path: str, body: object, bad: Answer, good: Answer) -> None:
    async with pool(3, lambda call: bad if call.key in {"1", "2"} else good) as here:
        for _ in range(9):
            answer = await here.ask("POST", path, body)
            assert (answer.status, answer.body) == (200, b"".join(good.pieces))


async def test_an_error_after_the_first_piece_is_passed_on_as_it_was() -> None:
    pieces = (STREAM[0], b"data: " + OVERLOADED.body + b"\r\n\r\n")
    async with pool(3, lambda _: Answer(200, fields=SSE, pieces=pieces)) as here:
        answer = await here.ask("POST", STREAMED, prompt())
        assert (answer.status, answer.body, answer.whole) == (200, b"".join(pieces), True)
        assert len(here.upstream.calls) == 1
        assert await here.rests() == {}


async def test_when_every_stream_begins_so_the_last_is_passed_on_as_it_was() -> None:
    async with pool(3, lambda _: event(UNGROUNDED), MAX_WAIT="1") as here:
        answer = await here.ask("POST", STREAMED, prompt(tools=[{"google_search": {}}]))
        assert UNGROUNDED.body in answer.body


async def test_an_interaction_s_stream_that_creates_is_not_repeated_after_trouble() -> None:
    body = {"model": FLASH, "input": "hi", "stream": True}
    bad = Answer(200, fields=SSE, pieces=(b"data: " + OVERLOADED.body + b"\n\n",))
    async with pool(3, lambda _: bad) as here:
        answer = await here.ask("POST", INTERACTIONS, body)
        assert OVERLOADED.body in answer.body
        assert len(here.upstream.calls) == 1


# 8.1

FILE = "/v1beta/files/abc:download?alt=media"
MISSING = "You do not have permission to access the File abc or it may not exist."


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("owners", [{"1", "2", "3"}, {"3"}], ids=["anyone", "one key"])
async def test_a_download_that_is_redirected_stays_with_the_proxy(owners: set[str], absolute: bool) -> None:
    client = "the-clients-own-key"
    credential = ("x-goog-api-key", client)

    def script(call: Call) -> Answer:
        if call.key not in owners:
            return error(403, "PERMISSION_DENIED", MISSING)
        if call.target.startswith("/download/"):
            return Answer(body=b"\x00the file", fields=(("Content-Type", "video/mp4"),))
        origin = here.upstream.url if absolute else ""
        return Answer(302, fields=(("Location", f"{origin}/download{FILE}"),))

    async with pool(3, script, OUTPUT_API_KEY=client) as here:
        answer = await here.ask("GET", FILE, None, credential, ("Host", f"127.0.0.1:{here.port}"))
        assert answer.status == 302
        location = urlsplit(answer.one("location"))
        assert location.netloc in {"", f"127.0.0.1:{here.port}"}
        assert client not in answer.one("location")
        followed = await here.ask("GET", f"{location.path}?{location.query}", None, credential)
        assert (followed.status, followed.body) == (200, b"\x00the file")
        assert all(client not in str(call.fields) + call.target for call in here.upstream.calls)
