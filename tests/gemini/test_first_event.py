"""A stream waits for its first event, and is committed or refused by it, wherever it is cut. No sockets."""

import asyncio
import json
from collections.abc import Iterator
from functools import partial

import pytest

from proxycore.gemini.first_event import FirstEvent
from proxycore.gemini.judge import judge_error
from proxycore.gemini.response_opening import LONGEST, ResponseOpening
from proxycore.gemini.verdict import HEALTHY, NOT_GOOGLE, Verdict
from proxycore.http.redaction import Redactor
from tests.support.openings import CODINGS, FORMS, ORDINARY, OVERLOADED, WHOLE, event

pytestmark = pytest.mark.usefixtures("io_loop")


class Watched:
    """A stream that is held back, without sockets: what is passed on, and what it was committed as."""

    def __init__(self, coding: str = "") -> None:
        self.passed = b""
        self.commits: list[tuple[Verdict, bytes]] = []
        self.ended = asyncio.Event()
        self.first = FirstEvent(
            ResponseOpening(Redactor({"upstream-secret": "1"}), [coding] if coding else []),
            partial(judge_error, now=0.0),
            lambda verdict: self.commits.append((verdict, self.passed)),
            lambda seconds: None if seconds else self.ended.set(),
        )

    def take(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self.passed += self.first.feed(piece)


def cut(body: bytes) -> Iterator[list[bytes]]:
    """The body in two pieces, at every byte, and in pieces of a byte."""
    yield from ([body[:place], body[place:]] for place in range(len(body)))
    yield [body[place : place + 1] for place in range(len(body))]


@pytest.mark.parametrize("coding", ["", *CODINGS])
@pytest.mark.parametrize("form", FORMS)
async def test_an_error_is_found_wherever_it_is_cut(form: str, coding: str) -> None:
    body = CODINGS[coding](FORMS[form]) if coding else FORMS[form]
    for pieces in cut(body):
        watched = Watched(coding)
        watched.take(pieces)
        assert (watched.passed, watched.commits, watched.first.received) == (b"", [], body)
        text = watched.first.error.decode().strip().removeprefix("[").strip()  # an array may go on
        assert json.JSONDecoder().raw_decode(text)[0] == OVERLOADED


@pytest.mark.parametrize("coding", ["", *CODINGS])
@pytest.mark.parametrize("form", ORDINARY)
async def test_all_else_is_committed_once_and_stays_byte_for_byte_wherever_it_is_cut(
    form: str, coding: str
) -> None:
    body = CODINGS[coding](ORDINARY[form]) if coding else ORDINARY[form]
    for pieces in cut(body):
        watched = Watched(coding)
        watched.take(pieces)
        watched.passed += watched.first.end()
        assert (watched.passed, watched.commits) == (body, [(HEALTHY, b"")])
        assert watched.first.error == b""


@pytest.mark.parametrize(
    "start", [b'data: {"c', b"data: x", b'[{"c', b": a\n\ndata: {}", b"event: i", b"\x00", b"<"]
)
async def test_it_is_committed_as_soon_as_it_can_be_no_error(start: bytes) -> None:
    watched = Watched()
    watched.take([start[:-1]])
    assert (watched.passed, watched.commits) == (b"", [])
    watched.take([start[-1:], b"more"])
    assert (watched.passed, watched.commits, watched.first.decided) == (
        start + b"more",
        [(HEALTHY, b"")],
        True,
    )


@pytest.mark.parametrize("body", [b":" + b"c" * LONGEST, b"\n" * LONGEST, b": c\n\n" * (LONGEST // 4)])
async def test_no_more_than_the_limit_waits_for_the_first_event(body: bytes) -> None:
    watched = Watched()
    watched.take([body[start : start + 1000] for start in range(0, len(body), 1000)])
    assert (watched.passed, [verdict for verdict, _ in watched.commits]) == (body, [HEALTHY])


async def test_a_stream_that_goes_on_after_its_error_is_ended_when_it_has_sent_enough() -> None:
    watched = Watched()
    watched.take([event(OVERLOADED), *[bytes(1000)] * 65])
    assert not watched.ended.is_set()
    watched.take([bytes(1000)])
    await asyncio.wait_for(watched.ended.wait(), 60)
    assert watched.passed == b""


@pytest.mark.parametrize("error", [{"error": "some word"}, {"error": {"message": "x"}}, {"type": "error"}])
async def test_an_error_that_is_not_googles_goes_on_and_is_about_no_key(error: object) -> None:
    watched = Watched()
    watched.take([event(error) + WHOLE])
    assert (watched.passed, watched.commits) == (event(error) + WHOLE, [(NOT_GOOGLE, b"")])
