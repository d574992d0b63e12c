"""The keys, and the Google projects that they belong to. Pure.

Quotas are a project's: its keys share benches for single models, and what was learned and spent of a
quota. Permissions are a key's own. A key whose project is not known counts as a project by itself.

Times are the clock's moments, in seconds.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from proxycore.gemini.lane import counted_as
from proxycore.rotation.bench import Bench, BenchPlace
from proxycore.rotation.deaths import Deaths
from proxycore.rotation.limiter import HEAD_START, Limiter

_MOST_MODELS = 64  # of a project that are remembered: clients can invent names without end
_MOST_ABOUT = 64  # lanes or origins of a key that are remembered
_GLANCES = 8  # models that are looked at to find one that can be forgotten without loss


@dataclass(frozen=True, slots=True)
class KeySpec:
    """A key as it is configured. `project` and `account` are empty where the operator names none."""

    name: str
    secret: str = field(repr=False)
    project: str = ""
    account: str = ""


@dataclass(eq=False, slots=True)
class Project:
    """A Google project: its number, or the name that the operator gave it, or empty; and its keys."""

    name: str = ""
    keys: "list[Key]" = field(default_factory=list, repr=False)
    limiters: OrderedDict[str, Limiter] = field(default_factory=OrderedDict)  # the longest unused first
    served_at: float = float("-inf")  # its last success

    def limiter(self, model: str) -> Limiter:
        """The project's limits for a model, created when there are none."""
        found = self.limiters.get(model)
        if found is not None:
            self.limiters.move_to_end(model)
            return found
        if len(self.limiters) >= _MOST_MODELS:
            oldest = list(islice(self.limiters.items(), _GLANCES))
            del self.limiters[next((name for name, known in oldest if not known.counted), oldest[0][0])]
        found = self.limiters[model] = Limiter()
        return found

    def free_at(self, model: str) -> float:
        """When one more call for a model can be made with any of its keys; the past means now.

        Infinity when all of them are retired.
        """
        first = self.keys[0]
        rests = first.whole or first.retired or first.callers
        moment = min(key.rests_for(model) for key in self.keys) if rests else 0.0
        return max(moment, self.quota_free_at(model)) if self.limiters else moment

    def quota_free_at(self, lane: str) -> float:
        """When the project's benches and quotas for a lane permit one more call."""
        limiter = self.limiters.get(lane)
        moment = limiter.free_at() if limiter else 0.0
        if "+" in lane and (counted := self.limiters.get(counted_as(lane))):
            return max(moment, counted.free_at())
        return moment

    def left(self, model: str, now: float) -> int | None:
        """How many calls for a model can be made now, as far as quotas say; None if none does."""
        limiter = self.limiters.get(counted_as(model))
        return limiter.left(now) if limiter and limiter.quotas else None

    def reliability(self, lane: str, now: float) -> float:
        """How likely a call succeeds, from 0 to 1, as far as it failed where others served."""
        limiter = self.limiters.get(counted_as(lane))
        return limiter.reliability.at(now) if limiter and limiter.reliability.failures else 1.0

    def absorb(self, other: "Project") -> None:
        """Merges another project, which turned out to be this one."""
        for key in other.keys:
            key.project = self
            self.keys.append(key)
        for model, theirs in other.limiters.items():
            mine = self.limiters.setdefault(model, theirs)
            if mine is not theirs:
                mine.absorb(theirs)
        other.keys = []


@dataclass(eq=False, slots=True)
class Key:
    """One upstream key: its public name, the secret itself, its project, and its health as a whole."""

    name: str
    secret: str = field(repr=False)
    project: Project = field(default_factory=Project, repr=False)
    whole: Bench | None = None
    retired: Bench | None = None
    callers: dict[str, Bench] = field(
        default_factory=dict
    )  # by lane: what this key, not its project, may not
    origins: dict[str, Bench] = field(default_factory=dict)  # by origin of the client's page
    served_at: float = float("-inf")  # its last success
    deaths: Deaths = field(default_factory=Deaths)  # since a model last served it
    tried_at: float = 0.0  # when it was last used, while a bench was not refuted
    told: str = ""  # what the operator says of its project
    account: str = ""  # and of its billing account

    def __post_init__(self) -> None:
        self.project.keys.append(self)

    def leave(self) -> None:
        """Leaves its project: the other keys are of another one."""
        if len(self.project.keys) > 1:
            self.project.keys.remove(self)
            self.project = Project(keys=[self])
        else:
            self.project.name = ""

    def join(self, project: Project) -> None:
        """Joins a project, which gets the name that the operator gave it."""
        if project is not self.project:
            self.project.keys.remove(self)
            project.keys.append(self)
            self.project = project
        project.name = self.told

    def note_success(self, now: float) -> None:
        """Notes that a model answered a call with this key."""
        self.served_at = self.project.served_at = now

    def bench_at(self, place: BenchPlace, about: str = "") -> Bench | None:
        """The bench at a place, for the lane or origin that it is about."""
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
        """Puts a bench at a place; returns what those were about that had to be forgotten for it."""
        match place:
            case BenchPlace.MODEL:
                self.project.limiter(about).bench = bench
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
        """Removes the bench at a place."""
        match place:
            case BenchPlace.MODEL:
                if limiter := self.project.limiters.get(about):
                    limiter.relieve()
            case BenchPlace.CALLER:
                self.callers.pop(about, None)
            case BenchPlace.ORIGIN:
                self.origins.pop(about, None)
            case BenchPlace.RETIRED:
                self.retired = None
            case BenchPlace.WHOLE:
                self.whole = None

    @property
    def rests_until(self) -> float:
        """When the key may be used at all, a moment of the clock; infinity if it is retired."""
        if self.retired:
            return float("inf")
        if not self.whole:
            return 0.0
        if self.tried_at >= self.whole.benched_until:
            return self.tried_at + HEAD_START
        return self.whole.benched_until

    def rests_for(self, lane: str) -> float:
        """When this key, whatever its project's quotas, may be used for a lane."""
        bench = self.callers.get(lane) if self.callers else None
        return max(self.rests_until, bench.benched_until) if bench else self.rests_until

    def state(self, now: float) -> str:
        """The key as a whole, in a word: ready, benched or retired."""
        return "retired" if self.retired else "benched" if self.rests_until > now else "ready"

    def ready_at(self, model: str) -> float:
        """When this key may be used for the model, a moment of the clock; the past means now."""
        return max(self.rests_for(model), self.project.quota_free_at(model))


def _remember(benches: dict[str, Bench], about: str, bench: Bench) -> list[str]:
    """Remembers a bench; returns what was forgotten for it."""
    forgotten = [next(iter(benches))] if about not in benches and len(benches) >= _MOST_ABOUT else []
    for oldest in forgotten:
        del benches[oldest]
    benches[about] = bench
    return forgotten


def benches_of(key: Key) -> Iterator[tuple[BenchPlace, str, Bench]]:
    """All benches of a key: where, for which lane or origin (empty: none), and the bench."""
    if key.whole:
        yield BenchPlace.WHOLE, "", key.whole
    if key.retired:
        yield BenchPlace.RETIRED, "", key.retired
    for lane, bench in key.callers.items():
        yield BenchPlace.CALLER, lane, bench
    for page, bench in key.origins.items():
        yield BenchPlace.ORIGIN, page, bench
    for lane, limiter in key.project.limiters.items():
        if limiter.bench:
            yield BenchPlace.MODEL, lane, limiter.bench


def keys_of(specs: Iterable[KeySpec], former: Iterable[Key] = ()) -> list[Key]:
    """The keys that are configured.

    A key that was there before, by its secret, stays the same, with all that is known of it. Those that are
    not configured any more leave their projects.
    """
    before = {key.secret: key for key in former}
    keys = [_again(before.pop(spec.secret, None), spec) for spec in specs]
    for gone in before.values():
        gone.leave()
    projects = {key.project.name: key.project for key in keys if key.project.name}
    for key in keys:
        if key.told and key.project.name != key.told:
            key.join(projects.setdefault(key.told, key.project))
    return keys


def _again(key: Key | None, spec: KeySpec) -> Key:
    if key is None:
        return Key(spec.name, spec.secret, told=spec.project, account=spec.account)
    key.name, key.account = spec.name, spec.account
    if key.told != spec.project:
        key.leave()
        key.told = spec.project
    return key
