"""Shrinks a failing mixture: removes everything that the failure does not need."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from tests.support.google_model import KeyPlan
from tests.support.mixtures import Client, Mixture

_MOST_RUNS = 600
_Part = TypeVar("_Part")


def shrunk(mixture: Mixture, fails: Callable[[Mixture], bool]) -> Mixture:
    """The smallest mixture that was found to fail."""
    runs, found = 0, True
    while found and runs < _MOST_RUNS:
        found = False
        for smaller in _smaller(mixture):
            runs += 1
            if fails(smaller):
                mixture, found = smaller, True
                break
            if runs >= _MOST_RUNS:
                break
    return mixture


def _smaller(mixture: Mixture) -> Iterator[Mixture]:
    """Mixtures with a little less in them, the much smaller ones first."""
    for seconds in (mixture.seconds / 2, mixture.seconds * 0.8, mixture.seconds - 2):
        if seconds > 1:
            yield replace(mixture, seconds=seconds)
    for keys in _fewer(mixture.keys):
        yield replace(mixture, keys=keys)
    for clients in _without(mixture.clients, 1):
        yield replace(mixture, clients=clients)
    if mixture.everywhere:
        yield replace(mixture, everywhere=())
    for everywhere in _without(mixture.everywhere, 1):
        yield replace(mixture, everywhere=everywhere)
    for n, client in enumerate(mixture.clients):
        for thinner in _thinner(client):
            yield replace(mixture, clients=_with(mixture.clients, n, thinner))


def _fewer(keys: tuple[KeyPlan, ...]) -> Iterator[tuple[KeyPlan, ...]]:
    """Fewer keys, or some of them healthier."""
    for size in (len(keys) // 2, len(keys) // 4, 1):
        yield from _without(keys, size)
    for n, key in enumerate(keys):
        if key.ills:
            yield _with(keys, n, replace(key, ills=()))


def _without(parts: tuple[_Part, ...], size: int) -> Iterator[tuple[_Part, ...]]:
    """All but `size` parts in a row, never none."""
    if 0 < size < len(parts):
        for start in range(0, len(parts), size):
            yield parts[:start] + parts[start + size :]


def _with(parts: tuple[_Part, ...], place: int, part: _Part) -> tuple[_Part, ...]:
    return (*parts[:place], part, *parts[place + 1 :])


def _thinner(client: Client) -> Iterator[Client]:
    if client.rate > 0.2:
        yield replace(client, rate=client.rate / 2)
    if len(client.models) > 1:
        yield replace(client, models=client.models[:1])
    if client.share:
        yield replace(client, share=0.0)
