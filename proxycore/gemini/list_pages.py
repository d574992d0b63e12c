"""Pages of a list that is merged from the lists of several keys. Pure.

Google's lists are paged: a response has a `nextPageToken` if there is more, and the next request sends it
back (google.aip.dev/158). The proxy's own token also names the key to continue with.
"""

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from proxycore.gemini.paths import VERSION
from proxycore.gemini.request_scope import COLLECTIONS

LIST_PATHS = rf"/+{VERSION}/(?:{COLLECTIONS})/?"
"""The paths that list a project's resources, as a regular expression."""

_DEFAULT_SIZE = 50  # items of a page, unless the request names a size
_TOKEN_NAMES = ("pageToken", "page_token", "page.token")
_SIZE_NAMES = ("pageSize", "page_size")
_SIZE = re.compile(r"[1-9][0-9]{0,8}")
_LARGEST_SIZE = 1000  # items; Google's largest pages have as many
_LARGEST = 16 * 1024 * 1024  # bytes of a page, unless one key's response alone has more
_SNAKE = re.compile(r"(?:interactions|agents|webhooks|triggers|environments|credentials|voices)/?$")


@dataclass(frozen=True, slots=True)
class PageStart:
    """Where a page begins: the name of a key (empty: the first one), and Google's page token for that key.

    As a string it is the proxy's own page token.
    """

    key: str = ""
    token: str = ""

    def __str__(self) -> str:
        text = json.dumps([self.key, self.token], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def page_start(query: str) -> PageStart | None:
    """Where the requested page begins; None if its token is not one of the proxy's."""
    values = parse_qs(query)
    token = next((values[name][0] for name in _TOKEN_NAMES if name in values), "")
    if not token:
        return PageStart()
    try:
        match json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))):
            case [str(key), str(inner)]:
                inner.encode()  # raises for lone surrogates
                return PageStart(key, inner)
    except (ValueError, RecursionError):
        pass
    return None


def query_at(query: str, token: str) -> str:
    """The query with Google's page token in place of the proxy's."""
    parts = [part for part in query.split("&") if part]
    named = {name: part for part in parts if (name := unquote(part.partition("=")[0])) in _TOKEN_NAMES}
    others = [part for part in parts if part not in named.values()]
    in_snake_case = any(part.startswith("page_size=") for part in parts)
    name = next(iter(named), "page_token" if in_snake_case else "pageToken")
    return "&".join([*others, f"{name}={quote(token, safe='')}"] if token else others)


@dataclass(slots=True)
class Page:
    """A page that is filled with the response of one key after another.

    `size` is the number of items asked for, `count` that of items so far. `next_start` is where the next page
    begins, None if there is none.
    """

    path: str
    size: int = _DEFAULT_SIZE
    count: int = 0
    next_start: PageStart | None = None
    _bytes: int = 0
    _document: dict[str, Any] = field(default_factory=dict)

    def add(self, key: str, document: dict[str, Any], size: int = 0) -> bool:
        """Add a key's response of `size` bytes. Return whether there may be room for another key's."""
        items = [value for value in document.values() if isinstance(value, list)]
        count = sum(map(len, items))
        if count and self.count and (self.count + count > self.size or self._bytes + size > _LARGEST):
            self.next_start = PageStart(key)
            return False
        for name, value in document.items():
            if isinstance(value, list):
                before = self._document.get(name)
                if isinstance(before, list):
                    before.extend(value)
                else:
                    self._document[name] = value
            elif name not in ("nextPageToken", "next_page_token"):
                self._document.setdefault(name, value)
        self.count, self._bytes = self.count + count, self._bytes + size
        token = document.get("nextPageToken") or document.get("next_page_token")
        if token:
            self.next_start = PageStart(key, str(token))
        return self.next_start is None

    def body(self) -> bytes:
        """The page as JSON. Raises RecursionError when it is nested too deeply."""
        token = "next_page_token" if _SNAKE.search(self.path) else "nextPageToken"
        document = self._document | ({token: str(self.next_start)} if self.next_start else {})
        return json.dumps(document, ensure_ascii=False, indent=2).encode(errors="replace") + b"\n"


def page_for(path: str, query: str) -> Page:
    """An empty page of the size that the request asks for."""
    values = parse_qs(query)
    size = next((values[name][0] for name in _SIZE_NAMES if name in values), "")
    return Page(path, min(int(size), _LARGEST_SIZE) if _SIZE.fullmatch(size) else _DEFAULT_SIZE)
