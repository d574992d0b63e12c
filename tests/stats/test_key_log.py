"""What the log says of keys and requests: each bench, retirement and recovery once, and until when."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from proxycore.demo import Health, MockServer
from tests.support.clocks import TurnedClock
from tests.support.process import program
from tests.support.proxy import proxy
from tests.support.waiting import until
from tests.support.wire import ask

pytestmark = pytest.mark.usefixtures("io_loop")
MODEL = "gemini-2.5-flash"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
BODY = b'{"contents": [{"parts": [{"text": "hi"}]}]}'


def told(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    """The fields of what was logged under this message, and its level."""
    found = [record for record in caplog.records if record.getMessage() == message]
    known = [
        {name: value for name, value in record.__dict__["fields"].items() if value is not None}
        for record in found
    ]
    return [{**fields, "level": record.levelname} for fields, record in zip(known, found, strict=True)]


async def test_a_bench_and_its_end_are_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "proxycore")
    clock = TurnedClock()
    mock = MockServer({"AQ.off": Health.service_disabled(), "AQ.fine": Health.healthy()}, clock=clock)
    keys = {"GOOGLE_API_KEY_off": "AQ.off", "GOOGLE_API_KEY_fine": "AQ.fine"}
    async with proxy(mock.listen(), keys, clock, FORBIDDEN_BENCH_SECONDS="60") as here:
        for _ in range(20):
            await ask(here.port, "POST", GENERATE, body=BODY)
        (benched,) = told(caplog, "benched")
        assert (benched["key"], benched["reason"], benched["strikes"]) == ("off", "SERVICE_DISABLED", 1)
        assert benched["level"] == "WARNING"
        assert 60 <= benched["seconds"] <= 63
        assert benched["until"].startswith("2027-01-15T08:01:0")
        assert "model" not in benched
        (failed,) = told(caplog, "attempt failed")
        assert (failed["id"], failed["key"], failed["status"]) == (benched["id"], "off", 403)
        assert (failed["verdict"], failed["model"], failed["level"]) == ("SERVICE_DISABLED", MODEL, "INFO")
        assert [entry["attempts"] for entry in told(caplog, "served") if entry["id"] == benched["id"]] == [2]
        mock.keys["AQ.off"] = Health.healthy()
        clock.turn(70)
        for _ in range(20):
            await ask(here.port, "POST", GENERATE, body=BODY)
    await mock.stop()
    (recovered,) = told(caplog, "recovered")
    served = {entry["id"]: entry["key"] for entry in told(caplog, "served")}
    assert served[recovered.pop("id")] == "off"
    assert recovered == {"key": "off", "reason": "SERVICE_DISABLED", "level": "INFO"}
    assert len(told(caplog, "benched")) == 1


async def test_a_spent_quota_is_routine_and_a_dead_key_is_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "proxycore")
    mock = MockServer({"AQ.one": Health.quota(1), "AQ.dead": Health.suspended(), "AQ.fine": Health.healthy()})
    keys = {f"GOOGLE_API_KEY_{secret[3:]}": secret for secret in mock.keys}
    clock = TurnedClock()
    async with proxy(mock.listen(), keys, clock) as here:
        for _ in range(30):
            await ask(here.port, "POST", GENERATE, body=BODY)
        benched = {entry["key"]: entry for entry in told(caplog, "benched")}
        assert told(caplog, "retired") == []
        while not told(caplog, "retired"):
            clock.turn(1.0)
            await ask(here.port, "POST", GENERATE, body=BODY)
    await mock.stop()
    assert (benched["one"]["model"], benched["one"]["reason"]) == (MODEL, "quota exhausted")
    assert (benched["one"]["level"], benched["dead"]["level"]) == ("INFO", "WARNING")
    (retired,) = told(caplog, "retired")
    assert (retired["key"], retired["reason"], retired["level"]) == ("dead", "suspended or leaked", "ERROR")


async def test_of_several_workers_the_one_that_found_out_says_so(tmp_path: Path) -> None:
    mock = MockServer({"AQ.off": Health.service_disabled(), "AQ.fine": Health.healthy()})
    environment = {
        "UPSTREAM_URL": mock.listen(),
        "WORKERS": "3",
        "GOOGLE_API_KEY_off": "AQ.off",
        "GOOGLE_API_KEY_fine": "AQ.fine",
        "LOG_FORMAT": "json",
    }
    with program(folder=tmp_path, environment=environment) as started:
        port = int((await asyncio.to_thread(started.wait_for, re.compile(r"ready: http://\S+:(\d+)")))[1])
        while '"benched"' not in started.log:
            await ask(port, "POST", GENERATE, body=BODY)
        for _ in range(30):
            await ask(port, "POST", GENERATE, body=BODY)
        entries = [json.loads(line) for line in started.lines]
    await mock.stop()
    benched = [(entry["key"], entry["level"]) for entry in entries if entry["message"] == "benched"]
    refused = [call for call in mock.calls if call.status >= 400]  # a second one, if it came before the news
    assert benched == [("off", "warning")] * len(refused)


@pytest.mark.parametrize(
    ("offered", "kept"),
    [
        ("0b8f3c1e-7d2a-4a52-9d6e-1f6a3a9f6f10", True),
        ("Root=1-67891233-abcdef012345678912345678", True),
        ("a", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        ("two words", False),
        ('a"b', False),
        ("-begins-with-a-dash", False),
        ("the-upstream-key", False),
    ],
)
async def test_a_request_goes_by_its_clients_id_if_that_is_a_sane_one(
    offered: str, kept: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "proxycore")
    async with proxy(
        "http://127.0.0.1:9", {"GOOGLE_API_KEY_1": "the-upstream-key"}, MAX_ATTEMPTS="1"
    ) as here:
        got = await ask(here.port, "POST", GENERATE, ("X-Request-Id", offered), body=BODY)
        await until(lambda: bool(told(caplog, "request failed")))
    answered = got.one("x-request-id")
    assert (answered == offered) is kept
    assert re.fullmatch(r"[0-9a-f]{16}", answered) or kept
    (failed,) = told(caplog, "request failed")
    assert failed["id"] == answered
    (attempt,) = told(caplog, "attempt failed")
    assert (attempt["id"], attempt["key"]) == (answered, "1")
    assert "could not be reached" in attempt["reason"]
