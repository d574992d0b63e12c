"""Parses `.env`: variables, faulty lines, and values that Compose, Docker and shells read differently."""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dotenv.parser import Binding, parse_stream

_QUOTED = re.compile(r"""[^=]*=\s*(?P<quote>['"])(?P<inner>.*)(?P=quote)""", re.DOTALL)


@dataclass(frozen=True, slots=True)
class EnvText:
    """The parsed text."""

    values: dict[str, str] = field(default_factory=dict)
    mistakes: Sequence[str] = ()
    warnings: Sequence[str] = ()


def parse_env(text: str) -> EnvText:
    """Parse `NAME=value` lines as python-dotenv does, without interpolation: a `$` is a `$`."""
    values: dict[str, str] = {}
    mistakes: list[str] = []
    warnings: list[str] = []
    for binding in parse_stream(io.StringIO(text)):
        line = _line(binding)
        if binding.error or (binding.key and binding.value is None):
            mistakes.append(f".env, line {line}: not of the form NAME=value")
        elif binding.key:
            if binding.key in values:
                warnings.append(f"{binding.key}: set again in line {line} of .env; the last one is used")
            values[binding.key] = binding.value or ""
            warnings += [f"{binding.key}: {oddity}" for oddity in _differences(binding)]
    return EnvText(values, mistakes, warnings)


def _line(binding: Binding) -> int:
    blank = re.match(r"\s*", binding.original.string)
    return binding.original.line + (blank[0].count("\n") if blank else 0)


def _differences(binding: Binding) -> Iterator[str]:
    # Compose interpolates unquoted and double-quoted values (docs.docker.com, "Syntax for environment
    # files"), shells as well; `docker run --env-file` takes every character as it is.
    quoted = _QUOTED.match(binding.original.string)
    quote = quoted["quote"] if quoted else ""
    if "$" in (binding.value or "") and quote != "'":
        yield "has a $, which Compose and shells replace; put the value in single quotes"
    if quoted and "\\" in quoted["inner"] and (quote == '"' or quoted["inner"] != binding.value):
        yield "has a backslash inside quotes, which docker run --env-file reads differently; remove it"
