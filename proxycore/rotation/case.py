"""A request as the comparison of refusals sees it: its failures, its refusals, and what they are about. Pure.

Times are the clock's moments, in seconds.
"""

from dataclasses import dataclass, field
from enum import Enum

from proxycore.gemini.verdict import Verdict
from proxycore.rotation.bench import Bench
from proxycore.rotation.key import Key, Project


class About(Enum):
    """What the refusals of a request are about, as far as is known."""

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
        """Return what its bench is about: the origin, or the lane of the request."""
        return lane if self.about is None else self.about


@dataclass(eq=False, slots=True)
class Case:
    """One request: its client, its method, its id (`request`), and the results of its calls.

    `client` is the name of its key, or its address, `origin` that of the client's page (empty: none).
    `failed` are the keys whose responses were server errors, `refusals` those without a reason, `unentitled`
    those of projects that are not entitled to the lane. `about` is what the refusals are about.
    """

    client: str = ""
    method: str = ""
    request: str = ""
    origin: str = ""
    failed: list[Key] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    unentitled: list[Refusal] = field(default_factory=list)
    about: About = About.UNDECIDED

    def blame_request(self) -> None:
        """The request itself is at fault for its refusals."""
        self.about = About.REQUEST

    @property
    def projects(self) -> set[Project]:
        """The projects that refused the request."""
        return {refusal.key.project for refusal in self.refusals}
