"""The log line of each request: its outcome, reason, client and cost."""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from proxycore.demo import Health, MockServer
from tests.support.process import program
from tests.support.proxy import KEYS, proxy
from tests.support.waiting import until
from tests.support.wire import CHUNKED, RawUpstream, Seen, always, answer, ask, chunk, connect

pytestmark = pytest.mark.usefixtures("io_loop")
MODEL = "gemini-2.5-flash"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
READY = re.compile(r"ready: http://\S+:(\d+)")
BODY = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
JSON = ("Content-Type", "application/json")
OVERLOADED = answer(
    503, b'{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}', JSON
)
INVALID = answer(
    400, b'{"error": {"code": 400, "message": "Invalid: the-prompt.", "status": "INVALID_ARGUMENT"}}'
)


def said(caplog: pytest.LogCaptureFixture, *messages: str) -> list[dict[str, Any]]:
    """The fields of the entries with one of these messages, with message and level."""
    return [
        {name: value for name, value in record.__dict__["fields"].items() if value is not None}
        | {"message": record.getMessage(), "level": record.levelname}
        for record in caplog.records
        if record.getMessage() in messages
    ]


@dataclass(frozen=True)
class End:
    """How a request ends: the upstream's response, the settings, and what is logged then."""

    answer: bytes
    status: int
    message: str
    level: str = "INFO"
    keys: Mapping[str, str] = field(default_factory=lambda: {"GOOGLE_API_KEY_1": "upstream-key"})


ENDS = {
    "client error": End(INVALID, 400, "client error"),
    "not found": End(answer(404), 404, "client error"),
    "failed": End(OVERLOADED, 503, "request failed", "WARNING"),
    "no key": End(OVERLOADED, 401, "request refused", keys={}),
    "wrong client key": End(
        OVERLOADED, 401, "credential refused", "WARNING", {"OUTPUT_API_KEY": "the-clients-own-key"}
    ),
    "too large": End(OVERLOADED, 413, "client error", keys={"MAX_BODY_MB": "0.00001"}),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_no_request_that_ended_in_an_error_is_called_served(
    end: End, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "proxycore")
    async with RawUpstream(always(end.answer)) as upstream, proxy(upstream.url, end.keys) as here:
        got = await ask(here.port, "POST", GENERATE, body=BODY)
        assert got.status == end.status
        await until(lambda: bool(said(caplog, end.message)))
    (entry,) = said(caplog, end.message)
    assert not said(caplog, "served")
    assert (entry["status"], entry["level"], entry["address"]) == (end.status, end.level, "127.0.0.1")
    assert entry["id"] == got.one("x-request-id")
    assert entry["reason"]
    assert "the-prompt" not in caplog.text + str(entry)


async def test_the_line_of_a_request_says_what_it_cost_and_why_it_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "proxycore")
    usage = b'{"usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 11}}'
    answers = [answer(200, usage, JSON), INVALID, OVERLOADED, OVERLOADED, OVERLOADED]

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.pop(0))

    async with RawUpstream(script) as upstream, proxy(upstream.url, MAX_WAIT="0") as here:
        for _ in range(3):
            await ask(here.port, "POST", GENERATE, body=BODY)
    (served,), (mistake,), (failed,) = (
        said(caplog, message) for message in ("served", "client error", "request failed")
    )
    assert (served["model"], served["input_tokens"], served["output_tokens"]) == (MODEL, 7, 11)
    assert "reason" not in served
    assert (mistake["model"], mistake["reason"]) == (MODEL, "client error (INVALID_ARGUMENT)")
    assert "input_tokens" not in mistake
    assert (failed["reason"], failed["attempts"]) == ("upstream error (UNAVAILABLE)", 3)
    tries = said(caplog, "attempt failed")
    assert [entry["status"] for entry in tries] == [503] * 3
    assert {entry["id"] for entry in tries} == {failed["id"]}


async def test_a_failed_attempt_is_logged_with_the_id_of_its_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "proxycore")
    answers = [OVERLOADED, answer(200, b"{}")]

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.pop(0))

    async with RawUpstream(script) as upstream, proxy(upstream.url) as here:
        got = await ask(here.port, "POST", GENERATE, body=BODY)
    (failed,), (served,) = said(caplog, "attempt failed"), said(caplog, "served")
    assert failed["id"] == served["id"] == got.one("x-request-id")
    assert (failed["status"], failed["level"], failed["verdict"]) == (503, "INFO", "upstream error")
    assert {failed["key"], served["key"]} <= {"1", "2"}


async def test_a_response_that_breaks_off_is_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "proxycore")

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"data: 1\n\n"))
        await writer.drain()
        writer.close()

    async with RawUpstream(script) as upstream, proxy(upstream.url) as here:
        assert not (await ask(here.port, "POST", GENERATE, body=BODY)).whole
    (entry,) = said(caplog, "response cut off")
    assert entry["reason"].startswith(
        "The upstream broke off the connection before the response was complete."
    )
    assert entry["level"] == "WARNING"
    assert len(caplog.records) == 1


async def test_a_client_that_left_before_the_first_byte_has_no_time_to_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "proxycore")
    asked = asyncio.Event()

    async def script(_: Seen, __: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with RawUpstream(script) as upstream, proxy(upstream.url) as here:
        async with connect(here.port) as client:
            client.send("POST", GENERATE, body=BODY)
            await asked.wait()
        await until(lambda: bool(said(caplog, "client disconnected")))
    (entry,) = said(caplog, "client disconnected")
    assert (entry["status"], entry["model"]) == (499, MODEL)
    assert "first_byte" not in entry


async def test_every_line_is_json_with_numbers_and_times_that_have_a_zone(tmp_path: Path) -> None:
    mock = MockServer({"AQ.spent": Health.day_spent(), "AQ.off": Health.service_disabled()})
    environment = {
        "UPSTREAM_URL": mock.listen(),
        "GOOGLE_API_KEY_1": "AQ.spent",
        "GOOGLE_API_KEY_2": "AQ.off",
        "OUTPUT_API_KEY": "200",
        "LOG_FORMAT": "json",
        "MAX_WAIT": "0",
    }
    with program(folder=tmp_path, environment=environment) as started:
        try:
            port = int((await asyncio.to_thread(started.wait_for, READY))[1])
        except AssertionError:  # so short a key may be refused at the start, if that is said
            assert (started.exit_status(), "OUTPUT_API_KEY" in started.log) == (2, True)
            return
        key = ("x-goog-api-key", "200")
        assert (await ask(port, "POST", GENERATE, key, body=BODY)).status == 429
        assert (await ask(port, "GET", "/v1beta/files", key)).status == 200
        assert (await ask(port, "POST", GENERATE, body=BODY)).status == 401
        assert (await ask(port, "GET", "/nowhere/200/and-back")).status == 404
        await asyncio.to_thread(started.wait_for, re.compile("and-back"))
        entries = [json.loads(line) for line in started.lines]
    await mock.stop()
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)", entry["time"]) for entry in entries)
    ended = [entry for entry in entries if "total" in entry]
    assert [entry["status"] for entry in ended] == [429, 200, 401, 404]
    assert [entry["message"] for entry in ended] == [
        "request refused",
        "served",
        "credential refused",
        "client error",
    ]
    for entry in ended:
        for name in ("first_byte", "total", "bytes", "attempts"):
            assert isinstance(entry[name], int | float)
        assert "-" not in entry.values()


@pytest.mark.parametrize("name", ["line\u2028separator", "\u202etfel-ot-thgir", "two\u0085lines"])
async def test_what_a_client_names_cannot_forge_lines(tmp_path: Path, name: str) -> None:
    environment = {"UPSTREAM_URL": "http://127.0.0.1:9", "LOG_FORMAT": "text", **KEYS, "MAX_ATTEMPTS": "1"}
    with program(folder=tmp_path, environment=environment) as started:
        port = int((await asyncio.to_thread(started.wait_for, READY))[1])
        body = json.dumps({"model": name}, ensure_ascii=False).encode()
        await ask(port, "POST", "/v1beta/openai/chat/completions", body=body)
        await asyncio.to_thread(started.wait_for, re.compile("request failed"))
        lines = started.lines
    assert len(lines) == started.log.count("\n")
    assert "\u202e" not in started.log
    assert all(re.match(r"\d{4}-\d\d-\d\dT", line) for line in lines)
