"""Billing accounts: those that are configured, and those learned from refusals that begin together."""

import random
from collections import Counter

import pytest

from proxycore.gemini.verdict import HEALTHY, Backoff, BenchScope, Reaction, Verdict
from proxycore.rotation.bench import ExponentialBackoff
from proxycore.rotation.events import BenchBegan
from proxycore.rotation.key import Key, KeySpec, Project, keys_of
from proxycore.rotation.rotator import Rotator
from tests.support.clocks import TurnedClock

FLASH = "gemini-2.5-flash"
BACKOFFS = {backoff: ExponentialBackoff(10.0, 600.0) for backoff in Backoff}
UNPAID = Verdict("spend-based rate limit exceeded", Reaction.FAILOVER, BenchScope.ACCOUNT)
WINDOW = 600.0  # seconds for which an account is refused


class Here:
    """Keys by the letter of their billing account and a number, each of a project of its own."""

    def __init__(self, names: list[str], seed: int = 1) -> None:
        self.clock = TurnedClock()
        source = random.Random(seed)  # noqa: S311 - seeded, so that the test is the same every time
        keys = keys_of(KeySpec(name, f"secret-{name}") for name in names)
        self.rotator = Rotator(keys, BACKOFFS, clock=self.clock, source=source)
        self.unpaid = ""  # the letters of accounts that are refused
        self.refused = Counter[str]()

    def key(self, name: str) -> Key:
        return next(key for key in self.rotator.keys if key.name == name)

    def call(self, *names: str) -> None:
        """A call with each of these keys, which is refused if its account is unpaid."""
        for name in names:
            self.clock.turn(0.1)
            call = self.rotator.call(self.key(name), FLASH, spends=True)
            self.refused[name] += name[0] in self.unpaid
            self.rotator.apply(call, UNPAID if name[0] in self.unpaid else HEALTHY)

    def request(self) -> bool:
        """A request, with failover; returns whether it was served."""
        while key := self.rotator.pick(FLASH):
            self.call(key.name)
            if key.name[0] not in self.unpaid:
                return True
        return False

    def rest(self, name: str) -> float:
        """Seconds until a key may be used."""
        return max(0.0, self.key(name).ready_at(FLASH) - self.clock())

    def run(self, seconds: float) -> None:
        """Requests, one a second."""
        until = self.clock() + seconds
        while self.clock() < until:
            self.clock.turn(1.0)
            self.request()


def learned() -> Here:
    """It was learned that four keys share an account; all serve again, and so do two others."""
    here = Here(["a1", "a2", "a3", "a4", "b1", "b2"])
    here.call("a1", "a2", "a3", "a4", "b1", "b2")
    here.unpaid = "a"
    here.call("a1", "a2", "a3", "a4", "b1", "b2")
    here.unpaid = ""
    here.clock.turn(WINDOW)
    here.call("a1", "a2", "a3", "a4", "b1", "b2")
    here.refused.clear()
    return here


def test_the_first_refusal_rests_those_that_were_refused_together_before() -> None:
    here = learned()
    here.unpaid = "a"
    here.call("a1")
    assert here.rest("a1") > 9
    assert all(1.5 < here.rest(name) < 3 for name in ("a2", "a3", "a4")), "a guess rests for seconds"
    assert here.rest("b1") == here.rest("b2") == 0


def test_after_a_guess_one_after_the_other_is_tried() -> None:
    here = learned()
    here.unpaid = "a"
    here.call("a1")
    here.clock.turn(2.0)
    first = min(("a2", "a3", "a4"), key=here.rest)
    others = {"a2", "a3", "a4"} - {first}
    assert all(here.rest(name) >= here.rest(first) + 0.2 for name in others)
    here.clock.turn(here.rest(first))
    here.call(first)
    assert here.rest(first) > 9, "its own refusal rests it for long"
    assert all(3.5 < here.rest(name) < 5 for name in others)


def test_a_served_call_ends_the_guesses() -> None:
    here = learned()
    here.unpaid = "a"
    here.call("a1")
    here.unpaid = ""
    here.call("a2")
    assert all(here.rest(name) == 0 for name in ("a2", "a3", "a4"))
    assert here.rest("a1") > 9, "it was refused itself"


def test_a_call_that_was_sent_before_the_refusal_refutes_nothing() -> None:
    here = learned()
    early = here.rotator.call(here.key("a2"), FLASH, spends=True)
    here.unpaid = "a"
    here.call("a1")
    here.rotator.apply(early, HEALTHY)
    assert here.rest("a3") > 1.5


def test_a_guess_is_neither_logged_nor_a_strike() -> None:
    here, begun = learned(), list[Key]()
    here.rotator.events.subscribe(BenchBegan, lambda event: begun.append(event.key))
    here.unpaid = "a"
    here.call("a1")
    assert begun == [here.key("a1")]
    here.clock.turn(5)
    here.call("a2")
    bench = here.key("a2").whole
    assert bench
    assert (bench.strikes, bench.suspected) == (1, False)


def test_accounts_that_ran_out_together_are_told_apart_once_one_serves_and_the_other_does_not() -> None:
    here = Here(["a1", "a2", "b1", "b2", "c1"])
    here.call("a1", "a2", "b1", "b2")
    here.unpaid = "ab"
    here.call("a1", "a2", "b1", "b2")
    here.unpaid = "a"
    here.run(120)
    assert here.rest("b1") == here.rest("b2") == 0
    here.unpaid = ""
    here.clock.turn(WINDOW)
    here.call("a1", "a2", "b1", "b2")
    here.unpaid = "a"
    here.call("a1")
    assert here.rest("a2") > 1.5
    assert here.rest("b1") == here.rest("b2") == 0


def test_a_healthy_project_of_a_wrong_group_is_used_again_within_seconds() -> None:
    here = Here(["a1", "a2", "a3", "b1", "c1"])
    here.call("a1", "a2", "a3", "b1")
    here.unpaid = "ab"
    here.call("a1", "a2", "a3", "b1")
    here.unpaid = ""
    here.clock.turn(WINDOW)
    here.call("a1", "a2", "a3", "b1")
    here.unpaid = "a"
    here.call("a1")
    rested = 0.0
    while here.rest("b1"):
        here.run(1)
        rested += 1
    assert rested < 20
    here.run(WINDOW)
    assert here.rest("b1") == 0


def test_projects_that_did_not_serve_before_are_not_taken_for_one_account() -> None:
    here = Here(["a1", "a2", "b1"])
    here.unpaid = "a"
    for _ in range(2):
        here.call("b1", "a1", "a2")
        here.clock.turn(WINDOW)
    here.call("a1")
    assert here.rest("a2") == 0


def test_one_that_serves_after_the_first_refusal_is_not_of_that_account() -> None:
    here = Here(["a1", "b1"])
    here.call("a1", "b1")
    here.unpaid = "a"
    here.call("a1", "b1")
    here.unpaid = "ab"
    here.call("b1")
    here.unpaid = ""
    here.clock.turn(WINDOW)
    here.call("a1", "b1")
    here.unpaid = "a"
    here.call("a1")
    assert here.rest("b1") == 0


def windows(here: Here) -> int:
    """Three accounts run out at different times, for ten minutes, in an hour; returns the refused calls."""
    for unpaid in ("", "a", "ab", "b", "", "c", "ca", "a", "bc", "b", "", "c"):
        here.unpaid = unpaid
        here.run(WINDOW / 2)
    return here.refused.total()


@pytest.mark.parametrize("seed", range(3))
def test_learned_accounts_save_more_than_a_third_of_the_refused_calls(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{account}{number}" for account in "abc" for number in range(10)]
    with_accounts = windows(Here(names, seed))
    here = Here(names, seed)

    def none_known(project: Project, sent: float) -> tuple[list[Project], float]:  # noqa: ARG001
        return [], 0.0

    monkeypatch.setattr(here.rotator.accounts, "refused", none_known)
    assert with_accounts < 2 / 3 * windows(here)


def test_a_project_that_was_removed_is_forgotten() -> None:
    here = learned()
    specs = [KeySpec(key.name, key.secret) for key in here.rotator.keys if key.name != "a2"]
    gone = here.key("a2")
    here.rotator.change(keys_of(specs, here.rotator.keys), BACKOFFS, 10.0)
    here.unpaid = "a"
    here.call("a1")
    assert here.rest("a3") > 1.5
    assert gone.whole is None


def test_a_configured_account_rests_as_a_whole_and_follows_a_reload() -> None:
    here = learned()

    def reload(accounts: dict[str, str]) -> None:
        specs = [
            KeySpec(key.name, key.secret, f"project-{key.name}", accounts.get(key.name, ""))
            for key in here.rotator.keys
        ]
        here.rotator.change(keys_of(specs, here.rotator.keys), BACKOFFS, 10.0)

    reload({"a1": "acme", "a2": "other", "b1": "acme"})
    here.unpaid = "a"
    here.call("a1")
    assert here.rest("a1") > 9
    assert here.rest("b1") > 9
    assert here.rest("a2") == here.rest("a3") == 0, "what is configured is not guessed"
    here.clock.turn(WINDOW)
    reload({"a1": "acme", "a2": "acme"})
    here.call("a2")
    assert here.rest("a1") > 9
    assert here.rest("b1") == 0
