"""How the upstream ended a Live session before it had begun: an answer, judged like any other. Pure."""

import re
from dataclasses import dataclass

from proxycore.affinity import Scope
from proxycore.head import Head
from proxycore.judge import judge_close
from proxycore.kept import Kept
from proxycore.verdict import MISTAKE, STRANGER, TROUBLE, Verdict

BROKEN_OFF = 1006
"""The code of a session that ended without a close frame; never sent (RFC 6455 §7.1.5)."""

_REGULAR = frozenset({1000, 1001})  # of sessions that ended as they should (RFC 6455 §7.4.1)
_STATUS, _FAILED = {1007: 400, 1008: 403}, 1011
# Google's words for what a session names and the key's project does not know.
_UNKNOWN = re.compile(r"(?i)\b(?:session|interaction|entity)\b[^:]{0,100}\bnot found\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing(Kept):
    """Code and reason of a close frame. The head's status is that of the HTTP answer that says the same."""

    code: int
    text: str

    @property
    def regular(self) -> bool:
        """Whether nothing went wrong."""
        return self.code in _REGULAR

    def verdict(self, now: float, scope: Scope) -> Verdict:
        """What it says about the key. `now` is the wall clock, in seconds since the epoch."""
        if self.code == BROKEN_OFF:
            return TROUBLE
        if verdict := judge_close(self.code, self.text, now=now):
            return verdict
        return STRANGER if scope.names_resource and _UNKNOWN.search(self.text) else MISTAKE


def closing(code: int, text: str, *, now: float) -> Closing:
    """The closing with this code and reason. `now` is the wall clock, in seconds since the epoch."""
    return Closing(Head(_status(code, text, now), "", []), b"", code=code, text=text)


def _status(code: int, text: str, now: float) -> int:
    if code in _REGULAR:
        return 101
    if code == _FAILED and judge_close(code, text, now=now):
        return 429  # of all that speaks of the key, Google closes so for quotas
    return _STATUS.get(code, 500)
