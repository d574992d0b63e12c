"""A bench, a quota, an outage, a search and an ownership are written down in one form, and read strictly."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from proxycore.gemini.verdict import until_google_midnight
from proxycore.rotation.bench import Bench
from proxycore.rotation.daily_quota import DailyQuota
from proxycore.rotation.key import Key
from proxycore.rotation.limiter import Limiter
from proxycore.rotation.outage import Outage
from proxycore.rotation.ownership import Ownership
from proxycore.rotation.quota import Quota
from proxycore.rotation.search import Search
from tests.support.clocks import TurnedClock

CLOCK = TurnedClock()
NOW = CLOCK()
KEY = Key("one", "secret")


def written(fact: object) -> Any:  # noqa: ANN401 - JSON
    return json.loads(json.dumps(fact))


@pytest.mark.parametrize(
    "bench",
    [
        Bench("manual", NOW + 5.0, since=NOW),
        Bench("day", NOW + 5.0, 3, NOW, since=NOW - 60.0),
        Bench("?", NOW, 0, suspected=True, since=NOW - 1.0),
    ],
    ids=lambda bench: bench.reason,
)
def test_a_bench_is_read_as_it_was_written(bench: Bench) -> None:
    value, moments = written(bench.to_json())
    assert Bench.from_json(value, moments, CLOCK) == bench


def test_a_bench_is_written_without_googles_words_and_ends_with_our_day_at_the_latest() -> None:
    bench = Bench("day", NOW + 40 * 3600.0, 1, NOW, "words that quote the key")
    assert "words" not in json.dumps(bench.to_json())
    value, moments = written(bench.to_json())
    read = Bench.from_json(value, moments, CLOCK)
    assert read.benched_until == pytest.approx(NOW + until_google_midnight(CLOCK.wall()))


def test_an_outage_and_an_ownership_are_read_as_they_were_written() -> None:
    outage = Outage("upstream error", "m", NOW)
    assert Outage.from_json("m", *written(outage.to_json())) == outage
    for until in (NOW + 9.0, math.inf):
        owned = Ownership("files/1", KEY, until)
        assert Ownership.from_json("files/1", KEY, *written(owned.to_json())) == owned


def test_a_search_is_read_as_it_was_written_by_who_did_not_begin_it() -> None:
    search = Search("m", "quota exhausted", NOW, NOW + 1.0, requests={"a", "b"})
    search.count_try(KEY)
    value, moments = written(search.to_json({KEY: "x"}))
    read = Search.from_json("m", value, moments, {"x": KEY})
    assert (read.reason, read.since, read.next_try, read.requests) == (
        "quota exhausted",
        NOW,
        NOW + 1.0,
        {"a", "b"},
    )
    assert (read.tries(KEY), read.mine, read.open_until) == (1, False, None)


def test_quotas_are_read_as_they_were_written() -> None:
    mine, theirs = Limiter(), Limiter()
    mine.quotas["PerMinute"] = Quota(60.0, limit=10, told=True, window=59.5)
    mine.quotas["Tokens"] = Quota(60.0, of_tokens=True, limit=1000, window=60.0)
    mine.today = DailyQuota(100, NOW, NOW + 5.0, 7, trial=True)
    value, moments = written(mine.quotas_to_json())
    theirs.learn_quotas(value, moments, CLOCK)
    assert theirs.quotas_to_json() == mine.quotas_to_json()


@pytest.mark.parametrize(
    "value", [None, 5, "text", [], ["a"], {"quotas": 3}, {"quotas": {"q": [1]}}, [1, 2, 3]]
)
@pytest.mark.parametrize(
    "read",
    [
        lambda value: Bench.from_json(value, [NOW], CLOCK),
        lambda value: DailyQuota.from_json(value, [NOW, NOW], CLOCK),
        lambda value: Limiter().learn_quotas(value, [], CLOCK),
        lambda value: Ownership.from_json("files/1", KEY, value, []),
        lambda value: Search.from_json("m", value, [NOW, NOW], {}),
        lambda value: Quota.from_json(value, NOW),
    ],
    ids=["bench", "today", "quotas", "ownership", "search", "quota"],
)
def test_what_is_none_of_these_is_refused(read: Callable[[object], object], value: object) -> None:
    with pytest.raises(ValueError, match="not a"):
        read(value)
