"""Billing accounts, as far as refusals show which projects share one. Pure.

When an account runs out of money, all of its projects are refused from one moment on. So projects that were
served a moment ago, and begin to be refused together, are taken for one account, until one of them is served
between two refusals of another. The next time, the first refusal of one is a reason to expect those of the
others: they rest for seconds, and then one after the other is tried. That is a guess: what rests a project
for long is its own refusal.

Times are the clock's moments, in seconds.
"""

from collections.abc import Collection
from dataclasses import dataclass

from proxycore.rotation.evidence import NEVER
from proxycore.rotation.key import Project

_LATELY = (
    60.0  # seconds before its refusal in which a project must have served: else it may be refused for long
)
_TOGETHER = 30.0  # seconds in which projects begin to be refused that share an account
_REMEMBERED = 30 * 86400.0  # seconds after the last refusal
_FIRST_REST, _LONGEST_REST = 2.0, 60.0


@dataclass(eq=False, slots=True)
class _Account:
    """Projects that seem to share an account. Moments are those at which refused calls were sent."""

    members: dict[Project, None]
    began: float = NEVER  # the first refusal since all of them served, if they served until then
    latest: float = NEVER
    rounds: int = 0  # refusals of calls that were sent one after another, with none served in between


class Accounts:
    """The accounts that were learned."""

    def __init__(self) -> None:
        self._accounts: dict[Project, _Account] = {}
        self._refused: dict[Project, float] = {}  # when its last refused call was sent, until one is served
        self._served: dict[Project, float] = {}  # when its last served call was sent, while any is refused

    def __repr__(self) -> str:
        return f"<Accounts of {len(self._accounts)} projects, {len(self._refused)} refused>"

    @property
    def spent(self) -> bool:
        """Whether any project was refused, and not served since."""
        return bool(self._refused)

    def refused(self, project: Project, sent: float) -> tuple[list[Project], float]:
        """A call was refused for money; returns the projects to rest for that, and for how many seconds."""
        account = self._accounts.get(project)
        if account and sent > account.latest + _REMEMBERED:
            self.forget(project)
            account = None
        if account is None:
            account = self._accounts[project] = _Account({project: None})
        if (before := self._refused.get(project)) is not None:
            self._split(account, before)
        elif account.members.keys().isdisjoint(self._refused):
            account.began = NEVER
            if project.served_at > sent - _LATELY:
                account.began = sent
                account = self._joined(account, project, sent)
        self._refused[project] = sent
        if sent > account.latest:
            account.latest, account.rounds = sent, account.rounds + 1
        others = [one for one in account.members if one is not project]
        return others, min(_FIRST_REST * 2.0 ** (account.rounds - 1), _LONGEST_REST)

    def served(self, project: Project, sent: float) -> Collection[Project]:
        """A call was served; returns the projects that need not rest any more because of a guess."""
        self._served[project] = sent
        account = self._accounts.get(project)
        if account is None or sent <= account.latest:
            return ()
        account.rounds = 0
        self._refused.pop(project, None)
        if not self._refused:
            self._served.clear()
        return account.members.keys()

    def keep(self, projects: Collection[Project]) -> None:
        """Forget all other projects."""
        for gone in self._accounts.keys() - projects:
            self.forget(gone)

    def forget(self, project: Project) -> None:
        """Forget a project: it was removed, or merged into another."""
        if account := self._accounts.pop(project, None):
            account.members.pop(project, None)
        self._refused.pop(project, None)
        self._served.pop(project, None)

    def _split(self, account: _Account, before: float) -> None:
        """Remove those that were served since a refusal of one that is refused again."""
        for other in account.members.keys() - self._refused.keys():
            if self._served.get(other, NEVER) > before:
                self.forget(other)

    def _joined(self, account: _Account, project: Project, sent: float) -> _Account:
        """Return the account of a project that was served until now, merged into another if one fits."""
        earliest = max(self._served.get(project, NEVER), sent - _TOGETHER)
        begun = dict.fromkeys(self._accounts[one] for one in self._refused)
        fitting = [one for one in begun if one.began >= earliest]
        if len(fitting) != 1:
            return account
        (other,) = fitting
        other.members |= account.members
        for member in account.members:
            self._accounts[member] = other
        return other
