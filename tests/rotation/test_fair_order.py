"""The order in which waiters are served."""

import asyncio
from collections.abc import Iterator, Mapping

import pytest

from proxycore.rotation.fair_order import FairOrder
from proxycore.rotation.key import Key
from proxycore.rotation.waiter import Waiter

KEY = Key("one", "secret-1")


class Here:
    """Waiters with a client and an arrival each, named like `a1`."""

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self.order = FairOrder(weights or {})
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        self._loop.close()

    def join(self, *names: str, only: Key | None = None) -> list[Waiter]:
        waiters = [
            Waiter(name[0], int(name[1:]), frozenset(), only, True, 0, False, 0.0, self._loop.create_future())
            for name in names
        ]
        for waiter in waiters:
            self.order.add(waiter)
        return waiters

    @property
    def names(self) -> list[str]:
        return [f"{waiter.client}{waiter.arrival}" for waiter in self.order]

    def serve(self, count: int = 1) -> list[str]:
        served = self.names[:count]
        for _ in range(count):
            self.order.serve(next(iter(self.order)))
        return served


@pytest.fixture
def here() -> Iterator[Here]:
    here = Here()
    yield here
    here.close()


def test_one_client_is_served_in_order_of_arrival_in_whatever_order_they_join(here: Here) -> None:
    here.join("a3", "a1", "a5", "a2", "a4")
    assert here.names == ["a1", "a2", "a3", "a4", "a5"]


def test_clients_take_turns(here: Here) -> None:
    here.join("a1", "a2", "a3", "b4", "b5", "c6")
    assert here.names == ["a1", "b4", "c6", "a2", "b5", "a3"]


def test_a_newcomer_comes_before_those_whose_client_has_had_its_share(here: Here) -> None:
    here.join(*(f"a{number}" for number in range(20)))
    here.serve(10)
    here.join("b30", "b31")
    assert here.names[:5] == ["b30", "a10", "b31", "a11", "a12"]


def test_what_a_client_did_not_use_is_not_saved_for_it(here: Here) -> None:
    here.join("b0", *(f"a{number}" for number in range(1, 40)))
    here.serve(20)
    here.join("b50", "b51", "b52")
    assert here.names[:6] == ["b50", "a20", "b51", "a21", "b52", "a22"]


def test_a_client_that_was_just_served_waits_for_the_others(here: Here) -> None:
    here.join("a1", "b2", "b3")
    assert here.serve(2) == ["a1", "b2"]
    here.join("a4", "c5")
    assert here.names == ["c5", "b3", "a4"]


def test_weights_are_shares() -> None:
    here = Here({"a": 3.0, "c": 0.5})
    here.join(*(f"{client}{number}" for client in "abc" for number in range(40)))
    served = "".join(name[0] for name in here.serve(36))
    assert [served.count(client) for client in "abc"] == [pytest.approx(n, abs=1) for n in (24, 8, 4)]
    here.close()


def test_those_behind_move_up_when_some_leave_but_not_past_other_clients(here: Here) -> None:
    first = here.join("a1", "a2", "a3", "a4", "a5")
    here.join("b6", "b7")
    here.order.remove([first[0], first[2]])
    assert here.names == ["a2", "b6", "a4", "b7", "a5"]
    here.join("a8", "b9")
    assert here.names == ["a2", "b6", "a4", "b7", "a5", "b9", "a8"]


def test_who_is_refused_at_once_costs_its_client_nothing(here: Here) -> None:
    here.join("a1", "b2")
    for number in range(3, 100):
        here.order.remove(here.join(f"a{number}"))
    here.join("b100", "a101")
    assert here.names == ["a1", "b2", "b100", "a101"]


def test_who_can_use_one_key_only_has_a_place_like_any_other(here: Here) -> None:
    here.join("a1", "a2")
    (bound,) = here.join("a3", only=KEY)
    here.join("a4", "b5")
    assert here.names == ["a1", "b5", "a2", "a3", "a4"]
    assert here.order.ahead(bound) == 3
    here.order.remove([bound])
    assert here.names == ["a1", "b5", "a2", "a4"]


def test_one_that_is_served_out_of_order_puts_no_newcomer_behind_the_others(here: Here) -> None:
    here.join(*(f"a{number}" for number in range(20)))
    (bound,) = here.join("a20", only=KEY)
    here.order.serve(bound)
    here.join("b30")
    assert here.names[:2] == ["a0", "b30"]


def test_clients_without_number_leave_no_trace(here: Here) -> None:
    here.join("a0")
    for number in range(1, 2000):
        (waiter,) = here.join(f"{chr(1000 + number)}{number}")
        here.order.serve(waiter)
    assert len(vars(here.order)["_clients"]) < 600
