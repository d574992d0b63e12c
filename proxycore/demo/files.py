"""Files of the mock's projects: their list, each of them, and the content of those that Google made."""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxycore.demo.handler import COLON, Handler
from proxycore.demo.model import pretty
from proxycore.demo.refusal import Refusal, RefusedError
from proxycore.demo.store import Owned

_PIECE = 65_536  # bytes
_PERIOD = 251  # bytes: a prime, so that a piece at a wrong offset is detected
_PATTERN = bytes(range(_PERIOD)) * (_PIECE // _PERIOD + 2)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_UNSATISFIABLE = Refusal(416, "The requested range cannot be satisfied.")


class Collection(Handler):
    """The resources of one kind that a project owns: list, read, delete."""

    kind = ""
    page_size = 50  # unless the query says otherwise

    async def get(self, _version: str, name: str = "") -> None:
        """Answer with one of them, or with a page of their list."""
        await self.admit()
        if name:
            return self.send(pretty(self.owned(name).document))
        mine = self.mock.store.collection(self.call.key, self.kind)
        return self.page(self.kind, mine, self.page_size, self.call.key)

    async def delete(self, _version: str, name: str = "") -> None:
        """Delete one of them."""
        await self.admit()
        self.mock.store.drop(self.call.key, self.owned(name).name)
        self.send(pretty({}))


class _Files(Collection):
    """Files, but not their content."""

    kind = "files"
    page_size = 10


class Download(Handler):
    """The content of a file, or a range of it, generated as it is sent."""

    async def get(self, _version: str, name: str) -> None:
        """Send the content or the range, as fast as the client reads."""
        await self.admit()
        file = self.owned(name)
        if file.document["source"] == "UPLOADED":
            raise RefusedError(Refusal(400, f"File {name} is not downloadable."))
        if self.mock.redirects and not self.request.path.startswith("/download/"):
            return self.redirect(f"{self.request.protocol}://{self.request.host}/download{self.request.uri}")
        self.size = self.mock.download_bytes if file.content is None else len(file.content)
        start, end = self.wanted()
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("Content-Length", str(end - start))
        await self.pause(self.mock.think, 0)
        return await self.stream(pieces(file, start, end), file.document["mimeType"])

    def wanted(self) -> tuple[int, int]:
        """Return where to begin and where to end; an invalid range is ignored."""
        asked = _RANGE.fullmatch(self.request.headers.get("Range", ""))
        first, last = asked.groups() if asked else ("", "")
        if not (first or last) or (first and last and int(last) < int(first)):
            return 0, self.size
        start = int(first) if first else max(0, self.size - int(last))
        if start >= self.size:
            raise RefusedError(_UNSATISFIABLE)
        end = min(self.size, int(last) + 1) if first and last else self.size
        self.set_status(206)
        self.set_header("Content-Range", f"bytes {start}-{end - 1}/{self.size}")
        return start, end

    def write_error(self, status_code: int, **kwargs: object) -> None:
        """Name the size in the answer to a range beyond it."""
        if status_code == _UNSATISFIABLE.code:
            self.set_header("Content-Range", f"bytes */{self.size}")
        super().write_error(status_code, **kwargs)


def pieces(file: Owned, start: int, end: int) -> Iterator[bytes]:
    """Make what lies between two offsets of a file, piece by piece."""
    for offset in range(start, end, _PIECE):
        until = min(end, offset + _PIECE)
        phase = offset % _PERIOD
        made = _PATTERN[phase : phase + until - offset]
        yield made if file.content is None else file.content[offset:until]


DOWNLOAD = rf"/(files/[^/:]+){COLON}download"  # after the version, or after /download and the version
ROUTES: list[tuple[str, type[Handler]]] = [  # after the version
    ("/files", _Files),
    ("/(files/[^/:]+)", Collection),
    (DOWNLOAD, Download),
]
