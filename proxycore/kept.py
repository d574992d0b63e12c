"""An answer that was not streamed: kept until it is judged, and passed on if it is for the client. Pure."""

import re
from dataclasses import dataclass, replace

from proxycore.affinity import Scope
from proxycore.coding import LARGEST, decode
from proxycore.head import Head
from proxycore.headers import Redactor
from proxycore.verdict import Verdict, judge

KEPT_BYTES = LARGEST
"""Bytes of a body that are kept. A larger one is not passed on, since its secrets would not be found."""

# google.rpc.Code, as AIP-193 writes it.
_STATUS = re.compile(rb'"status"\s*:\s*"([A-Z_]{1,40})"')

DESCRIBES_BODY = frozenset({"content-encoding", "content-length", "content-md5", "content-digest", "etag"})
"""Fields that are no longer true of a body in which something was replaced, in small letters."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Head and body; `body` is None when it was larger than `KEPT_BYTES`."""

    head: Head
    body: bytes | None

    def verdict(self, now: float, scope: Scope) -> Verdict:
        """What it says about the key it was got with. `now` is the wall clock, in seconds since the epoch."""
        return judge(
            self.head.status,
            self.head.fields,
            self.body or b"",
            now=now,
            names_resource=scope.names_resource,
        )

    def reason(self, verdict: Verdict) -> str:
        """Why the request was not served, for the log: the verdict, and Google's own word for the error."""
        if self.head.status < 400:
            return ""
        encodings = [value for name, value in self.head.fields if name.lower() == "content-encoding"]
        found = _STATUS.search(decode(self.body or b"", encodings) or b"")
        return f"{verdict.reason} ({found[1].decode()})" if found else verdict.reason

    def without_secrets(self, redactor: Redactor) -> tuple[Head, bytes] | None:
        """It as it was, or with every secret in its body replaced; None when that can't be known."""
        if self.body is None:
            return None
        encodings = [value for name, value in self.head.fields if name.lower() == "content-encoding"]
        plain = decode(self.body, encodings)
        if plain is None:
            return None
        clean = redactor.data(plain)
        if clean is plain:
            return self.head, self.body
        fields = [(name, value) for name, value in self.head.fields if name.lower() not in DESCRIBES_BODY]
        return replace(self.head, fields=fields), clean
