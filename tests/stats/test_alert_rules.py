"""What an operator is alerted of: each once, with what to do, and one notice of a kind in ten minutes."""

import pytest

from proxycore.gemini.verdict import HEALTHY, UPSTREAM_FAILURE
from proxycore.peers.alert_link import found_update
from proxycore.peers.store import Store
from proxycore.rotation.bench import BenchPlace
from proxycore.rotation.key import KeySpec, keys_of
from proxycore.stats.alert import Severity, state_file_unusable
from proxycore.stats.alert_rules import EXHAUSTED_AFTER
from tests.support.alerting import MODEL, MONEY, SPENT, Alerting
from tests.support.clocks import TurnedClock

QUIET = 600


def test_nothing_is_sent_while_all_is_well() -> None:
    here = Alerting()
    for number in range(3):
        here.answer(number, HEALTHY)
        here.ask(served=True)
    here.turn(60)
    assert here.sent == []


def test_a_dead_key_is_told_once_with_its_name_its_reason_and_what_to_do() -> None:
    here = Alerting()
    here.kill(1)
    here.turn(3 * QUIET)
    (notice,) = here.sent
    assert notice.title == "Gemini key proxy: a Gemini API key is dead"
    assert notice.severity is Severity.FAILURE
    assert "key 1: suspended or leaked" in notice.body
    assert "What to do: Replace it in .env" in notice.body


def test_a_dead_key_is_not_told_again_after_a_reload_unless_it_is_another_one() -> None:
    here = Alerting()
    here.kill(1)
    here.turn(QUIET)
    rotator = here.rotator
    for secret, expected in (("secret-1", 1), ("secret-new", 2)):
        specs = [KeySpec("0", "secret-0"), KeySpec("1", secret), KeySpec("2", "secret-2")]
        rotator.change(keys_of(specs, rotator.keys), {**rotator._backoffs}, 10.0)
        here.kill(1)
        here.turn(QUIET)
        assert len(here.sent) == expected


def test_keys_that_die_together_are_one_notice() -> None:
    here = Alerting(12)
    for number in range(11):
        here.kill(number)
    here.turn(5)
    (notice,) = here.sent
    assert here.titles == ["11 Gemini API keys are dead"]
    assert "key 10: suspended" in notice.body
    assert "3 earlier, see the log" in notice.body


def test_what_is_held_back_is_summed_up_ten_minutes_later() -> None:
    here = Alerting(6)
    here.kill(0)
    here.turn(10)
    began = here.clock()
    here.kill(1)
    here.kill(2)
    while here.clock() < began + QUIET - 15:
        here.turn(1)
    assert len(here.sent) == 1
    here.turn(20)
    assert here.titles[1:] == ["2 Gemini API keys are dead"]
    assert "key 0" not in here.sent[1].body


def test_an_account_without_credit_is_told_once_for_all_its_keys_until_one_of_them_serves() -> None:
    here = Alerting(4)
    here.answer(2, MONEY)
    for _ in range(5):  # the bench doubles
        here.turn(QUIET + 60)
        here.answer(3, MONEY)
    (notice,) = here.sent
    assert notice.title.endswith("a billing account has no credit")
    assert "account-1" in notice.body
    assert "https://ai.studio/spend" in notice.body
    here.turn(2 * QUIET)
    for number in (2, 3):
        here.answer(number, HEALTHY)
    here.answer(2, MONEY)
    here.turn(5)
    assert len(here.sent) == 2


def test_a_model_without_a_ready_key_is_told_after_some_seconds_and_so_is_its_end() -> None:
    here = Alerting()
    for number in range(3):
        here.answer(number, SPENT)
    here.ask()
    here.poll()
    here.turn(int(EXHAUSTED_AFTER) - 1)
    assert here.sent == []
    here.turn(5)
    assert here.titles == ["no key is available for a model"]
    assert f"{MODEL}: none of 3 keys is available; the next is back in" in here.sent[0].body
    here.turn(3600)
    assert here.titles[1:] == ["keys are available again for a model"]
    assert here.sent[1].severity is Severity.SUCCESS


def test_a_model_that_nobody_asks_for_is_not_told() -> None:
    here = Alerting()
    for number in range(3):
        here.answer(number, SPENT)
    here.ask("gemini-2.5-pro")
    here.turn(120)
    assert here.sent == []


def test_a_pool_in_full_use_is_not_spent() -> None:
    here = Alerting()
    for number in range(3):
        here.answer(number, SPENT)
    for _ in range(30):
        here.ask(served=True)  # by quotas that are free for a moment
        here.turn(2)
    assert here.sent == []


def test_what_begins_again_and_ends_within_ten_minutes_is_told_as_over() -> None:
    here = Alerting()
    for _ in range(2):
        for number in range(3):
            here.answer(number, SPENT)
        here.ask()
        here.turn(20)
        for key in here.rotator.keys:
            here.rotator.recover(key, BenchPlace.MODEL, MODEL)
        here.turn(20)
    assert here.titles == ["no key is available for a model", "keys are available again for a model"]
    here.turn(QUIET)
    assert here.titles[2:] == ["no key is available for a model"]
    assert "(over after" in here.sent[2].body


def test_an_outage_is_told_and_so_is_its_end() -> None:
    here = Alerting(40)
    for number in range(30):
        here.answer(number, UPSTREAM_FAILURE)
    here.turn(5)
    assert here.titles == ["the upstream has an outage"]
    assert f"upstream outage for {MODEL}" in here.sent[0].body
    here.turn(60)
    here.answer(35, HEALTHY)
    here.turn(5)
    assert here.titles[1:] == ["an upstream outage is over"]
    here.turn(QUIET)
    for number in range(30):
        here.answer(number, UPSTREAM_FAILURE)
    here.turn(5)
    assert here.titles[2:] == ["the upstream has an outage"]


def test_a_state_file_that_cant_be_used_is_told() -> None:
    here = Alerting()
    here.rules.find(state_file_unusable("the disk is full; free some space", here.clock()))
    here.turn(5)
    assert here.titles == ["the state file can't be used"]
    assert "the disk is full; free some space" in here.sent[0].body


def test_what_the_hub_finds_is_told_by_a_process_that_serves() -> None:
    here = Alerting()
    store = Store(here.clock)
    here.join(store)
    store.publish([found_update(state_file_unusable("the disk is full", here.clock()))])
    here.turn(10)
    assert here.titles == ["the state file can't be used"]


def test_no_secret_is_in_a_notice() -> None:
    here = Alerting(40)
    model = "secret-7"  # a client can ask for anything
    for number in range(30):
        here.answer(number, UPSTREAM_FAILURE, model)
        here.ask(model)
    here.turn(60)
    assert here.sent
    assert not any("secret-" in f"{notice.title} {notice.body}" for notice in here.sent)


def test_without_an_address_nothing_is_kept() -> None:
    here = Alerting()
    here.rules.enabled = False
    here.kill(1)
    here.turn(5)
    here.rules.enabled = True
    here.turn(60)
    assert here.sent == []


@pytest.mark.parametrize("count", [2, 5])
def test_of_several_processes_one_tells(count: int) -> None:
    clock = TurnedClock()
    store = Store(clock)
    processes = [Alerting(8, clock=clock, teller=f"process-{n}") for n in range(count)]
    for process in processes:
        process.join(store)

    def turn(seconds: int) -> None:
        for _ in range(seconds):
            clock.turn(1.0)
            for process in processes:
                process.poll()

    def titles() -> list[str]:
        return [title for process in processes for title in process.titles]

    for process in processes:  # each finds that the model is spent
        for number in range(8):
            process.answer(number, SPENT)
        process.ask()
    turn(40)
    assert titles() == ["no key is available for a model"]
    processes[0].kill(1)
    turn(20)
    processes[0].kill(2)
    processes[1].kill(3)
    turn(QUIET + 20)
    assert titles()[1:].count("a Gemini API key is dead") == 1
    assert titles()[1:].count("2 Gemini API keys are dead") == 1
    turn(3600)
    assert titles().count("no key is available for a model") == 1
    assert titles().count("keys are available again for a model") == 1
    late = Alerting(8, clock=clock, teller="late")
    late.join(store)
    processes.append(late)
    turn(2 * QUIET)
    assert late.titles == []


def test_what_a_process_found_that_has_ended_is_told_by_another() -> None:
    clock = TurnedClock()
    store = Store(clock)
    ended, other = (Alerting(clock=clock, teller=name) for name in ("ended", "other"))
    for process in (ended, other):
        process.join(store)
    ended.kill(1)
    other.turn(10)
    assert other.titles == ["a Gemini API key is dead"]
