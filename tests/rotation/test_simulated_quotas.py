"""Quotas as they are met: shared with others, changed, told in part, of tokens, and of days.

Of each case, what the rotation has to reach beside a scheduler that knows everything. On a simulated clock;
`python -m tests.bench.rotation` shows the same cases and more, at length, with the bound and the peers.
"""

from dataclasses import replace
from statistics import fmean

import pytest

from tests.support.google_quotas import DayPlan, KeyPlan, Others
from tests.support.google_windows import Counting
from tests.support.quota_cases import CASES, counted, load, others
from tests.support.scenario import MINUTE, Scenario
from tests.support.simulation import SCHEDULERS, Simulation
from tests.support.simulation_figures import Figures

pytestmark = pytest.mark.no_cover  # it would take three times as long, for lines that other tests run as well


def run(scenario: Scenario, seed: int = 1) -> Figures:
    return Simulation(scenario, seed).run()


def during(name: str, begin: float, end: float) -> Scenario:
    """A case, measured from a minute to another one."""
    return replace(CASES[name], begin=begin * MINUTE, end=end * MINUTE)


def test_no_program_does_better_than_the_bound() -> None:
    scenario = during("clean equal 95%", 5, 11)
    served = {name: Simulation(scenario).run(make).served for name, make in SCHEDULERS.items()}
    assert served.pop("bound") >= max(served.values())
    assert served.pop("proxy") >= max(served.values())


@pytest.mark.parametrize("seed", [1, 2])
def test_what_others_spend_on_all_keys_is_left_to_them_and_no_more(seed: int) -> None:
    figures = run(during("others 30 % of all keys", 5, 35), seed)
    assert figures.served >= 0.985
    assert figures.calls_per_answer <= 1.17


def test_what_others_spent_is_used_within_three_minutes_after_they_are_gone() -> None:
    runs = [run(during("after others on half the keys", 23, 43), seed) for seed in (1, 2, 3)]
    assert fmean(figures.served for figures in runs) >= 0.99


def test_a_large_quota_that_others_spent_for_minutes_is_used_again_as_soon() -> None:
    shared = others((KeyPlan(300),) * 3, Others(0.8, 2 * MINUTE, 5 * MINUTE))
    scenario = Scenario(projects=shared, clients=load(0.95), begin=8 * MINUTE, end=13 * MINUTE)
    assert run(scenario).served >= 0.99


def test_a_quota_that_was_raised_is_used_within_ten_minutes() -> None:
    assert run(during("raised from 5 to 50", 20, 24)).used >= 0.9


def test_a_quota_that_was_lowered_is_learned_within_two_minutes() -> None:
    figures = run(during("lowered from 50 to 5", 12, 32))
    assert figures.served >= 0.97
    assert figures.calls_per_answer <= 1.06  # one call in twenty looks whether there is more than five


@pytest.mark.parametrize("seed", [2, 3])
def test_what_was_learned_while_redis_was_away_is_forgotten_when_it_is_back(seed: int) -> None:
    assert run(during("Redis away for 60 s", 13, 21), seed).served >= 0.95


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("RetryInfo missing", 0.98),
        ("RetryInfo 10 to 60 s too long", 0.97),
        ("RetryInfo an hour", 0.97),
        ("no quotaValue", 0.98),
    ],
)
@pytest.mark.parametrize("counting", Counting)
def test_a_refusal_that_tells_half_wastes_little(name: str, least: float, counting: Counting) -> None:
    figures = run(counted(during(name, 5, 13), counting))
    assert figures.served >= least
    assert figures.calls_per_answer <= 1.15


@pytest.mark.parametrize("late", [0.2, 1.0, 5.0, 30.0])
def test_a_day_that_begins_some_seconds_after_midnight_is_used(late: float) -> None:
    day = DayPlan(requests=100, left=20, midnight=4 * MINUTE, late=late)
    scenario = Scenario(projects=(KeyPlan(day=day),) * 10, clients=load(0.95), begin=day.midnight)
    assert run(replace(scenario, end=day.midnight + 10 * MINUTE)).used >= 0.95


@pytest.mark.parametrize("name", ["60,000 tokens a minute", "250,000 tokens a minute"])
def test_quotas_of_tokens_are_used_nearly_as_well_as_they_could_be(name: str) -> None:
    scenario = during(name, 5, 15)
    ours = [run(scenario, seed) for seed in (1, 2, 3)]
    bound = [Simulation(scenario, seed).run(SCHEDULERS["bound"]) for seed in (1, 2, 3)]
    assert fmean(one.served for one in ours) >= 0.92 * fmean(one.served for one in bound)
    assert fmean(one.tokens_served for one in ours) >= 0.92 * fmean(one.tokens_served for one in bound)


def test_a_light_client_hardly_waits_beside_a_heavy_one() -> None:
    figures = run(during("a light client beside a heavy one", 5, 15))
    assert figures.of("light").served >= 0.95
    assert figures.of("light").median_wait <= 2
    assert figures.used >= 0.97


def test_requests_that_one_key_alone_can_serve_get_their_share_of_it_beside_a_crowd() -> None:
    figures = run(during("20 % owned, 110 %", 5, 25))
    assert figures.owned(owned=True).served >= figures.owned(owned=False).served - 0.03


@pytest.mark.parametrize("seed", [1, 2])
def test_clients_that_return_when_they_were_told_to_are_served(seed: int) -> None:
    figures = run(during("130 %, 20% return as told", 5, 20), seed)
    assert len(figures.returns) > 100
    assert figures.served_again >= 0.95


def test_the_turns_of_a_conversation_find_their_prompt_cached_and_keys_are_used_evenly() -> None:
    figures = run(during("conversations", 8, 23))
    assert figures.cached >= 0.75
    assert figures.unevenness <= 0.25
    assert figures.served == 1
    assert figures.calls_per_answer <= 1.03


@pytest.mark.parametrize(
    ("name", "least"),
    [("503 on 45% of calls", 0.98), ("503 on 60% of calls", 0.93)],
)
def test_a_model_that_often_fails_is_asked_until_it_serves(name: str, least: float) -> None:
    figures = run(during(name, 1, 5))
    assert figures.served >= least
    assert figures.calls_per_answer <= 3.2
