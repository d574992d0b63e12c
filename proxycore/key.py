"""The keys, and the Google projects that they belong to. Pure.

Quotas are a project's: its keys share benches for single models, and what was learned and spent of a
quota. Permissions are a key's own. A key whose project is not known counts as a project by itself.

Times are the clock's moments, in seconds.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from proxycore.allowance import HEAD_START, Allowance
from proxycore.bench import Bench

_MOST_MODELS = 64  # of a project that are remembered: clients can invent names without end
_GLANCES = 8  # models that are looked at to find one that can be forgotten without loss


@dataclass(eq=False, slots=True)
class Project:
    """A Google project: its number, or the name that the operator gave it, or empty; and its keys."""

    name: str = ""
    keys: "list[Key]" = field(default_factory=list, repr=False)
    allowances: OrderedDict[str, Allowance] = field(default_factory=OrderedDict)  # the longest unused first

    def allowance(self, model: str) -> Allowance:
        """What the project may use of a model, to be changed."""
        found = self.allowances.get(model)
        if found is not None:
            self.allowances.move_to_end(model)
            return found
        if len(self.allowances) >= _MOST_MODELS:
            oldest = list(islice(self.allowances.items(), _GLANCES))
            del self.allowances[next((name for name, known in oldest if not known.counted), oldest[0][0])]
        found = self.allowances[model] = Allowance()
        return found

    def free_at(self, model: str) -> float:
        """When one more call for a model can be made with any of its keys; the past means now.

        Infinity when all of them are retired.
        """
        first = self.keys[0]
        moment = min(key.rests_until for key in self.keys) if first.whole or first.retired else 0.0
        allowance = self.allowances.get(model)
        return max(moment, allowance.free_at()) if allowance else moment

    def left(self, model: str, now: float) -> int | None:
        """How many calls for a model can be made now, as far as quotas say; None if none does."""
        allowance = self.allowances.get(model)
        return allowance.left(now) if allowance and allowance.quotas else None

    def absorb(self, other: "Project") -> None:
        """The other turned out to be this one."""
        for key in other.keys:
            key.project = self
            self.keys.append(key)
        for model, theirs in other.allowances.items():
            mine = self.allowances.setdefault(model, theirs)
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
    tried_at: float = 0.0  # when it was last used, while a bench was not refuted
    told: str = ""  # what the operator says of its project

    def __post_init__(self) -> None:
        self.project.keys.append(self)

    def leave(self) -> None:
        """It is of another project than the other keys of this one."""
        if len(self.project.keys) > 1:
            self.project.keys.remove(self)
            self.project = Project(keys=[self])
        else:
            self.project.name = ""

    def join(self, project: Project) -> None:
        """It is of this project, which goes by the name that the operator gave it."""
        if project is not self.project:
            self.project.keys.remove(self)
            project.keys.append(self)
            self.project = project
        project.name = self.told

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

    def state(self, now: float) -> str:
        """The key as a whole, in a word: ready, benched or retired."""
        return "retired" if self.retired else "benched" if self.rests_until > now else "ready"

    def ready_at(self, model: str) -> float:
        """When this key may be used for the model, a moment of the clock; the past means now."""
        allowance = self.project.allowances.get(model)
        return max(self.rests_until, allowance.free_at()) if allowance else self.rests_until


def keys_of(told: Iterable[tuple[str, str, str]], former: Iterable[Key] = ()) -> list[Key]:
    """Keys from names, secrets, and what the operator says of their projects (empty: nothing).

    A key that was there before, by its secret, stays the same, with all that is known of it. Those that are
    not told any more leave their projects.
    """
    before = {key.secret: key for key in former}
    keys = [_again(before.pop(secret, None), name, secret, project) for name, secret, project in told]
    for gone in before.values():
        gone.leave()
    projects = {key.project.name: key.project for key in keys if key.project.name}
    for key in keys:
        if key.told and key.project.name != key.told:
            key.join(projects.setdefault(key.told, key.project))
    return keys


def _again(key: Key | None, name: str, secret: str, told: str) -> Key:
    if key is None:
        return Key(name, secret, told=told)
    key.name = name
    if key.told != told:
        key.leave()
        key.told = told
    return key
