"""The memory of all held bodies: within the limit, in order of arrival, and nobody waits for ever."""

import asyncio
import random

import pytest

from proxycore.transport.body_budget import SMALL, BodyBudget, Share

MB = 1024 * 1024
SPARE = MB  # for small bodies alone, where the limit is small

pytestmark = pytest.mark.usefixtures("io_loop")


def waits(room: "asyncio.Future[bool] | None") -> "asyncio.Future[bool]":
    assert room is not None
    assert not room.done()
    return room


def full(limit: int = 10 * MB) -> tuple[BodyBudget, Share]:
    budget = BodyBudget(limit)
    share = budget.share()
    assert share.reserve(limit) is None
    return budget, share


async def test_a_body_takes_what_it_needs_and_gives_it_back() -> None:
    budget = BodyBudget(10 * MB)
    share = budget.share()
    assert share.reserve(3 * MB) is None
    assert share.reserve(2 * MB) is None  # it has that already
    assert share.reserve(10 * MB) is None
    assert budget.held == 10 * MB
    share.release()
    share.release()
    assert budget.held == 0


async def test_those_who_find_no_room_wait_in_order_of_arrival() -> None:
    budget, first = full()
    rooms = [waits(budget.share().reserve(size * MB)) for size in (4, 6, 1)]
    assert budget.waiting == 3
    first.release()
    assert [room.done() for room in rooms] == [True, True, False]
    assert budget.held == 10 * MB


async def test_who_comes_later_does_not_go_past_a_large_one_that_waits() -> None:
    budget = BodyBudget(10 * MB)
    first, large, later = (budget.share() for _ in range(3))
    assert first.reserve(5 * MB) is None
    room = waits(large.reserve(8 * MB))
    waits(later.reserve(2 * MB))
    first.release()
    assert room.result() is True
    assert budget.held == 10 * MB


async def test_a_small_body_waits_for_no_large_one() -> None:
    budget, _ = full()
    waits(budget.share().reserve(MB))
    assert all(budget.share().reserve(SMALL) is None for _ in range(SPARE // SMALL))
    assert budget.held == 10 * MB + SPARE


async def test_small_bodies_wait_once_their_own_room_is_full() -> None:
    budget, first = full()
    small = [budget.share() for _ in range(SPARE // SMALL)]
    assert all(share.reserve(SMALL) is None for share in small)
    room = waits(budget.share().reserve(SMALL))
    small[0].release()
    assert room.result() is True
    first.release()
    assert budget.waiting == 0


async def test_who_gives_up_is_waited_for_no_longer() -> None:
    budget = BodyBudget(10 * MB)
    first, large, later = (budget.share() for _ in range(3))
    assert first.reserve(5 * MB) is None
    room, after = waits(large.reserve(8 * MB)), waits(later.reserve(2 * MB))
    large.release()
    assert room.result() is False
    assert after.result() is True
    assert (budget.held, budget.waiting) == (7 * MB, 0)


async def test_two_half_read_bodies_do_not_wait_for_each_other_for_ever() -> None:
    budget = BodyBudget(10 * MB)
    first, second = budget.share(), budget.share()
    assert first.reserve(5 * MB) is None
    assert second.reserve(5 * MB) is None
    first_room = waits(first.reserve(6 * MB))
    second_room = second.reserve(6 * MB)
    assert second_room is not None
    assert second_room.result() is False  # it came last
    assert not first_room.done()
    second.release()
    assert first_room.result() is True
    assert budget.held == 6 * MB


async def test_one_who_may_still_finish_is_waited_for() -> None:
    budget = BodyBudget(10 * MB)
    growing, whole, other = (budget.share() for _ in range(3))
    assert growing.reserve(4 * MB) is None
    assert whole.reserve(3 * MB) is None
    assert other.reserve(3 * MB) is None
    rooms = [waits(growing.reserve(5 * MB)), waits(other.reserve(4 * MB))]
    whole.release()
    assert [room.result() for room in rooms] == [True, True]


async def test_one_that_grows_goes_before_those_that_came_later() -> None:
    budget = BodyBudget(10 * MB)
    growing, whole, later = (budget.share() for _ in range(3))
    assert growing.reserve(4 * MB) is None
    assert whole.reserve(6 * MB) is None
    room = waits(later.reserve(6 * MB))
    grown = waits(growing.reserve(5 * MB))
    whole.release()
    assert grown.result() is True
    assert not room.done()


async def test_what_never_fits_is_told_at_once() -> None:
    room = BodyBudget(10 * MB).share().reserve(10 * MB + 1)
    assert room is not None
    assert room.result() is False


@pytest.mark.parametrize("limit", [1, 2, 4])
async def test_whatever_comes_the_limit_holds_and_all_are_served_or_refused(limit: int) -> None:
    for seed in range(100):
        await play(random.Random(seed), limit * MB)  # noqa: S311 - a seed makes it repeatable


async def play(source: random.Random, limit: int) -> None:
    """Bodies that come, grow and go at random, until all are gone."""
    budget = BodyBudget(limit)
    shares: dict[Share, asyncio.Future[bool] | None] = {}

    def ready() -> list[Share]:
        """Those that do not wait; who was refused goes."""
        for share in [share for share, room in shares.items() if room and room.done() and not room.result()]:
            share.release()
            del shares[share]
        return [share for share, room in shares.items() if room is None or room.done()]

    for _ in range(60):
        others = ready()
        share = source.choice(others) if others and source.random() < 0.5 else budget.share()
        if share in shares and source.random() < 0.4:
            share.release()
            del shares[share]
        else:
            shares[share] = share.reserve(min(limit, share.size + source.choice([1, SMALL, MB // 2, limit])))
        assert sum(share.size for share in shares) == budget.held <= limit + SPARE
    while shares:
        others = ready()  # they have all that they need, and finish
        assert others or not shares, "all wait for each other"
        for share in others[:1]:
            share.release()
            del shares[share]
    assert (budget.held, budget.waiting) == (0, 0)
