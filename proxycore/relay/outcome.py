"""The response that a client gets if no key served its request: the upstream's or the proxy's own. Pure.

A response about the request itself is for the client, even if a key had a server error later. Where every key
was refused alike, the upstream's last response is for the client. Where quotas are spent it is the proxy's
own, which knows when a key is available again; so it is where keys were refused for different reasons, unless
one of the responses was about the way to Google.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from proxycore.gemini.verdict import NOT_OWNER, BenchScope, Reaction, Verdict
from proxycore.http.coding import decode
from proxycore.transport.buffered_response import BufferedResponse
from proxycore.transport.messages import UpstreamError

# google.rpc.Code, as AIP-193 writes it.
_STATUS = re.compile(rb'"status"\s*:\s*"([A-Z_]{1,40})"')

AttemptResult = BufferedResponse | UpstreamError
"""A response that was buffered instead of streamed, or the error that replaced it."""

_ABOUT_REQUEST = frozenset({Reaction.COMPARE, Reaction.ENTITLED, Reaction.TOKENS})
_MOST_DETAILS = 8
_LONGEST_DETAILS = 4096  # characters
_OUR_OWN = ("RetryInfo", "Help")  # details that the proxy's own response has, or does not need


@dataclass(slots=True)
class Outcome:
    """The responses to one request's attempts.

    `last` is the last of them; `decided` is whether it is for the client. `words` is Google's last message,
    and `disowned` the last response of a key that does not own the resource.
    """

    last: AttemptResult | None = None
    decided: bool = False
    words: str = ""
    disowned: AttemptResult | None = None
    _about_request: AttemptResult | None = None
    _server_error: AttemptResult | None = None  # the last one
    _about_way: AttemptResult | None = None  # the last one
    _reasons: frozenset[str] = frozenset()
    _spent: bool = False

    def note(self, verdict: Verdict, result: AttemptResult) -> None:
        """Record the response to an attempt, with its verdict."""
        self.last = result
        self.words = verdict.words or self.words
        self._reasons |= {verdict.reason}
        self._spent |= verdict.then is Reaction.FAILOVER and verdict.rest is BenchScope.MODEL
        if verdict.then in _ABOUT_REQUEST:
            self._about_request = result
        if verdict is NOT_OWNER:
            self.disowned = result
        elif verdict.then is Reaction.RETRY:
            self._server_error = result
        elif verdict.way:
            self._about_way = result

    def end(self, owner_may_be_untried: bool) -> None:
        """Conclude that there is no other attempt. `owner_may_be_untried` is whether a key that was not tried
        may own the resource.
        """
        if self.disowned and not owner_may_be_untried:
            # A key whose way was refused may own it, too.
            self.last, self.decided = self._about_way or self.disowned, True

    @property
    def client_response(self) -> AttemptResult | None:
        """The upstream's response that is for the client; None if the client gets the proxy's own."""
        if self.decided or self.last is None:
            return self.last
        if found := self._about_request or self._server_error:
            return found
        if self._spent or self.disowned:
            return None
        return self.last if len(self._reasons) == 1 else self._about_way

    def details(self) -> list[dict[str, Any]]:
        """The error details of the last response, without those that the proxy's own has. Not redacted."""
        if not isinstance(self.last, BufferedResponse):
            return []
        plain = decode(self.last.body or b"", self.last.head.values.get("content-encoding", []))
        try:
            document = json.loads(plain or b"")
        except (ValueError, RecursionError):
            return []
        error = document[0] if isinstance(document, list) and document else document
        error = error.get("error") if isinstance(error, dict) else None
        found = error.get("details") if isinstance(error, dict) else None
        details = [one for one in found[:_MOST_DETAILS] if _is_fit(one)] if isinstance(found, list) else []
        return details if len(json.dumps(details)) <= _LONGEST_DETAILS else []


def _is_fit(detail: object) -> bool:
    return isinstance(detail, dict) and not str(detail.get("@type", "")).endswith(_OUR_OWN)


def reason_of(result: BufferedResponse, verdict: Verdict) -> str:
    """Why a request was not served, for the log: the verdict, and Google's status word if there is one."""
    if result.head.status < 400 and not result.error:
        return ""
    found = _STATUS.search(result.error or result.plain or b"")
    return f"{verdict.reason} ({found[1].decode()})" if found else verdict.reason
