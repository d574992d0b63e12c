"""The keys, and the Google projects that they belong to. Pure.

Quotas are a project's: its keys share benches for single models, and what was learned and spent of a
quota. Permissions are a key's own. A key whose project is not known counts as a project by itself.

Times are the clock's moments, in seconds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from sys import intern

from proxycore.gemini.lane import counted_as
from proxycore.rotation.bench import Bench, BenchPlace
from proxycore.rotation.call_log import NO_CALLS
from proxycore.rotation.deaths import Deaths
from proxycore.rotation.limiter import HEAD_START, Limiter

_MANY_MODELS = 64  # of a project that are remembered: clients can invent names without end
_MOST_MODELS = 1024  # if quotas were learned for them
_MOST_CHECKED = 8  # models that are looked at to find one that can be forgotten
_MOST_ABOUT = 64  # lanes or origins of a key that are remembered


@dataclass(frozen=True, slots=True)
class KeySpec:
    """A key as it is configured. `project` and `account` are empty where the operator names none.

    `rank` is the number of its group in KEY_ORDER: keys of a lower rank go first.
    `proxy` is the URL of the outbound proxy that it is used through, None for none.
    `in_file` is whether it is in KEYS_FILE, where it may have a `note`. A `paused` key serves nothing.
    """

    name: str
    secret: str = field(repr=False)
    project: str = ""
    account: str = ""
    rank: int = 0
    proxy: str | None = field(default=None, repr=False)
    paused: bool = False
    note: str = ""
    in_file: bool = False


@dataclass(eq=False, slots=True)
class Project:
    """A Google project and its keys.

    `name` is its number, or the name that the operator gave it, or empty while neither is known.
    """

    name: str = ""
    keys: "list[Key]" = field(default_factory=list, repr=False)
    limiters: dict[str, Limiter] = field(default_factory=dict)  # the longest unused first
    served_at: float = float("-inf")  # its last success

    @property
    def rank(self) -> int:
        """The lowest rank of its keys: they share the quotas and the bill, so they go together."""
        return min(key.rank for key in self.keys)

    def limiter(self, model: str) -> Limiter:
        """Return the project's limiter for a model, created if there is none."""
        found = self.limiters.pop(model, None)
        if found is None:
            if len(self.limiters) >= _MANY_MODELS:
                self._forget_model()
            found = Limiter(log=NO_CALLS)
        self.limiters[intern(model)] = found  # one copy of the name for all projects
        return found

    def _forget_model(self) -> None:
        """Forget a model that was not used for long, of which as little as possible is known."""
        limiters, benched = self.limiters, ""
        for name, known in list(islice(limiters.items(), _MOST_CHECKED)):
            if not known.counted:
                del limiters[name]
                return
            if known.quotas.each or known.today:
                limiters[name] = limiters.pop(name)  # so that others are looked at next time
            else:
                benched = benched or name
        if benched or len(limiters) >= _MOST_MODELS:
            del limiters[benched or next(iter(limiters))]

    def free_at(self, model: str, tokens: int = 0) -> float:
        """Return when one more call for a model can be made with any of its keys; the past means now.

        `tokens` are those of its prompt. Infinity if all keys are retired.
        """
        first = self.keys[0]
        rests = first.whole or first.retired or first.callers
        moment = min(key.lane_usable_at(model) for key in self.keys) if rests else 0.0
        return max(moment, self.quota_free_at(model, tokens)) if self.limiters else moment

    def quota_free_at(self, lane: str, tokens: int = 0) -> float:
        """Return when the project's benches and quotas for a lane permit one more call."""
        limiter = self.limiters.get(lane)
        moment = limiter.free_at(tokens) if limiter else 0.0
        if "+" in lane and (counted := self.limiters.get(counted_as(lane))):
            return max(moment, counted.free_at(tokens))
        return moment

    def prospect(self, model: str, now: float, tokens: int = 0) -> float | None:
        """Return how good a choice it is for a call (`Limiter.prospect`); None if no quota is known."""
        limiter = self.limiters.get(counted_as(model))
        return limiter.prospect(now, tokens) if limiter and limiter.quotas.each else None

    def is_half_free(self, model: str, now: float) -> bool:
        """Return whether at least half of each known quota for a model is left, today's included."""
        limiter = self.limiters.get(counted_as(model))
        if limiter is None:
            return True
        today = limiter.today
        if today and today.requests is not None and 2 * today.used > today.requests:
            return False
        return all(2 * quota.left(limiter.log, now) >= quota.limit for quota in limiter.quotas.each)

    def reliability(self, lane: str, now: float) -> float:
        """Return how likely a call is to succeed, 0 to 1, by calls that failed where others served."""
        limiter = self.limiters.get(counted_as(lane))
        return limiter.reliability.at(now) if limiter and limiter.reliability.failures else 1.0

    def absorb(self, other: "Project") -> None:
        """Merge another project, which was found to be the same."""
        for key in other.keys:
            key.project = self
            self.keys.append(key)
        for model, theirs in other.limiters.items():
            mine = self.limiters.setdefault(model, theirs)
            if mine is not theirs:
                mine.absorb(theirs)
        other.keys = []

    def rename(self, name: str) -> None:
        """Give the project its number, or the operator's name for it; empty if neither is known."""
        self.name = name


@dataclass(eq=False, slots=True)
class Key:
    """One upstream key: its public name, the secret itself, its project, and its health as a whole."""

    name: str
    secret: str = field(repr=False)
    project: Project = field(default_factory=Project, repr=False)
    whole: Bench | None = None
    retired: Bench | None = None
    callers: dict[str, Bench] = field(default_factory=dict)  # by lane: for this key, not its project
    origins: dict[str, Bench] = field(default_factory=dict)  # by origin of the client's page
    served_at: float = float("-inf")  # its last success
    deaths: Deaths = field(default_factory=Deaths)  # since a model last served it
    tried_at: float = 0.0  # its last call
    operators_project: str = ""  # the name that the operator gave its project
    account: str = ""  # and its billing account
    rank: int = 0  # the number of its group in KEY_ORDER
    proxy: str | None = field(default=None, repr=False)  # the URL of its outbound proxy
    paused: bool = False  # by the operator
    note: str = ""  # of the operator
    in_file: bool = False  # whether it is configured in KEYS_FILE

    def __post_init__(self) -> None:
        self.project.keys.append(self)

    def leave(self) -> None:
        """Leave the project: its other keys belong to another one."""
        if len(self.project.keys) > 1:
            self.project.keys.remove(self)
            self.project = Project(keys=[self])
        else:
            self.project.rename("")

    def join(self, project: Project) -> None:
        """Join a project, which gets the name that the operator gave it."""
        if project is not self.project:
            self.project.keys.remove(self)
            project.keys.append(self)
            self.project = project
        project.rename(self.operators_project)

    def record_success(self, now: float) -> None:
        """Record that a model served a call with this key."""
        self.served_at = self.project.served_at = now

    def bench_at(self, place: BenchPlace, about: str = "") -> Bench | None:
        """Return the bench at a place, for the lane or origin `about`; None if there is none."""
        match place:
            case BenchPlace.MODEL:
                limiter = self.project.limiters.get(about)
                return limiter.bench if limiter else None
            case BenchPlace.CALLER:
                return self.callers.get(about)
            case BenchPlace.ORIGIN:
                return self.origins.get(about)
            case BenchPlace.RETIRED:
                return self.retired
            case BenchPlace.WHOLE:
                return self.whole

    def put_bench(self, place: BenchPlace, about: str, bench: Bench) -> list[str]:
        """Put a bench at a place; returns what the benches were about that had to be forgotten for it."""
        match place:
            case BenchPlace.MODEL:
                self.project.limiter(about).set_bench(bench)
            case BenchPlace.CALLER:
                return _remember(self.callers, about, bench)
            case BenchPlace.ORIGIN:
                return _remember(self.origins, about, bench)
            case BenchPlace.RETIRED:
                self.retired = bench
            case BenchPlace.WHOLE:
                self.whole = bench
        return []

    def remove_bench(self, place: BenchPlace, about: str) -> None:
        """Remove the bench at a place, if there is one."""
        match place:
            case BenchPlace.MODEL:
                if limiter := self.project.limiters.get(about):
                    limiter.end_bench()
            case BenchPlace.CALLER:
                self.callers.pop(about, None)
            case BenchPlace.ORIGIN:
                self.origins.pop(about, None)
            case BenchPlace.RETIRED:
                self.retired = None
            case BenchPlace.WHOLE:
                self.whole = None

    @property
    def usable_at(self) -> float:
        """When the key may be used at all, a moment of the clock; infinity if it is retired.

        After the end of a bench, one call at a time has a head start until one is served.
        """
        if self.retired:
            return float("inf")
        if not self.whole:
            return 0.0
        if self.tried_at >= self.whole.benched_until:
            return self.tried_at + HEAD_START
        return self.whole.benched_until

    def lane_usable_at(self, lane: str) -> float:
        """Return when this key may be used for a lane, regardless of its project's quotas."""
        bench = self.callers.get(lane) if self.callers else None
        return max(self.usable_at, bench.benched_until) if bench else self.usable_at

    def state(self, now: float) -> str:
        """Return the state of the key as a whole: ready, benched, retired or paused."""
        if self.paused:
            return "paused"
        return "retired" if self.retired else "benched" if self.usable_at > now else "ready"

    def ready_at(self, model: str, tokens: int = 0) -> float:
        """Return when this key may be used for the model, a moment of the clock; the past means now."""
        return max(self.lane_usable_at(model), self.project.quota_free_at(model, tokens))


def _remember(benches: dict[str, Bench], about: str, bench: Bench) -> list[str]:
    """Remember a bench; returns what was forgotten for it."""
    forgotten = [next(iter(benches))] if about not in benches and len(benches) >= _MOST_ABOUT else []
    for oldest in forgotten:
        del benches[oldest]
    benches[about] = bench
    return forgotten


def keys_of(specs: Iterable[KeySpec], former: Iterable[Key] = ()) -> list[Key]:
    """Return the keys for `specs`.

    A key that was among the `former` ones, by its secret, stays the same object with all that is known of it.
    Former keys that are not configured any more leave their projects, and so do paused ones.
    """
    before = {key.secret: key for key in former}
    keys = [_configured(before.pop(spec.secret, None), spec) for spec in specs]
    for gone in (*before.values(), *(key for key in keys if key.paused)):
        gone.leave()
    projects = {key.project.name: key.project for key in keys if key.project.name}
    for key in keys:
        if not key.paused and key.operators_project and key.project.name != key.operators_project:
            key.join(projects.setdefault(key.operators_project, key.project))
    return keys


def _configured(key: Key | None, spec: KeySpec) -> Key:
    if key is None:
        key = Key(spec.name, spec.secret, operators_project=spec.project)
    key.name, key.account, key.rank, key.proxy = spec.name, spec.account, spec.rank, spec.proxy
    key.paused, key.note, key.in_file = spec.paused, spec.note, spec.in_file
    if key.operators_project != spec.project:
        key.leave()
        key.operators_project = spec.project
    return key
