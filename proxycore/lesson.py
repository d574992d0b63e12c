"""What an answer teaches about who owns what: the names of resources in it, read as it passes. Pure.

Nothing is held back and little is kept: a window slides over the text, so that an answer of any length
costs the same memory. Only answers that can tell of a resource are read. Those of a generation can tell of
one thing, the token with which it goes on.
"""

import re
from collections.abc import Iterator
from itertools import islice

from proxycore.affinity import COLLECTIONS, CONTINUATION, continuation_name
from proxycore.coding import Unfolding
from proxycore.fields import Fields
from proxycore.methods import computes

# Calls that make something, or show it.
_TEACHING = re.compile(
    rf"(?:/(?:{COLLECTIONS})(?:[/:]|$))|:(?:batchGenerateContent|asyncBatchEmbedContent|predictLongRunning)$"
)
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
# Generations that may end with a token: not those of models from before there were any.
_GENERATION = re.compile(r"/models/gemini-(?![123]\b)[^/]*:(?:stream)?[gG]enerateContent$")
_TOKEN, _LONGEST_TOKEN = b'"continuation', 9 * 1024  # bytes
_WINDOW = 1200  # bytes: more than the longest thing that is looked for
_MOST_NAMES = 5000  # that one answer teaches: Google's longest pages have a thousand items
_LARGEST = 2 * 1024 * 1024  # bytes that one piece may unfold to; one that has more is made to cost time


class Lesson:
    """Reads one answer, piece by piece; `path` is the request's, without query."""

    def __init__(self, path: str, fields: Fields) -> None:
        self._text = Unfolding([value for name, value in fields if name.lower() == "content-encoding"])
        called_by_id = _CALLED_BY_ID.match(path)
        self._collection = called_by_id[1] if called_by_id else ""
        self._window = b""
        self._known: set[str] = set()
        self._over = False

    def read(self, chunk: bytes) -> set[str]:
        """The new names in the next piece of the answer's body; none once there were too many."""
        found: set[str] = set()
        bytes_left = max(_LARGEST, len(chunk))
        for piece in self._text.unfold(chunk) if not self._over else ():
            self._window += piece
            found.update(islice(self._names(), _MOST_NAMES))
            self._window = self._window[-_WINDOW:]
            bytes_left -= len(piece)
            if bytes_left < 0 or len(found) >= _MOST_NAMES:
                self._over = True
                break
        found -= self._known
        self._known |= found
        self._over |= len(self._known) >= _MOST_NAMES
        return found

    def _names(self) -> Iterator[str]:
        for match in _NAME.finditer(self._window):
            yield match[1].decode(errors="replace")
        for match in _ID.finditer(self._window) if self._collection else ():
            collection = _COLLECTION_OF.get(match[1], self._collection)
            yield f"{collection}/{match[2].decode(errors='replace')}"


class _Continuation(Lesson):
    """Reads the answer of a generation, for the one name in it. There are many, so it takes little time."""

    def read(self, chunk: bytes) -> set[str]:
        """The generations that go on, by the next piece of the answer's body."""
        found: set[str] = set()
        bytes_left = max(_LARGEST, len(chunk))
        for piece in self._text.unfold(chunk) if not self._over else ():
            self._window += piece
            start = self._window.rfind(_TOKEN)
            if start >= 0:
                found.update(continuation_name(match[1]) for match in CONTINUATION.finditer(self._window))
            begun = start >= 0 and len(self._window) - start < _LONGEST_TOKEN
            self._window = self._window[start if begun else -len(_TOKEN) :]
            bytes_left -= len(piece)
            if bytes_left < 0:
                self._over = True
                break
        return found


def lesson_in(path: str, fields: Fields) -> Lesson | None:
    """The lesson in a 2xx answer with these header fields, None when there can't be any."""
    generation = _GENERATION.search(path)
    if not generation and (not _TEACHING.search(path) or computes(path)):
        return None
    kind = next((value for name, value in fields if name.lower() == "content-type"), "")
    if not _TEXT.match(kind):
        return None
    return _Continuation(path, fields) if generation else Lesson(path, fields)
