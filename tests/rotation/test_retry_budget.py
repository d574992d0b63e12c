"""How many calls may be made again after server errors, for the whole pool."""

from hypothesis import given
from hypothesis import strategies as st

from proxycore.rotation.retry_budget import RetryBudget
from tests.support.clocks import TurnedClock


def spent(budget: RetryBudget, most: int = 1000) -> int:
    """How many retries it has left."""
    return next((count for count in range(most) if not budget.spend()), most)


def test_at_the_start_fifty_are_there() -> None:
    assert spent(RetryBudget(TurnedClock())) == 50


def test_a_call_that_is_served_earns_two() -> None:
    budget = RetryBudget(TurnedClock())
    spent(budget)
    for _ in range(10):
        budget.earn()
    assert spent(budget) == 20


def test_one_a_second_is_there_when_nothing_is_served() -> None:
    clock = TurnedClock()
    budget = RetryBudget(clock)
    spent(budget)
    clock.turn(3.0)
    assert spent(budget) == 3


def test_processes_share_what_is_there_when_nothing_is_served() -> None:
    clock = TurnedClock()
    budget = RetryBudget(clock, processes=4)
    spent(budget)
    clock.turn(8.0)
    assert spent(budget) == 2


def test_no_more_than_fifty_are_saved_up() -> None:
    clock = TurnedClock()
    budget = RetryBudget(clock)
    for _ in range(10_000):
        budget.earn()
    clock.turn(86_400.0)
    assert spent(budget) == 50


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0.0, 5.0), st.integers(0, 100))))
def test_retries_are_at_most_two_for_each_served_call_one_a_second_and_fifty(
    steps: list[tuple[int, float, int]],
) -> None:
    clock = TurnedClock()
    budget, served, seconds, retries = RetryBudget(clock), 0, 0.0, 0
    for came, passed, wanted in steps:
        for _ in range(came):
            budget.earn()
        clock.turn(passed)
        served, seconds = served + came, seconds + passed
        retries += sum(budget.spend() for _ in range(wanted))
        assert retries <= 50 + 2 * served + seconds + 0.01
