"""The keys, and the Google projects that they belong to. Pure.

Quotas are a project's: its keys share benches for single models, and what was learned and spent of a
quota. Permissions are a key's own. A key whose project is not known counts as a project by itself.

Times are seconds since the epoch.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from proxycore.allowance import HEAD_START, Allowance
from proxycore.bench import Bench

_FEW_MODELS = 16


@dataclass(eq=False, slots=True)
class Project:
    """A Google project: its number, or the name that the operator gave it, or empty; and its keys."""

    name: str = ""
    keys: "list[Key]" = field(default_factory=list, repr=False)
    allowances: dict[str, Allowance] = field(default_factory=dict)

    def allowance(self, model: str, now: float) -> Allowance:
        """What the project may use of a model, to be changed."""
        found = self.allowances.get(model)
        if found is None:
            if len(self.allowances) >= _FEW_MODELS:
                # Invented model names shall not fill the memory.
                for name in [name for name, known in self.allowances.items() if known.idle(now)]:
                    del self.allowances[name]
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

    def __post_init__(self) -> None:
        self.project.keys.append(self)

    @property
    def rests_until(self) -> float:
        """When the key may be used at all, in seconds since the epoch; infinity if it is retired."""
        if self.retired:
            return float("inf")
        if not self.whole:
            return 0.0
        if self.tried_at >= self.whole.benched_until:
            return self.tried_at + HEAD_START
        return self.whole.benched_until

    def ready_at(self, model: str) -> float:
        """When this key may be used for the model, in seconds since the epoch; the past means now."""
        allowance = self.project.allowances.get(model)
        return max(self.rests_until, allowance.free_at()) if allowance else self.rests_until


def keys_of(secrets: Iterable[tuple[str, str, str]]) -> list[Key]:
    """Keys from names, secrets, and what the operator says of their projects (empty: nothing)."""
    projects: dict[str, Project] = {}
    return [
        Key(name, secret, projects.setdefault(project, Project(project)) if project else Project())
        for name, secret, project in secrets
    ]
