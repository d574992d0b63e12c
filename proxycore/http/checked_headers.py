"""Header fields that were checked before, as Tornado's `HTTPHeaders`, which would check each again."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from tornado.httputil import HTTPHeaders, _normalize_header

from proxycore.http.fields import Field

_LONGEST_KEPT = 64  # characters of a name; clients choose names, and what is kept has to be bounded


class CheckedHeaders(HTTPHeaders):
    """Header fields whose names and values a parser has checked, or the program itself has written."""

    def __init__(self, fields: Iterable[Field] = ()) -> None:
        self._as_list: dict[str, list[str]] = {}
        self._combined_cache: dict[str, str] = {}
        self.extend(fields)

    def extend(self, fields: Iterable[Field]) -> None:
        """Add fields; a repeated name adds another field."""
        known, combined = self._as_list, self._combined_cache
        for name, value in fields:
            key = _normalized(name) if len(name) <= _LONGEST_KEPT else _normalize(name)
            if key in known:
                known[key].append(value)
                combined.pop(key, None)
            else:
                known[key] = [value]

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as `Mapping.get` has it
        """Return the combined value of the fields of this name, or `default`: most names are absent."""
        return self[name] if _normalize_header(name) in self._as_list else default


def _normalize(name: str) -> str:
    """The name as Tornado writes it: every word with a capital."""
    return "-".join([word.capitalize() for word in name.split("-")])


_normalized = lru_cache(1000)(_normalize)
