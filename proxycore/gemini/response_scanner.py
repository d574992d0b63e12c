"""Finds the names of resources in a response while it is streamed, to record their owner. Pure.

Nothing is held back, and only a window of the text is stored, so that a response of any length costs the same
memory. Only responses that can contain a resource's name are scanned. Those of a generation can contain only
one, the continuation token.
"""

import re
from collections.abc import Iterator
from itertools import islice

from proxycore.gemini.methods import CONTINUED, may_name
from proxycore.gemini.request_scope import COLLECTIONS, CONTINUATION, continuation_name
from proxycore.http.coding import StreamDecoder
from proxycore.http.fields import Fields, value_of, values_of

_TEXT = re.compile(r"(?i)\s*(?:application/json|text/event-stream)\b")
_CALLED_BY_ID = re.compile(
    r".*/(interactions|agents|webhooks|triggers|environments|credentials|voices|decisions)(?:[/:]|$)"
)
_NAME = re.compile(
    rb'"(?:name|uri|id|downloadUri|download_uri|auth_token|authToken|responsesFile|responses_file|documentName|document_name'
    rb'|\w{1,32}_file_id)"\s{0,8}:\s{0,8}"(?:https?://[^/"\\]{1,255}/v\d\w{0,32}/)?(?:models/[^/"\\]{1,128}/)?'
    rb"((?:%s)/[^\"/:?\\\s]{1,256})(?=[\"/:?])" % COLLECTIONS.encode()
)
_ID = re.compile(rb'"(id|interaction_id|environment_id)"\s{0,8}:\s{0,8}"([^"/\\\s]{1,512})"')
_COLLECTION_OF = {b"interaction_id": "interactions", b"environment_id": "environments"}
_TOKEN, _LONGEST_TOKEN = b'"continuation', 9 * 1024  # bytes
_WINDOW = 1200  # bytes: more than the longest match
_MOST_NAMES = 5000  # of one response: Google's longest pages have a thousand items
_LARGEST = 2 * 1024 * 1024  # bytes that one chunk may decompress to; more is an attack


class ResponseScanner:
    """Scans one response, chunk by chunk; `path` is the request's, without query."""

    def __init__(self, path: str, fields: Fields) -> None:
        self._decoder = StreamDecoder(values_of(fields, "content-encoding"))
        called_by_id = _CALLED_BY_ID.match(path)
        self._collection = called_by_id[1] if called_by_id else ""
        self._window = b""
        self._known: set[str] = set()
        self._stopped = False

    def scan(self, chunk: bytes) -> set[str]:
        """Return the new names in the next chunk of the body; none once there were too many."""
        found: set[str] = set()
        bytes_left = max(_LARGEST, len(chunk))
        for piece in self._decoder.decode(chunk) if not self._stopped else ():
            self._window += piece
            found.update(islice(self._names(), _MOST_NAMES))
            self._window = self._window[-_WINDOW:]
            bytes_left -= len(piece)
            if bytes_left < 0 or len(found) >= _MOST_NAMES:
                self._stopped = True
                break
        found -= self._known
        self._known |= found
        self._stopped |= len(self._known) >= _MOST_NAMES
        return found

    def _names(self) -> Iterator[str]:
        # Most events name nothing, and have no slash at all: that is found in a fortieth of the time.
        for match in _NAME.finditer(self._window) if b"/" in self._window else ():
            yield match[1].decode(errors="replace")
        for match in _ID.finditer(self._window) if self._collection else ():
            collection = _COLLECTION_OF.get(match[1], self._collection)
            yield f"{collection}/{match[2].decode(errors='replace')}"


class _ContinuationScanner(ResponseScanner):
    """Scans the response of a generation for continuation tokens. Most responses are such: it is fast."""

    def scan(self, chunk: bytes) -> set[str]:
        """Return the names of the continuation tokens in the next chunk of the body."""
        found: set[str] = set()
        bytes_left = max(_LARGEST, len(chunk))
        for piece in self._decoder.decode(chunk) if not self._stopped else ():
            self._window += piece
            start = self._window.rfind(_TOKEN)
            if start >= 0:
                found.update(continuation_name(match[1]) for match in CONTINUATION.finditer(self._window))
            begun = start >= 0 and len(self._window) - start < _LONGEST_TOKEN
            self._window = self._window[start if begun else -len(_TOKEN) :]
            bytes_left -= len(piece)
            if bytes_left < 0:
                self._stopped = True
                break
        return found


def scanner_for(path: str, fields: Fields) -> ResponseScanner | None:
    """The scanner for a 2xx response with these header fields, None when it can't contain a name."""
    if not may_name(path) or not _TEXT.match(value_of(fields, "content-type")):
        return None
    return _ContinuationScanner(path, fields) if CONTINUED.search(path) else ResponseScanner(path, fields)
