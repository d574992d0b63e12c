"""Uploaded content: counted and hashed as it arrives, never kept in memory."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from email.message import Message

from proxycore.demo import store as stores
from proxycore.demo.model import parse
from proxycore.demo.refusal import Json
from proxycore.demo.store import Owned, identifier

_HEAD_END = b"\r\n\r\n"


class Content:
    """The bytes of one upload so far."""

    def __init__(self, mime_type: str = "") -> None:
        self.about: Json = {}  # the client's JSON about it
        self.mime_type = mime_type
        self.size = 0
        self.lines = 0
        self.in_line = False  # whether the last byte was no newline
        self.hash = hashlib.sha256()

    def copy(self) -> Content:
        """Return a copy that more bytes can be added to."""
        other = Content(self.mime_type)
        other.about, other.size, other.hash = self.about, self.size, self.hash.copy()
        other.lines, other.in_line = self.lines, self.in_line
        return other

    def add(self, data: bytes) -> None:
        """Add the bytes that come next."""
        self.size += len(data)
        self.lines += data.count(b"\n")
        self.in_line = not data.endswith(b"\n") if data else self.in_line
        self.hash.update(data)

    def file(self, made: float) -> Owned:
        """Make the file with this content."""
        about = self.about.get("file") or self.about
        mime_type = about.get("mimeType") or about.get("mime_type") or self.mime_type
        name = stores.file_name(about.get("name")) or f"files/{identifier()}"
        document = stores.file_document(name, mime_type or "application/octet-stream", made)
        document |= {"source": "UPLOADED", "sizeBytes": str(self.size)}
        document["sha256Hash"] = base64.b64encode(self.hash.hexdigest().encode()).decode()
        if display := about.get("displayName") or about.get("display_name"):
            document["displayName"] = display
        return Owned(document, made, lines=self.lines + self.in_line)


class Multipart(Content):
    """Content that comes after its JSON in one multipart/related body."""

    def __init__(self, content_type: str) -> None:
        super().__init__()
        message = Message()
        message["Content-Type"] = content_type
        self._mark = f"\r\n--{message.get_param('boundary', '')}".encode()
        self._rest = b"\r\n"  # no content yet, but maybe a boundary once more of it comes
        self._heads = 0

    def add(self, data: bytes) -> None:
        """Add the bytes of the body that come next."""
        self._rest += data
        while self._heads < 2 and _HEAD_END in self._rest:
            part, _, self._rest = self._rest.partition(_HEAD_END)
            self._heads += 1
            if self._heads == 2:
                document, _, head = part.rpartition(self._mark)
                self.about, self.mime_type = parse(document), _content_type(head)
        if self._heads == 2:
            content, mark, _ = self._rest.partition(self._mark)
            kept = 0 if mark else len(self._mark) - 1
            super().add(content[: max(0, len(content) - kept)])
            self._rest = self._rest[max(0, len(content) - kept) :]


def _content_type(head: bytes) -> str:
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "content-type":
            return value.strip()
    return ""


@dataclass
class Upload:
    """A file that is being uploaded, across all requests of a resumable upload."""

    key: str
    content: Content
    status: str = "active"
