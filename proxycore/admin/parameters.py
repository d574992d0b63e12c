"""Reads the parameters of a URL's query, and says what to send instead of those that are wrong. Pure."""

import math
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from urllib.parse import parse_qsl

_MOST = 100  # parameters
_LATEST = 253402300800.0  # seconds since the epoch, the end of the year 9999
_LONGEST_SHOWN = 100  # characters of a value


class ParameterError(Exception):
    """A parameter is wrong; the message says what to send instead."""


class Parameters:
    """The parameters of a query. `known` are their names. Raises ParameterError for others.

    A `key` for which `is_credential` holds is none of them.
    """

    def __init__(self, query: str, known: Collection[str], is_credential: Callable[[str], bool]) -> None:
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST)
        except ValueError as error:
            raise ParameterError(f"There are more than {_MOST} parameters.") from error
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            if name == "key" and is_credential(value):
                continue
            if name not in known:
                raise ParameterError(f"Unknown parameter {_shown(name)}. Known are: {', '.join(known)}.")
            self._values.setdefault(name, []).append(value)

    def all(self, name: str) -> list[str]:
        """All values of a parameter, which may be separated by commas."""
        return [part.strip() for value in self._values.get(name, []) for part in value.split(",") if part]

    def text(self, name: str) -> str | None:
        """The value of a parameter; None if it is not there, or empty."""
        values = [value for value in self._values.get(name, []) if value]
        if len(values) > 1:
            raise ParameterError(f"{name}: sent {len(values)} times. Send it once.")
        return values[0] if values else None

    def choice(self, name: str, choices: Collection[str]) -> str | None:
        """The value of a parameter that is one of a few words."""
        value = self.text(name)
        if value is not None and value not in choices:
            raise ParameterError(f"{name}: {_shown(value)} is not one of {', '.join(choices)}.")
        return value

    def whole(self, name: str, least: int, most: int) -> int | None:
        """The value of a parameter that is a whole number within bounds."""
        value = self.text(name)
        if value is None:
            return None
        if value.isascii() and value.isdecimal() and len(value) <= len(str(most)):
            number = int(value)
            if least <= number <= most:
                return number
        raise ParameterError(f"{name}: {_shown(value)} is not a whole number from {least} to {most}.")

    def time(self, name: str) -> float | None:
        """The value of a parameter that is a time, in seconds since the epoch; without a zone, it is UTC."""
        value = self.text(name)
        if value is None:
            return None
        try:
            seconds = float(value) if _is_number(value) else _parsed(value)
        except (ValueError, OverflowError):
            seconds = math.nan
        if not 0 <= seconds < _LATEST:
            raise ParameterError(
                f"{name}: {_shown(value)} is not a time. Send a date like 2026-11-27, a time like"
                " 2026-11-27T14:00Z, or seconds since 1970."
            )
        return seconds


def _is_number(value: str) -> bool:
    return value.isascii() and value.replace(".", "", 1).isdecimal()


def _parsed(value: str) -> float:
    found = datetime.fromisoformat(value)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _shown(value: str) -> str:
    return repr(value if len(value) <= _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}...")
