"""`/history.json`: what became of requests over an hour, a day, a week or a month."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from proxycore.demo import Health, MockServer
from proxycore.http.access_record import RequestOutcome
from proxycore.storage.rows import AttemptRow
from tests.admin.test_requests import message, recorded
from tests.admin.test_usage import rows
from tests.support.clocks import TurnedClock
from tests.support.process import program
from tests.support.proxy import Proxy, proxy
from tests.support.storing import DAY, NOW, request
from tests.support.waiting import PATIENCE
from tests.support.wire import HOME, ask

pytestmark = pytest.mark.usefixtures("io_loop")
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
BODY = json.dumps({"contents": [{"parts": [{"text": "Hello"}]}]}).encode()
COUNTS = ("served", "failed_over", "refused", "failed", "client_errors", "left", "cut")
STEPS = {"24h": 600, "7d": 3600, "30d": 21600}
SECONDS = {"24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
FAILED_OVER = (
    AttemptRow("2", 429, "failover", "quota exhausted", 0.25),
    AttemptRow("first", 200, "served", "", 1),
)


async def history(here: Proxy, span: str) -> dict[str, Any]:
    got = await ask(here.port, "GET", f"/history.json?range={span}", HOME)
    assert got.status == 200, got.body
    assert got.one("content-type") == "application/json; charset=UTF-8"
    content: dict[str, Any] = json.loads(got.body)
    assert content["range"] == span
    assert sums(content) == sum(one["requests"] for one in content["ended"])
    return content


def sums(content: dict[str, Any]) -> int:
    return sum(slot[name] for slot in content["slots"] for name in COUNTS)


async def test_a_day_has_a_slot_for_each_ten_minutes_since_the_first_request(tmp_path: Path) -> None:
    async with recorded(tmp_path / "state.db") as (here, kept):
        kept.put_request(request(1, time=NOW - 3599, first_byte=0.4))
        kept.put_request(request(2, time=NOW - 3001, attempts=FAILED_OVER, first_byte=0.4))
        kept.put_request(request(3, time=NOW, outcome=RequestOutcome.REFUSED, status=429, first_byte=9.0))
        content = await history(here, "24h")
    assert (content["step"], content["from"], content["to"]) == (600, NOW + 600 - DAY, NOW + 600)
    assert [slot["time"] for slot in content["slots"]] == [NOW + 600 * number for number in range(-6, 1)]
    nothing = dict.fromkeys(COUNTS, 0) | {"first_byte": None, "first_byte_p95": None}
    quick = {"first_byte": 0.4, "first_byte_p95": 0.49}
    assert content["slots"] == [
        {"time": NOW - 3600, **nothing, "served": 1, "failed_over": 1, **quick},
        *({"time": NOW + 600 * number, **nothing} for number in range(-5, 0)),
        {"time": NOW, **nothing, "refused": 1},
    ]
    assert sorted(content["ended"], key=str) == [
        {"outcome": "refused", "status": 429, "failed_over": False, "requests": 1},
        {"outcome": "served", "status": 200, "failed_over": False, "requests": 1},
        {"outcome": "served", "status": 200, "failed_over": True, "requests": 1},
    ]


@pytest.mark.parametrize("span", STEPS)
async def test_a_range_begins_where_it_begins_if_there_are_older_requests(tmp_path: Path, span: str) -> None:
    async with recorded(tmp_path / "state.db") as (here, kept):
        kept.put_request(request(1, time=NOW - SECONDS[span] - DAY))
        kept.put_request(request(2, time=NOW - 60))
        content = await history(here, span)
    step = STEPS[span]
    assert content["step"] == step
    assert content["to"] - content["from"] == SECONDS[span]
    assert content["to"] - step <= NOW < content["to"]
    assert [slot["time"] for slot in content["slots"]] == list(range(content["from"], content["to"], step))
    assert sums(content) == 1


@pytest.mark.parametrize("span", STEPS)
async def test_the_sums_are_those_of_the_usage(tmp_path: Path, span: str) -> None:
    async with recorded(tmp_path / "state.db") as (here, kept):
        for number in range(400):
            outcome = list(RequestOutcome)[number % 7 % 6]
            attempts = FAILED_OVER if number % 3 else ()
            when = NOW - 900 - number * 1800  # none of them where a day of slots begins within an hour
            kept.put_request(request(number, time=when, outcome=outcome, attempts=attempts))
        content = await history(here, span)
        told = await rows(here, by="hour", **{"from": content["from"], "to": content["to"]})
    found = {name: sum(slot[name] for slot in content["slots"]) for name in COUNTS}
    assert 0 < found["failed_over"] < found["served"] + found["failed_over"]
    found["served"] += found.pop("failed_over")
    assert found == {name: sum(row[name] for row in told) for name in found}
    assert sums(content) == sum(row["requests"] for row in told)


@pytest.mark.parametrize("span", STEPS)
async def test_a_file_without_requests_has_no_slots(tmp_path: Path, span: str) -> None:
    async with recorded(tmp_path / "state.db") as (here, _):
        content = await history(here, span)
    assert (content["slots"], content["ended"]) == ([], [])


async def test_the_last_hour_needs_no_state_file() -> None:
    clock = TurnedClock(NOW + 30)
    mock = MockServer({"AQ.fine": Health.healthy(), "AQ.off": Health.service_disabled()}, clock=clock)
    keys = {"GOOGLE_API_KEY_fine": "AQ.fine", "GOOGLE_API_KEY_off": "AQ.off"}
    async with proxy(mock.listen(), keys, clock, OUTPUT_API_KEY="boss") as here:

        async def send(credential: str) -> int:
            got = await ask(here.port, "POST", GENERATE, ("x-goog-api-key", credential), body=BODY)
            return got.status

        statuses = [await send("boss") for _ in range(8)]
        clock.turn(120)
        statuses.append(await send("nobody's"))
        admin = ("x-goog-api-key", "boss")
        content = json.loads((await ask(here.port, "GET", "/history.json", admin)).body)
        minutes = json.loads((await ask(here.port, "GET", "/status.json", admin)).body)["history"]
        missing = await ask(here.port, "GET", "/history.json?range=24h", admin)
    await mock.stop()
    assert statuses == [200] * 8 + [401]
    assert (content["range"], content["step"]) == ("1h", 60)
    assert (content["from"], content["to"]) == (NOW + 180 - 3600, NOW + 180)
    assert [slot["time"] for slot in content["slots"]] == [NOW, NOW + 60, NOW + 120]
    first, second, third = content["slots"]
    assert (first["served"] + first["failed_over"], first["failed_over"], third["client_errors"]) == (8, 1, 1)
    assert first["first_byte_p95"] >= first["first_byte"] > 0
    assert [second[name] for name in COUNTS] == [0] * 7
    assert sums(content) == 9
    assert sorted(content["ended"], key=str) == [
        {"outcome": "client_error", "status": 401, "failed_over": False, "requests": 1},
        {"outcome": "served", "status": 200, "failed_over": False, "requests": 7},
        {"outcome": "served", "status": 200, "failed_over": True, "requests": 1},
    ]
    assert [
        minute.items() >= slot.items() for minute, slot in zip(minutes[-3:], content["slots"], strict=True)
    ]
    assert [minute["requests"] for minute in minutes[-3:]] == [8, 0, 1]
    assert (missing.status, "STATE_FILE is off" in message(missing)) == (404, True)


async def test_the_last_hour_begins_with_the_program_and_lasts_an_hour() -> None:
    clock = TurnedClock(NOW + 30)
    async with proxy("http://127.0.0.1:9", clock=clock) as here:
        clock.turn(180)
        minutes = (await history(here, "1h"))["slots"]
        assert [slot["time"] for slot in minutes] == [NOW + 60 * number for number in range(4)]
        assert sum(slot[name] for slot in minutes for name in COUNTS) == 0
        clock.turn(7200)
        content = await history(here, "1h")
        assert [slot["time"] for slot in content["slots"]] == list(range(content["from"], content["to"], 60))
        assert len(content["slots"]) == 60


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_any_worker_has_the_requests_of_all(tmp_path: Path, workers: str) -> None:
    mock = MockServer({"AQ.fine": Health.healthy()})
    environment = {
        "GOOGLE_API_KEY_fine": "AQ.fine",
        "UPSTREAM_URL": mock.listen(),
        "WORKERS": workers,
        "STATE_FILE": "state.db",
        "ADMIN_API_KEY": "root",
    }
    with program(folder=tmp_path, environment=environment) as started:
        port = await asyncio.to_thread(lambda: started.port)
        for _ in range(20):
            assert (await ask(port, "POST", GENERATE, body=BODY)).status == 200

        async def told(span: str) -> int:
            got = await ask(port, "GET", f"/history.json?range={span}", ("x-goog-api-key", "root"))
            content = json.loads(got.body)
            assert sums(content) == sum(one["requests"] for one in content["ended"])
            return sums(content)

        async with asyncio.timeout(PATIENCE):
            while await told("24h") < 20:  # noqa: ASYNC110 - workers hand requests over once a second
                await asyncio.sleep(0.1)
        # Whichever process answers.
        assert {await told(span) for span in ("1h", "24h", "7d", "30d") for _ in range(4)} == {20}
    await mock.stop()


async def test_a_request_that_went_on_counts_when_it_arrived(tmp_path: Path) -> None:
    async with recorded(tmp_path / "state.db") as (here, kept):
        kept.put_request(request(1, time=NOW - 1200, seconds=1150.0))
        content = await history(here, "24h")
    assert [slot["served"] for slot in content["slots"]] == [1, 0, 0]


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("range=1d", "range: '1d' is not one of 1h, 24h, 7d, 30d."),
        ("from=2027-01-15", "Unknown parameter 'from'. Known are: range."),
    ],
)
async def test_a_wrong_parameter_is_refused_with_what_to_send(tmp_path: Path, query: str, hint: str) -> None:
    async with recorded(tmp_path / "state.db") as (here, _):
        got = await ask(here.port, "GET", f"/history.json?{query}", HOME)
    assert (got.status, message(got)) == (400, hint)


async def test_only_the_admin_may_read_it() -> None:
    async with proxy("http://127.0.0.1:9", OUTPUT_API_KEY="boss", ADMIN_API_KEY="root") as here:
        got = await ask(here.port, "GET", "/history.json", ("x-goog-api-key", "boss"))
    assert got.status == 401
