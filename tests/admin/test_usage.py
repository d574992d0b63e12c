"""`/usage.json` and `/usage.csv`: sums over requests, and what they cost."""

import csv
import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from proxycore.http.access_record import RequestOutcome
from tests.admin.test_requests import message, recorded
from tests.support.proxy import Proxy, settings
from tests.support.storing import DAY, NOW, request
from tests.support.wire import HOME, ask

pytestmark = pytest.mark.usefixtures("io_loop")
TODAY = NOW // DAY * DAY
SUMS = [
    "requests",
    "served",
    "client_errors",
    "refused",
    "failed",
    "left",
    "cut",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "thinking_tokens",
    "tool_tokens",
    "unread",
    "received_bytes",
    "sent_bytes",
    "seconds",
]
PRICES = """model,input,cached,output
# the first line that matches counts
gemini-2.5-flash-lite*,0.1,0.025,0.4
gemini-2.5-*, 1, 0.25, 10

"""


async def usage(here: Proxy, **parameters: object) -> dict[str, Any]:
    got = await ask(here.port, "GET", f"/usage.json?{urlencode(parameters)}", HOME)
    assert got.status == 200, got.body
    content: dict[str, Any] = json.loads(got.body)
    return content


async def rows(here: Proxy, **parameters: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await usage(here, **parameters))["rows"]
    return found


async def table(here: Proxy, **parameters: object) -> list[dict[str, str]]:
    got = await ask(here.port, "GET", f"/usage.csv?{urlencode(parameters)}", HOME)
    assert got.status == 200, got.body
    assert got.one("content-type").startswith("text/csv; charset=UTF-8")
    return list(csv.DictReader(io.StringIO(got.body.decode())))


async def test_usage_has_all_sums_with_the_outcomes_and_what_could_not_be_read(tmp_path: Path) -> None:
    async with recorded(tmp_path / "state.db") as (here, kept):
        for number, outcome in enumerate([*RequestOutcome, RequestOutcome.SERVED]):
            kept.put_request(
                request(
                    number,
                    outcome=outcome,
                    input_tokens=10,
                    output_tokens=20,
                    cached_tokens=3,
                    thinking_tokens=4,
                    tool_tokens=5,
                    unread=number == 0,
                    received_bytes=100,
                    sent_bytes=200,
                    seconds=0.25,
                )
            )
        assert await usage(here) == {
            "from": TODAY - 29 * DAY,
            "to": TODAY + DAY,
            "by": ["day"],
            "rows": [
                {
                    "time": TODAY,
                    "requests": 7,
                    "served": 2,
                    "client_errors": 1,
                    "refused": 1,
                    "failed": 1,
                    "left": 1,
                    "cut": 1,
                    "input_tokens": 70,
                    "output_tokens": 140,
                    "cached_tokens": 21,
                    "thinking_tokens": 28,
                    "tool_tokens": 35,
                    "unread": 1,
                    "received_bytes": 700,
                    "sent_bytes": 1400,
                    "seconds": 1.75,
                }
            ],
        }


async def test_usage_is_told_apart_by_what_is_asked_for(tmp_path: Path) -> None:
    async with recorded(tmp_path / "state.db") as (here, kept):
        for number, (time, client, key, model) in enumerate(
            [
                (NOW - DAY, "alice", "first", "flash"),
                (NOW - 3600, "alice", "second", "pro"),
                (NOW, "bob", "first", "flash"),
                (NOW, "bob", "first", "flash"),
            ]
        ):
            kept.put_request(request(number, time=time, client=client, key=key, model=model))

        async def told(by: str, **span: object) -> dict[object, int]:
            found = await rows(here, by=by, **span)
            return {tuple(list(row.values())[: -len(SUMS)]): row["requests"] for row in found}

        assert await told("day") == {(TODAY - DAY,): 1, (TODAY,): 3}
        assert await told("hour") == {(NOW - DAY,): 1, (NOW - 3600,): 1, (NOW,): 2}
        assert await told("client") == {("alice",): 2, ("bob",): 2}
        assert await told("key,model") == {("first", "flash"): 3, ("second", "pro"): 1}
        assert await told("day,client") == {
            (TODAY - DAY, "alice"): 1,
            (TODAY, "alice"): 1,
            (TODAY, "bob"): 2,
        }
        hours = {"from": NOW - 3600}
        assert await told("hour,client,key", **hours) == {
            (NOW - 3600, "alice", "second"): 1,
            (NOW, "bob", "first"): 2,
        }


async def test_a_span_is_extended_to_whole_hours_or_days_and_that_is_said(tmp_path: Path) -> None:
    async with recorded(tmp_path / "state.db") as (here, kept):
        kept.put_request(request(1, time=NOW))
        kept.put_request(request(2, time=NOW + 3600))

        async def told(**parameters: object) -> tuple[float, float, int]:
            found = await usage(here, **parameters)
            return found["from"], found["to"], sum(row["requests"] for row in found["rows"])

        span = {"from": NOW + 60, "to": NOW + 120}
        assert await told(by="hour", **span) == (NOW, NOW + 3600, 1)
        assert await told(by="client", **span) == (NOW, NOW + 3600, 1)
        assert await told(by="day", **span) == (TODAY, TODAY + DAY, 2)
        assert await told(by="key", **span) == (TODAY, TODAY + DAY, 2)
        day = {"from": "2027-01-15", "to": "2027-01-16"}
        assert await told(by="hour", **day) == (TODAY, TODAY + DAY, 2)
        assert await told(by="hour", **{"from": "2027-01-15T12:00Z", "to": "2027-01-15T14:00+01:00"}) == (
            NOW,
            NOW + 3600,
            1,
        )


async def test_a_table_for_spreadsheets_has_times_in_iso_8601_and_no_formulas(tmp_path: Path) -> None:
    async with recorded(tmp_path / "state.db") as (here, kept):
        for number, model in enumerate(["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", 'a "quoted", one', "2"]):
            kept.put_request(request(number, model=model))
        by_model = await table(here, by="hour,model")
        assert {row["time"] for row in by_model} == {"2027-01-15T12:00Z"}
        assert {row["model"] for row in by_model} == {
            "'=HYPERLINK(1)",
            "'+1",
            "'-1",
            "'@SUM(A1)",
            'a "quoted", one',
            "2",
        }
        (day,) = await table(here)
        assert (day["time"], day["requests"], list(day)) == ("2027-01-15", "6", ["time", *SUMS])


async def test_usage_of_nothing_has_no_rows(tmp_path: Path) -> None:
    async with recorded(tmp_path / "state.db") as (here, _):
        assert await rows(here) == []
        assert await table(here) == []


async def test_prices_add_the_cost_and_count_what_has_none(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text(PRICES)
    variables = {"PRICES_FILE": str(tmp_path / "prices.csv")}
    million = 1_000_000
    async with recorded(tmp_path / "state.db", **variables) as (here, kept):
        tokens = {"input_tokens": 4 * million, "cached_tokens": million, "output_tokens": million // 10}
        kept.put_request(request(1, client="alice", model="gemini-2.5-pro", **tokens))
        kept.put_request(request(2, client="alice", model="gemini-2.5-flash-lite", **tokens))
        kept.put_request(request(3, client="alice", model="gemma-3", **tokens))
        kept.put_request(request(4, client="bob", model="gemini-2.5-pro", unread=True))
        costs = {row["client"]: (row["cost"], row["unpriced"]) for row in await rows(here, by="client")}
        assert costs == {"alice": (3 + 0.25 + 1 + 0.3 + 0.025 + 0.04, 1), "bob": (0, 0)}
        by_model = {row["model"]: row["cost"] for row in await table(here, by="model")}
        assert by_model == {"gemini-2.5-pro": "4.25", "gemini-2.5-flash-lite": "0.365", "gemma-3": "0"}


async def test_a_reload_changes_the_prices(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text("*,1,1,1\n")
    async with recorded(tmp_path / "state.db") as (here, kept):
        kept.put_request(request(1, input_tokens=2_000_000))
        assert "cost" not in (await rows(here))[0]
        here.app.reload(settings("http://127.0.0.1:9", PRICES_FILE=str(tmp_path / "prices.csv")))
        assert (await rows(here))[0]["cost"] == 2


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("by=days", "by: 'days' is not one of hour, day, client, key, model."),
        ("by=day,hour", "by: has both day and hour. Send one of them."),
        ("from=2027-13-01", "from: '2027-13-01' is not a time. Send a date like"),
        ("from=2027-01-16&to=2027-01-15", "from is not before to."),
        ("key=first", "Unknown parameter 'key'. Known are: from, to, by."),
        ("by=hour,client,key", "That asks for too much: hours of both clients and keys: ask for a week"),
    ],
)
@pytest.mark.parametrize("path", ["/usage.json", "/usage.csv"])
async def test_a_wrong_parameter_is_refused_with_what_to_send(
    tmp_path: Path, path: str, query: str, hint: str
) -> None:
    async with recorded(tmp_path / "state.db") as (here, _):
        got = await ask(here.port, "GET", f"{path}?{query}", HOME)
        assert (got.status, hint in message(got)) == (400, True), got.body
