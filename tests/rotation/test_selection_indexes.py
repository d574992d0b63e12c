"""The indexes of ready projects: they give what a look at every project would, at little cost."""

import random

import pytest

from proxycore.gemini.verdict import HEALTHY, Backoff, BenchScope, Limit, Reaction, Verdict
from proxycore.rotation.bench import ExponentialBackoff
from proxycore.rotation.key import Key, KeySpec, Project, keys_of
from proxycore.rotation.rotator import Rotator
from tests.support.clocks import TurnedClock

FLASH = "gemini-2.5-flash"
MODELS = [f"gemini-{number}" for number in range(200)]
BACKOFFS = {backoff: ExponentialBackoff(10.0, 600.0) for backoff in Backoff}
MINUTE = Limit("PerMinute", 10, 60.0)
SPENT = Verdict("quota exhausted", Reaction.FAILOVER, BenchScope.MODEL, 30.0)
LEARNED = Verdict("quota exhausted", Reaction.FAILOVER, BenchScope.MODEL, 30.0, limits=(MINUTE,))
FORBIDDEN = Verdict("not permitted", Reaction.FAILOVER, BenchScope.KEY, 20.0, Backoff.FORBIDDEN)
NOT_FOUND = Verdict("not entitled", Reaction.ENTITLED, BenchScope.MODEL, 86400.0, unknown_model=True)


def rotator(count: int, clock: TurnedClock, seed: int = 1) -> Rotator:
    keys = keys_of(KeySpec(f"{number}", f"secret-{number}") for number in range(count))
    source = random.Random(seed)  # noqa: S311 - seeded, so that the test is the same every time
    return Rotator(keys, BACKOFFS, clock=clock, source=source)


def ready(here: Rotator, model: str, now: float) -> list[Key]:
    return [key for key in here.keys if key.ready_at(model) <= now]


def act(here: Rotator, chance: random.Random, model: str) -> None:
    """Something happens to a key: a call is refused or served, or its bench is ended by hand."""
    key, verdict = chance.choice(here.keys), chance.choice([HEALTHY, SPENT, LEARNED, FORBIDDEN])
    if chance.random() < 0.1:
        here.release(key)
    elif key.ready_at(model) <= here._clock():
        here.apply(here.call(key, model, spends=True), verdict)


@pytest.mark.parametrize("seed", range(10))
def test_the_choice_is_among_all_that_are_ready_whatever_happened(seed: int) -> None:
    clock = TurnedClock()
    here, chance = rotator(8, clock, seed), random.Random(seed)  # noqa: S311 - seeded as above
    lanes = [FLASH, f"{FLASH}+google_search", "gemini-2.5-pro"]
    for _ in range(600):
        clock.turn(chance.choice([0.0, 0.3, 2.0, 9.0]))
        act(here, chance, chance.choice(lanes))
        lane = chance.choice(lanes)
        fit = ready(here, lane, clock())
        assert {project.keys[0] for project in here._indexes.ready(lane, clock())} == set(fit)
        key = here.pick(lane)
        assert key in fit if fit else key is None
        turn = here.next_turn(lane)
        assert turn is not None
        assert turn[1] == pytest.approx(max(clock(), min(key.ready_at(lane) for key in here.keys)))


def test_every_ready_key_is_found_among_many_that_rest() -> None:
    clock = TurnedClock()
    here = rotator(300, clock)
    for key in here.keys[1:]:
        here.apply(here.call(key, FLASH, spends=True), FORBIDDEN)
    for model in MODELS:
        assert here.pick(model) is here.keys[0]


def test_the_work_for_a_choice_does_not_grow_with_keys_and_models(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, looks = TurnedClock(), 0
    here, free_at = rotator(1000, clock), Project.free_at

    def counted(project: Project, model: str) -> float:
        nonlocal looks
        looks += 1
        return free_at(project, model)

    monkeypatch.setattr(Project, "free_at", counted)
    chance = random.Random(3)  # noqa: S311 - seeded as above
    for model in chance.choices(MODELS, k=2000):
        key = here.pick(model)
        assert key
        here.apply(here.call(key, model, spends=True), HEALTHY)
    assert looks < 2 * 2000
    looks = 0
    here.apply(here.call(here.keys[0], FLASH, spends=True), FORBIDDEN)
    clock.turn(21)
    here.apply(here.call(here.keys[0], FLASH, spends=True), HEALTHY)  # the key is ready again for every model
    assert looks < 3 * len(MODELS)


def test_quotas_of_200_models_outlive_names_without_end() -> None:
    clock = TurnedClock()
    here = rotator(1, clock)
    key = here.keys[0]
    for model in MODELS:
        here.apply(here.call(key, model, spends=True), LEARNED)
    for number in range(1000):
        here.apply(here.call(key, f"invented-{number}", spends=True), NOT_FOUND)
        here.apply(here.call(key, f"served-{number}", spends=True), HEALTHY)
    limiters = key.project.limiters
    assert [model for model in MODELS if not limiters[model].quotas] == []
    assert len(limiters) < len(MODELS) + 64


def test_a_name_that_was_refused_is_not_remembered() -> None:
    here = rotator(1, TurnedClock())
    for number in range(10):
        here.apply(here.call(here.keys[0], f"invented-{number}", spends=True), NOT_FOUND)
    assert not here.keys[0].project.limiters
