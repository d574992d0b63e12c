"""How many keys can serve each model, and what is left of its quotas for the minute. Pure.

It goes by benches and quotas, which processes and hosts keep alike, so it is about the whole pool in each of
them: nothing is added up over processes.

Times are the clock's moments, in seconds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import floor, inf

from proxycore.gemini.lane import model_of
from proxycore.gemini.verdict import DAY, NOT_ENTITLED
from proxycore.rotation.bench import Bench
from proxycore.rotation.key import Project
from proxycore.rotation.key_state import SOON
from proxycore.rotation.limiter import Limiter
from proxycore.rotation.rotator import Rotator


@dataclass(slots=True)
class ModelKeys:
    """The keys for a model that are not paused: each is ready, resting, retired or not entitled to the model.

    The first key that is `resting` is back at `next_back`; infinity if none is resting. `left` of `limit`
    requests can be made now: sums over the projects of which a quota of less than a day is known.
    """

    ready: int = 0
    resting: int = 0
    retired: int = 0
    not_entitled: int = 0
    next_back: float = inf
    left: int = 0
    limit: int = 0

    def add(self, until: float, now: float, bench: Bench | None) -> None:
        """Count a key that is usable from a moment on, and whose project has this bench for the model."""
        if until <= now + SOON:
            return
        if bench and bench.reason == NOT_ENTITLED and bench.benched_until > now:
            self.not_entitled += 1
            return
        self.resting += 1
        self.next_back = min(self.next_back, until)

    def add_quotas(self, limiter: Limiter, now: float) -> None:
        """Add the quota of a project that has the least left."""
        least, limit = inf, 0
        for quota in limiter.quotas.values():
            if not quota.of_tokens and quota.period < DAY and (left := quota.left(limiter.log, now)) < least:
                least, limit = left, quota.limit
        if limit:
            self.left += max(0, floor(least))
            self.limit += limit


def model_keys(rotator: Rotator, asked: Iterable[str], now: float) -> dict[str, ModelKeys]:
    """Return the keys for the models that were `asked` for, and for others of which a limit is known."""
    found = {model: ModelKeys() for model in asked}
    others: list[Project] = []
    for project in rotator.projects:
        key, is_alone = project.keys[0], len(project.keys) == 1
        if is_alone and key.retired:
            continue
        is_simple = is_alone and not key.whole and not key.callers
        _add_limiters(project, found, now, counts_key=is_simple)
        if not is_simple:
            others.append(project)
    for project in others:
        _add_keys(project, found, now)
    keys, retired = len(rotator.keys), sum(key.retired is not None for key in rotator.keys)
    for known in found.values():
        known.retired = retired
        known.ready = keys - retired - known.resting - known.not_entitled
    return found


def _add_limiters(project: Project, found: dict[str, ModelKeys], now: float, *, counts_key: bool) -> None:
    """Add the quotas of a project, and count its key if that has no benches of its own.

    A model that the project's limiters do not know is ready for it.
    """
    for lane, limiter in project.limiters.items():
        if not limiter.counted:
            continue
        known = found.get(lane)
        if known is None:
            if not (limiter.quotas or limiter.today) or model_of(lane) != lane:
                continue
            known = found[lane] = ModelKeys()
        if limiter.quotas:
            known.add_quotas(limiter, now)
        if counts_key:
            known.add(limiter.free_at(), now, limiter.bench)


def _add_keys(project: Project, found: dict[str, ModelKeys], now: float) -> None:
    """Count the keys of a project, each of which may have benches of its own."""
    for model, known in found.items():
        limiter, free_at = project.limiters.get(model), project.quota_free_at(model)
        for key in project.keys:
            if not key.retired:
                until = max(key.lane_usable_at(model), free_at)
                known.add(until, now, limiter.bench if limiter else None)
