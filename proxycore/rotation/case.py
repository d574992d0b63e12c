"""One request and what was found out about it so far: its failures, its refusals, and whose fault they are.

Pure. Times are the clock's moments, in seconds.
"""

from dataclasses import dataclass, field
from enum import Enum

from proxycore.gemini.verdict import Verdict
from proxycore.rotation.bench import Bench
from proxycore.rotation.key import Key, Project


class About(Enum):
    """What a refusal turned out to be about, as far as is known."""

    UNDECIDED = "undecided"
    REQUEST = "the request"
    MANY = "many projects"


@dataclass(slots=True)
class Refusal:
    """A key refused the request at a moment. `witness` is whether its project was a witness for the lane.

    `about` is the origin of the client's page, if that is what was refused, `searched` whether a search was
    on. `former` is the bench that a suspicion replaced.
    """

    key: Key
    verdict: Verdict
    at: float
    witness: bool = False
    about: str | None = None
    searched: bool = False
    former: Bench | None = None

    def where(self, lane: str) -> str:
        """What a bench for it is about: the origin, or the lane of the request."""
        return lane if self.about is None else self.about


@dataclass(eq=False, slots=True)
class Case:
    """One request: its client, its method, its id (`request`), and how its calls were answered.

    `size` is that of its body in bytes, `origin` that of the client's page (empty: none). `failed` are the
    keys that answered with server errors, `refusals` what is to be decided by comparison, `unentitled` what
    is about tiers. `about` is what the refusals turned out to be about.
    """

    client: str = ""
    method: str = ""
    request: str = ""
    size: int = 0
    origin: str = ""
    failed: list[Key] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    unentitled: list[Refusal] = field(default_factory=list)
    about: About = About.UNDECIDED

    @property
    def projects(self) -> set[Project]:
        """The projects that refused the request."""
        return {refusal.key.project for refusal in self.refusals}
