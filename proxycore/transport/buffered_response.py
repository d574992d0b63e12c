"""A response that is buffered instead of streamed: it is judged before it is passed on. Pure."""

from dataclasses import dataclass, replace

from proxycore.gemini.errors import read_opening
from proxycore.http.coding import LARGEST, StreamDecoder, decode
from proxycore.http.fields import without
from proxycore.http.redaction import Redactor
from proxycore.transport.response_head import ResponseHead

BUFFERED_BYTES = LARGEST
"""Bytes of a body that are buffered. A larger one is not passed on: it can't be searched for secrets."""

DESCRIBES_BODY = frozenset({"content-encoding", "content-length", "content-md5", "content-digest", "etag"})
"""Fields that no longer hold for a body in which something was replaced, in small letters."""


@dataclass(frozen=True, slots=True)
class BufferedResponse:
    """Head and body; `body` is None when it was larger than the limit.

    `error` is the text of the error that a 2xx stream began with; empty for any other response.
    """

    head: ResponseHead
    body: bytes | None
    error: bytes = b""

    @property
    def status(self) -> int:
        """The status by which it is judged: the head's, or that of the error in a 2xx stream."""
        error = read_opening(self.error) if self.error else None
        return error.code if error and error.code else self.head.status

    @property
    def plain(self) -> bytes | None:
        """The body without its content codings; None when it can't be decoded. A stream may be incomplete."""
        if self.body is None:
            return None
        encodings = self.head.values.get("content-encoding", [])
        if not self.error:
            return decode(self.body, encodings)
        return b"".join(StreamDecoder(encodings).decode(self.body))

    def without_secrets(self, redactor: Redactor) -> tuple[ResponseHead, bytes] | None:
        """Head and body with every secret in the body replaced; None when the body can't be searched."""
        plain = self.plain
        if self.body is None or plain is None:
            return None
        clean = redactor.data(plain)
        if clean is plain:
            return self.head, self.body
        return replace(self.head, fields=without(self.head.fields, DESCRIBES_BODY)), clean
