"""An answer that was not streamed: kept until it is judged, and passed on if it is for the client. Pure."""

import re
from dataclasses import dataclass, replace

from proxycore.affinity import Scope
from proxycore.coding import LARGEST, Unfolding, decode
from proxycore.error import read_opening
from proxycore.head import Head
from proxycore.judge import judge, judge_error
from proxycore.redaction import Redactor
from proxycore.verdict import Verdict

KEPT_BYTES = LARGEST
"""Bytes of a body that are kept. A larger one is not passed on, since its secrets would not be found."""

# google.rpc.Code, as AIP-193 writes it.
_STATUS = re.compile(rb'"status"\s*:\s*"([A-Z_]{1,40})"')

DESCRIBES_BODY = frozenset({"content-encoding", "content-length", "content-md5", "content-digest", "etag"})
"""Fields that are no longer true of a body in which something was replaced, in small letters."""


def judge_first_event(error: bytes, now: float, scope: Scope) -> Verdict | None:
    """What the error that a 2xx stream begins with says about the key. None: not whole, or not Google's.

    `error` is its text, without framing and content coding. `now` is the wall clock, in seconds since the
    epoch.
    """
    return judge_error(error, now=now, names_resource=scope.names_resource)


def _code_of(error: bytes) -> int | None:
    read = read_opening(error)
    return read.code if read else None


@dataclass(frozen=True, slots=True)
class Kept:
    """Head and body; `body` is None when it was larger than `KEPT_BYTES`.

    `error` is the text of the error that a 2xx stream began with; empty for any other answer.
    """

    head: Head
    body: bytes | None
    error: bytes = b""

    @property
    def status(self) -> int:
        """The status by which it is judged: the head's, or that of the error in a 2xx stream."""
        return (_code_of(self.error) if self.error else None) or self.head.status

    def verdict(self, now: float, scope: Scope) -> Verdict:
        """What it says about the key it was got with. `now` is the wall clock, in seconds since the epoch."""
        if self.error and (verdict := judge_first_event(self.error, now, scope)):
            return verdict
        return judge(
            self.head.status,
            self.head.fields,
            self.body or b"",
            now=now,
            names_resource=scope.names_resource,
        )

    def reason(self, verdict: Verdict) -> str:
        """Why the request was not served, for the log: the verdict, and Google's own word for the error."""
        if self.head.status < 400 and not self.error:
            return ""
        found = _STATUS.search(self.error or self._plain or b"")
        return f"{verdict.reason} ({found[1].decode()})" if found else verdict.reason

    def without_secrets(self, redactor: Redactor) -> tuple[Head, bytes] | None:
        """It as it was, or with every secret in its body replaced; None when that can't be known."""
        plain = self._plain
        if self.body is None or plain is None:
            return None
        clean = redactor.data(plain)
        if clean is plain:
            return self.head, self.body
        fields = [(name, value) for name, value in self.head.fields if name.lower() not in DESCRIBES_BODY]
        return replace(self.head, fields=fields), clean

    @property
    def _plain(self) -> bytes | None:
        """The body without its content codings; None when it can't be read. A stream may have no end."""
        encodings = [value for name, value in self.head.fields if name.lower() == "content-encoding"]
        if self.body is None or not self.error:
            return decode(self.body, encodings) if self.body is not None else None
        return b"".join(Unfolding(encodings).unfold(self.body))
