"""Whom a refusal without a reason is about: what other keys did with the request, and these with others."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.gemini.verdict import HEALTHY, Backoff, BenchScope, Reaction, Verdict
from proxycore.rotation.bench import ExponentialBackoff
from proxycore.rotation.case import About, Case
from proxycore.rotation.events import RequestBlamed
from proxycore.rotation.judgement import Judgement
from proxycore.rotation.key import KeySpec, keys_of
from proxycore.rotation.rotator import Rotator
from tests.support.clocks import TurnedClock

FLASH, PRO = "gemini-2.5-flash", "gemini-2.5-pro"
BARE = Verdict("refused without a reason", Reaction.COMPARE, BenchScope.MODEL)
CALLER = Verdict("permission denied", Reaction.COMPARE, BenchScope.CALLER, backoff=Backoff.FORBIDDEN)
NOT_ENTITLED = Verdict("not entitled", Reaction.ENTITLED, BenchScope.MODEL, 86_400.0)
DOUBLINGS = {
    Backoff.QUOTA: ExponentialBackoff(10.0, 600.0),
    Backoff.FORBIDDEN: ExponentialBackoff(300.0, 86_400.0),
}


class Pool:
    """Some keys, each of a project of its own, and what requests come to."""

    def __init__(self, count: int) -> None:
        self.clock = TurnedClock()
        self.rotator = Rotator(
            keys_of(KeySpec(str(n), f"secret-{n}") for n in range(count)),
            DOUBLINGS,
            clock=self.clock,
            source=random.Random(5),  # noqa: S311 - seeded, so that the test is the same every time
        )
        self.keys = self.rotator.keys

    def say(self, number: int, verdict: Verdict, case: Case, lane: str = FLASH) -> Case:
        """The request is sent with this key, and answered a moment later."""
        call = self.rotator.call(self.keys[number], lane, spends=True)
        self.clock.turn(0.01)
        self.rotator.apply(call, verdict, case)
        return case

    def serve(self, *numbers: int, lane: str = FLASH) -> None:
        for number in numbers:
            self.say(number, HEALTHY, Case(), lane)

    def rest(self, number: int, lane: str = FLASH) -> float:
        """Seconds that the key rests for a lane."""
        return max(0.0, self.keys[number].ready_at(lane) - self.clock())


@pytest.mark.parametrize("verdict", [BARE, CALLER], ids=lambda v: v.reason)
def test_when_another_key_serves_the_very_request_it_was_the_keys_fault(verdict: Verdict) -> None:
    here, case = Pool(4), Case()
    here.say(0, verdict, case)
    assert 0.0 < here.rest(0) <= 1.0  # a suspicion
    here.say(1, HEALTHY, case)
    assert 9.9 < here.rest(0) <= 11.0  # short at first, since it may be a mistake
    assert here.rest(0, PRO) == 0.0
    assert here.rest(1) == 0.0


def test_the_keys_fault_is_a_strike_more_each_time() -> None:
    here = Pool(4)
    for seconds in (10.0, 20.0, 40.0):
        case = here.say(0, BARE, Case())
        here.say(1, HEALTHY, case)
        assert seconds - 0.1 < here.rest(0) <= seconds + 1.0
        here.clock.turn(seconds + 1.0)


def test_a_success_that_was_sent_long_after_the_refusal_proves_nothing() -> None:
    here, case = Pool(4), Case()
    here.say(0, BARE, case)
    here.clock.turn(0.46)
    here.say(1, HEALTHY, case)
    assert here.rest(0) <= 0.6  # what is left of the suspicion


def test_the_success_of_another_request_proves_nothing() -> None:
    here = Pool(4)
    here.say(0, BARE, Case())
    here.serve(1)
    assert 0.0 < here.rest(0) <= 1.0


@pytest.mark.parametrize("verdict", [BARE, CALLER], ids=lambda v: v.reason)
def test_when_three_projects_refuse_and_one_of_them_served_last_it_is_the_request(verdict: Verdict) -> None:
    here, case = Pool(12), Case(request="poisoned")
    judgements: list[Judgement] = []
    here.rotator.events.subscribe(RequestBlamed, lambda event: judgements.append(event.judgement))
    here.serve(4, 5)
    for number in (0, 1):
        here.say(number, verdict, case)
        assert case.about is About.UNDECIDED
    here.say(5, verdict, case)
    assert case.about is About.REQUEST
    assert [here.rest(number) for number in range(12)] == [0.0] * 12
    assert not here.rotator.searches
    (judgement,) = judgements
    assert judgement.request == "poisoned"
    assert judgement.why.startswith("not benched: the same request was refused by 3 projects")


def test_all_there_are_is_enough_for_the_request_to_be_at_fault() -> None:
    here, case = Pool(2), Case()
    here.serve(0, 1)
    here.say(0, BARE, case)
    here.say(1, BARE, case)
    assert case.about is About.REQUEST
    assert [here.rest(0), here.rest(1)] == [0.0, 0.0]


def test_a_former_bench_comes_back_when_the_request_was_at_fault() -> None:
    here = Pool(4)
    here.say(1, HEALTHY, here.say(0, BARE, Case()))
    here.clock.turn(12.0)
    here.serve(2)
    case = Case()
    for number in (0, 1, 2):
        here.say(number, BARE, case)
    assert case.about is About.REQUEST
    bench = here.keys[0].project.limiters[FLASH].bench
    assert bench is not None
    assert (bench.suspected, bench.strikes) == (False, 1)


def test_three_that_refuse_without_a_witness_are_searched_and_no_request_is_at_fault() -> None:
    here, case = Pool(8), Case()
    for number in range(3):
        here.say(number, BARE, case)
    assert case.about is not About.REQUEST
    assert set(here.rotator.searches) == {FLASH}


def test_a_request_that_was_refused_goes_to_the_witness_next() -> None:
    here, case = Pool(8), Case()
    here.serve(3, 6)
    assert here.rotator.advise(case, FLASH).witness is None
    here.say(0, BARE, case)
    assert here.rotator.advise(case, FLASH).witness is here.keys[6].project
    here.say(6, BARE, case)
    assert here.rotator.advise(case, FLASH).witness is here.keys[3].project


def test_a_success_speaks_for_a_minute() -> None:
    here = Pool(8)
    here.serve(3)
    attribution, project = here.rotator.attribution, here.keys[3].project
    here.clock.turn(59.9)
    assert attribution.is_witness(project, FLASH, here.clock())
    here.clock.turn(0.2)
    assert not attribution.is_witness(project, FLASH, here.clock())


def test_who_serves_the_model_speaks_for_what_is_asked_of_it_in_other_ways_but_not_for_other_models() -> None:
    here = Pool(8)
    here.serve(3)
    attribution, project = here.rotator.attribution, here.keys[3].project
    assert attribution.is_witness(project, f"{FLASH}+google_search", here.clock())
    assert attribution.is_witness(project, f"{FLASH}:countTokens", here.clock())
    assert not attribution.is_witness(project, PRO, here.clock())


def test_a_call_that_is_open_for_much_longer_than_refusals_take_speaks_for_its_key() -> None:
    here, attribution = Pool(8), None
    attribution = here.rotator.attribution
    call = here.rotator.call(here.keys[5], FLASH, spends=True)
    here.say(0, BARE, Case())
    assert not attribution.is_witness(here.keys[5].project, FLASH, here.clock())
    here.clock.turn(0.1)
    assert attribution.is_witness(here.keys[5].project, FLASH, here.clock())
    here.rotator.settle(call)
    assert not attribution.is_witness(here.keys[5].project, FLASH, here.clock())


def test_a_fault_stands_until_something_is_served() -> None:
    here = Pool(8)
    here.serve(4)
    first = Case(client="c", method="m")
    for number in (0, 1, 4):
        here.say(number, BARE, first)
    assert first.about is About.REQUEST
    # The witnesses that said so have to serve again: the same refusal is not the next request's fault, too.
    here.serve(6, lane=PRO)
    second = Case(client="other", method="m")
    for number in (0, 1, 4):
        here.say(number, BARE, second)
    assert second.about is not About.REQUEST


def test_when_all_keys_refuse_that_serve_other_lanes_meanwhile_the_request_is_at_fault() -> None:
    here, case = Pool(2), Case()
    here.say(0, BARE, case)
    here.serve(0, lane=PRO)
    here.say(1, BARE, case)
    here.rotator.exhausted(case, FLASH)
    assert case.about is About.REQUEST
    assert [here.rest(0), here.rest(1)] == [0.0, 0.0]
    assert here.rotator.pick(FLASH)


def test_when_all_keys_refuse_and_serve_nothing_no_key_is_benched() -> None:
    here, case = Pool(2), Case()
    here.say(0, BARE, case)
    here.say(1, BARE, case)
    here.rotator.exhausted(case, FLASH)
    assert case.about is not About.REQUEST
    assert [here.rest(0), here.rest(1)] == [0.0, 0.0]


def test_a_project_that_is_not_entitled_is_benched_for_a_day_once_another_is() -> None:
    here, case = Pool(4), Case()
    here.say(0, NOT_ENTITLED, case)
    assert here.rest(0) == 0.0
    assert here.rotator.seeks_entitled(case, FLASH)
    here.say(1, HEALTHY, case)
    assert here.rest(0) >= 86_399.0
    assert here.rest(0, PRO) == 0.0


def test_that_none_is_entitled_is_remembered_for_a_minute_or_until_one_serves() -> None:
    here, case = Pool(2), Case()
    here.say(0, NOT_ENTITLED, case)
    here.say(1, NOT_ENTITLED, case)
    here.rotator.exhausted(case, FLASH)
    assert [here.rest(0), here.rest(1)] == [0.0, 0.0]
    later = here.say(0, NOT_ENTITLED, Case())
    assert not here.rotator.seeks_entitled(later, FLASH)
    assert here.rotator.seeks_entitled(later, PRO)
    here.clock.turn(60.0)
    assert here.rotator.seeks_entitled(later, FLASH)
    here.rotator.exhausted(later, FLASH)
    here.serve(1)
    assert here.rotator.seeks_entitled(later, FLASH)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=40), st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_no_healthy_key_is_benched_for_requests_that_every_key_refuses(
    steps: list[tuple[int, bool]], seed: int
) -> None:
    here = Pool(6)
    here.serve(*range(6))
    source = random.Random(seed)  # noqa: S311 - any seed will do
    for number, poisoned in steps:
        if not poisoned:
            here.serve(number)
            continue
        case, asked = Case(client="c", method="m"), list(range(6))
        source.shuffle(asked)
        for key in asked:
            if case.about is not About.REQUEST:
                here.say(key, CALLER, case)
        here.rotator.exhausted(case, FLASH)
    here.clock.turn(1.0)
    assert all(here.rest(number) == 0.0 for number in range(6))


def test_removed_keys_are_forgotten() -> None:
    here = Pool(4)
    attribution = here.rotator.attribution
    here.serve(0, 1)
    here.say(2, BARE, Case())
    here.rotator.change(keys_of([KeySpec("1", "secret-1")], here.keys), DOUBLINGS, 10.0)
    evidence = attribution.of(FLASH)
    assert list(evidence.served) == [here.keys[1].project]
    assert (evidence.refused, evidence.requests) == ({}, set())
    assert list(vars(attribution)["_alive"]) == [here.keys[1]]


def test_a_project_that_turns_out_to_be_another_is_no_witness_of_its_own() -> None:
    here = Pool(5)
    here.rotator.assign(here.keys[0], "12345")
    here.serve(4)
    merged = here.keys[4].project
    here.rotator.assign(here.keys[4], "12345")
    assert not here.rotator.attribution.is_witness(merged, FLASH, here.clock())
    case = Case()
    for number in (1, 2, 3):
        here.say(number, BARE, case)
    assert FLASH in here.rotator.searches
