"""Long computations in small steps: none holds up another, or anything else on the loop."""

import asyncio
from collections.abc import Generator

import pytest

from proxycore.transport.turns import Rounds, Turns


def steps(name: str, count: int, log: list[str]) -> Generator[None, None, str]:
    for number in range(count):
        log.append(f"{name}{number}")
        yield
    return name


async def test_what_takes_one_step_is_done_at_once() -> None:
    def at_once() -> Generator[None, None, int]:
        yield from ()
        return 5

    work = Turns().run(at_once())
    with pytest.raises(StopIteration) as end:  # it never waited for anything
        work.send(None)
    assert end.value.value == 5


async def test_several_take_turns_in_order_of_arrival() -> None:
    turns, log = Turns(), list[str]()
    work = [turns.run(steps(name, 3, log)) for name in "abc"]
    assert await asyncio.gather(*work) == ["a", "b", "c"]
    assert log == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


async def test_the_loop_turns_between_any_two_steps() -> None:
    turns, log, count = Turns(), list[str](), 0

    async def others() -> None:
        nonlocal count
        while True:
            count += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await asyncio.gather(*(turns.run(steps(name, 10, log)) for name in "abcd"))
    task.cancel()
    assert count >= len(log) - 4  # but for the first step of each


async def test_a_computation_that_is_given_up_leaves_the_others_alone() -> None:
    turns, log = Turns(), list[str]()
    given_up = asyncio.create_task(turns.run(steps("a", 1000, log)))
    other = asyncio.create_task(turns.run(steps("b", 5, log)))
    await asyncio.sleep(0)
    given_up.cancel()
    assert await other == "b"
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert log.count("a0") == 1
    assert "a999" not in log


async def test_a_fault_in_a_computation_is_its_callers() -> None:
    def fails() -> Generator[None, None, None]:
        yield
        raise ValueError("on the way")

    turns = Turns()
    with pytest.raises(ValueError, match="on the way"):
        await turns.run(fails())
    assert await turns.run(steps("a", 2, [])) == "a"


async def test_transfers_go_on_in_order_a_few_at_each_turn() -> None:
    rounds = Rounds()
    turns = [rounds.next_turn() for _ in range(20)]
    done = []
    while not all(turn.done() for turn in turns):
        await asyncio.sleep(0)
        done.append([turn.done() for turn in turns].count(True))
    assert done == [8, 16, 20]
    assert all(turn.done() for turn in turns[: done[0]])
    last = rounds.next_turn()
    await asyncio.sleep(0)
    assert last.done()
