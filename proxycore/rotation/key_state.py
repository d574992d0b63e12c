"""The state of a key, as metrics and the status page show it. Pure.

Times are the clock's moments, in seconds.
"""

from collections.abc import Collection
from enum import StrEnum

from proxycore.rotation.all_benches import benches_of
from proxycore.rotation.bench import BenchPlace
from proxycore.rotation.key import Key

SOON = 1.0
"""Seconds: a key that is ready for a model within so many counts as ready for it."""


class KeyState(StrEnum):
    """The states of a key; the values are metric labels. The last of those that apply is the key's."""

    READY = "ready"  # it served
    UNPROVEN = "unproven"  # it has not served since it was added
    PARTLY_BENCHED = "partly_benched"  # for some of the models
    EXHAUSTED = "exhausted"  # for each model that was asked for lately
    BENCHED = "benched"  # as a whole
    RETIRED = "retired"
    PAUSED = "paused"  # by the operator


USABLE = (KeyState.READY, KeyState.UNPROVEN, KeyState.PARTLY_BENCHED)
"""The states of keys that can serve a request now, for some model at least."""


def state_of(key: Key, now: float, asked: Collection[str], *, proven: bool) -> KeyState:
    """Return the state of a key.

    `asked` are the models that clients asked for lately, and `proven` is whether the key served since it was
    added. A key that is benched for models that nobody asked for is benched partly.
    """
    whole = KeyState(key.state(now))
    if whole is not KeyState.READY:
        return whole
    soon = now + SOON
    resting = [model for model in asked if key.ready_at(model) > soon]
    if asked and len(resting) == len(asked):
        return KeyState.EXHAUSTED
    if resting or any(
        _is_of_models(place) and bench.benched_until > soon for place, _, bench in benches_of(key)
    ):
        return KeyState.PARTLY_BENCHED
    return KeyState.READY if proven else KeyState.UNPROVEN


def _is_of_models(place: BenchPlace) -> bool:
    return place in {BenchPlace.MODEL, BenchPlace.CALLER}
