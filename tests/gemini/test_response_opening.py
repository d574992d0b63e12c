"""An error that opens a 2xx body is redacted, however it comes; ordinary bodies stay as they are."""

import asyncio
import gzip
import json
import zlib
from itertools import pairwise

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.gemini.response_opening import LONGEST, ResponseOpening
from proxycore.http.redaction import Redactor
from tests.support.proxy import proxy
from tests.support.wire import CHUNKED, RawUpstream, Seen, answer, ask, chunk, connect

SECRET = "AIzaSy-made-up-and-long"
NAME = "[key 1]"
REDACTOR = Redactor({SECRET: "key 1"})
ERROR = {
    "error": {
        "code": 503,
        "message": f"Consumer 'api_key:{SECRET}' is {{\"suspended}}\".",
        "status": "UNAVAILABLE",
    }
}
BARE = json.dumps(ERROR, indent=2)
REST = f'data: {{"text": "{SECRET}"}}\r\n\r\n'
ERRORS = {
    "an event": f"data: {json.dumps(ERROR)}\r\n\r\n{REST}",
    "an event with LF": f"data:{json.dumps(ERROR)}\n\n{REST}",
    "a named event": f'event: error\ndata: {{"code": "{SECRET}"}}\n\n{REST}',
    "an event of several lines": "data: " + BARE.replace("\n", "\ndata: ") + "\n\n" + REST,
    "after comments": f": {SECRET}\n\n\r\ndata: {json.dumps(ERROR)}\n\n{REST}",
    "an array's": f"data: [{json.dumps(ERROR)}]\n\n{REST}",
    "an interaction's": f'data: {{"event_type": "error", "error": {{"message": "{SECRET}"}}}}\n\n{REST}',
    "a word": f'{{"error": "{SECRET}"}}\n{REST}',
    "bare": f"{BARE}\n{REST}",
    "bare, in an array": f"\n[{BARE}\n,\r\n{REST}",
}
ORDINARY = {
    "an event": f'data: {{"candidates": [{{"error": "{SECRET}"}}]}}\r\n\r\n',
    "no error": f'{{"error": null, "output": "{SECRET}"}}',
    "JSON": f'{{"errors": "{SECRET}"}}',
    "an array": f'[{{"a": "{SECRET}"}}]',
    "text": f"data of {SECRET}",
    "a comment": f": {SECRET}\n\n",
    "an error after content": f"data: {{}}\n\ndata: {json.dumps(ERROR)}\n\n",
    "half an object": '{"err',
    "empty": "",
}


def relayed(body: bytes, cuts: list[int], coding: str = "") -> tuple[bytes, ResponseOpening]:
    """What goes on of a body that comes in pieces, which end at `cuts`."""
    opening = ResponseOpening(REDACTOR, [coding] if coding else [])
    ends = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    passed = [opening.feed(body[start:end]) for start, end in pairwise(ends)]
    return b"".join(passed) + opening.end(), opening


CUTS = st.lists(st.integers(0, 1000), max_size=12)


@pytest.mark.parametrize("body", ERRORS.values(), ids=ERRORS)
@given(CUTS)
@settings(max_examples=60, deadline=None)
def test_an_error_that_opens_a_body_is_redacted_however_it_is_cut(body: str, cuts: list[int]) -> None:
    opened = body.removesuffix(REST)
    comment = opened[: opened.index("data:")] if opened.startswith(":") else ""
    shown = comment + opened.removeprefix(comment).replace(SECRET, NAME) + REST
    assert relayed(body.encode(), cuts)[0].decode() == shown


@pytest.mark.parametrize("body", ERRORS.values(), ids=ERRORS)
def test_an_error_in_pieces_of_a_byte_is_redacted(body: str) -> None:
    passed, opening = relayed(body.encode(), list(range(len(body))))
    assert (NAME.encode() in passed, opening.changed, opening.decided) == (True, True, True)
    assert passed.endswith(REST.encode())


@pytest.mark.parametrize("body", ORDINARY.values(), ids=ORDINARY)
@given(CUTS)
@settings(max_examples=40, deadline=None)
def test_an_ordinary_body_stays_byte_for_byte(body: str, cuts: list[int]) -> None:
    passed, opening = relayed(body.encode(), cuts)
    assert (passed.decode(), opening.changed) == (body, False)


@given(st.binary(max_size=200) | st.sampled_from([text.encode() for text in ORDINARY.values()]), CUTS)
@settings(max_examples=200, deadline=None)
def test_a_body_without_a_secret_stays_byte_for_byte(body: bytes, cuts: list[int]) -> None:
    body = body.replace(SECRET.encode(), b"")
    for coding in ("", "gzip", "br", "odd", "gzip, br"):
        assert relayed(body, cuts, coding)[0] == body


@pytest.mark.parametrize("start", [b'data: {"c', b"<", b'[{"c', b"{}", b"\x00", b"datb"])
def test_what_can_be_no_error_goes_on_at_once(start: bytes) -> None:
    opening = ResponseOpening(REDACTOR, [])
    assert opening.feed(start) == start
    assert opening.decided


def test_what_can_not_be_read_goes_on_at_once() -> None:
    for coding in ("gzip", "deflate", "br"):
        opening = ResponseOpening(REDACTOR, [coding])
        assert opening.feed(b"\xff\xfenothing of the kind") == b"\xff\xfenothing of the kind"
        assert opening.decided


@pytest.mark.parametrize(
    "lead", [": c\n\n", "id: 7\n", "retry: 5\r\n", "event: message\n", "\n\n:\nid:\nretry:\n:\n"]
)
@pytest.mark.parametrize("coding", ["", "gzip"])
def test_what_comes_before_the_data_decides_nothing(lead: str, coding: str) -> None:
    for body, decided in ((f'{lead}data: {{"error": 1', False), (f'{lead}data: {{"ok', True)):
        opening = ResponseOpening(REDACTOR, [coding] if coding else [])
        data = zlib.compressobj(wbits=31)
        opening.feed(
            data.compress(body.encode()) + data.flush(zlib.Z_SYNC_FLUSH) if coding else body.encode()
        )
        assert (opening.decided, opening.erroneous) == (decided, not decided)


def test_comments_and_empty_lines_go_on_at_once() -> None:
    opening = ResponseOpening(REDACTOR, [])
    assert opening.feed(b": ping\n\n: p") == b": ping\n\n"
    assert opening.feed(b"ong\r\n\r\n") == b": pong\r\n\r\n"
    assert not opening.decided


CODINGS = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress}


@pytest.mark.parametrize("coding", CODINGS)
@given(CUTS)
@settings(max_examples=30, deadline=None)
def test_a_compressed_error_is_redacted_and_sent_plain(coding: str, cuts: list[int]) -> None:
    body = ERRORS["an event"]
    passed, opening = relayed(CODINGS[coding](body.encode()), cuts, coding)
    assert passed.decode() == body.removesuffix(REST).replace(SECRET, NAME) + REST
    assert opening.changed


@pytest.mark.parametrize("lost", [0, 30])
def test_a_compressed_error_is_redacted_though_what_follows_it_is_damaged(lost: int) -> None:
    body = ERRORS["an event"].removesuffix(REST).encode()
    body = gzip.compress(body[: len(body) - lost]) + b"\x1fnothing of the kind"
    passed, opening = relayed(body, [], "gzip")
    assert SECRET.encode() not in passed
    assert opening.changed


@pytest.mark.parametrize("coding", CODINGS)
@given(CUTS)
@settings(max_examples=20, deadline=None)
def test_a_compressed_ordinary_body_stays_compressed_as_it_was(coding: str, cuts: list[int]) -> None:
    for text in ORDINARY.values():
        body = CODINGS[coding](text.encode())
        assert relayed(body, cuts, coding)[0] == body


LONG = [
    b'{"error": "' + b"x" * LONGEST,
    b"{" + b" " * LONGEST,
    b":" + b"c" * LONGEST,
    b'data: {"error":' + b"[" * LONGEST,
]


@pytest.mark.parametrize("body", LONG)
def test_no_more_than_the_limit_is_held(body: bytes) -> None:
    opening = ResponseOpening(REDACTOR, [])
    passed = b"".join(opening.feed(body[start : start + 1000]) for start in range(0, len(body), 1000))
    assert (passed, opening.decided) == (body, True)


# Over sockets.

ONE_KEY = {"GOOGLE_API_KEY_1": SECRET}
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"


@pytest.mark.turned
@pytest.mark.usefixtures("io_loop")
async def test_an_error_in_two_packets_is_redacted_and_the_rest_goes_on() -> None:
    event = ERRORS["an event"].replace("503", "400")  # the client's mistake, so that no other key is tried
    text = event.encode()
    half = text.index(b"made-up")

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(text[:half]))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(chunk(text[half:]) + b"0\r\n\r\n")

    async with RawUpstream(script) as upstream, proxy(upstream.url, ONE_KEY) as here:
        got = await ask(here.port, "POST", STREAM, body=b"{}")
    assert (got.status, got.whole) == (200, True)
    assert got.body.decode() == event.removesuffix(REST).replace(SECRET, NAME) + REST


@pytest.mark.usefixtures("io_loop")
@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_an_error_with_a_length_gets_the_right_one(coding: str) -> None:
    body = gzip.compress(BARE.encode()) if coding else BARE.encode()
    fields = [("Content-Type", "application/json"), ("ETag", '"x"')]
    fields += [("Content-Encoding", coding)] if coding else []

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        sent = answer(200, body, *fields)
        for start in range(0, len(sent), 40):
            writer.write(sent[start : start + 40])
            await writer.drain()
            await asyncio.sleep(0)

    async with RawUpstream(script) as upstream, proxy(upstream.url, ONE_KEY) as here:
        async with connect(here.port) as client:
            for _i in range(2):
                client.send("POST", STREAM, body=b"{}")
                got = await client.got()
                assert (got.status, got.whole, got.body.decode()) == (200, True, BARE.replace(SECRET, NAME))
                assert got.all("content-encoding") + got.all("etag") == []


@pytest.mark.usefixtures("io_loop")
async def test_a_head_goes_out_though_no_byte_of_the_body_is_there() -> None:
    go_on = asyncio.Event()

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED.replace(b"text/event-stream", b"application/octet-stream"))
        await go_on.wait()
        writer.write(chunk(b"data: {}\n\n") + b"0\r\n\r\n")

    async with (
        RawUpstream(script) as upstream,
        proxy(upstream.url, ONE_KEY) as here,
        connect(here.port) as client,
    ):
        client.send("GET", "/v1beta/files/abc:download?alt=media")
        assert (await client.head()).status == 200
        go_on.set()
        assert [piece async for piece in client.chunks()] == [b"data: {}\n\n"]


@pytest.mark.parametrize("lead", [b" ", b"\n", b"data: ", b"[ "])
def test_white_space_without_end_is_examined_once(lead: bytes) -> None:
    body = lead + b" " * 1_000_000  # gone over again at each byte, this would take minutes
    opening = ResponseOpening(REDACTOR, ())
    assert b"".join([opening.feed(body), opening.end()]) == body
