"""The close frame with which the upstream refused a Live session, judged like any response. Pure."""

import re
from dataclasses import dataclass

from proxycore.gemini.judge import judge_close
from proxycore.gemini.request_scope import RequestScope
from proxycore.gemini.verdict import CLIENT_ERROR, NOT_OWNER, UPSTREAM_FAILURE, Verdict
from proxycore.transport.buffered_response import BufferedResponse
from proxycore.transport.response_head import ResponseHead

BROKEN_OFF = 1006
"""The code of a session that ended without a close frame; never sent (RFC 6455 §7.1.5)."""

_REGULAR = frozenset({1000, 1001})  # of sessions that ended as they should (RFC 6455 §7.4.1)
_STATUS, _FAILED = {1007: 400, 1008: 403}, 1011
# Google's words for a resource that a session names and the key's project does not know.
_UNKNOWN = re.compile(r"(?i)\b(?:session|interaction|entity)\b[^:]{0,100}\bnot found\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveClose(BufferedResponse):
    """Code and reason of a close frame. The head has the status of the HTTP response that means the same."""

    code: int
    text: str

    @property
    def regular(self) -> bool:
        """Whether the session ended as it should."""
        return self.code in _REGULAR

    def verdict(self, now: float, scope: RequestScope) -> Verdict:
        """The verdict on the key. `now` is the wall clock, in seconds since the epoch."""
        if self.code == BROKEN_OFF:
            return UPSTREAM_FAILURE
        if verdict := judge_close(self.code, self.text, now=now):
            return verdict
        return NOT_OWNER if scope.names_resource and _UNKNOWN.search(self.text) else CLIENT_ERROR


def live_close(code: int, text: str, *, now: float) -> LiveClose:
    """The close frame with this code and reason. `now` is the wall clock, in seconds since the epoch."""
    return LiveClose(ResponseHead(_status(code, text, now), "", []), b"", code=code, text=text)


def _status(code: int, text: str, now: float) -> int:
    if code in _REGULAR:
        return 101
    if code == _FAILED and judge_close(code, text, now=now):
        return 429  # the only closes about a key for which Google uses this code are about quotas
    return _STATUS.get(code, 500)
