"""Reads what clients may do: `CLIENT_<name>` with words like `requests=30/minute models=gemini-*`."""

import re
from collections.abc import Callable, Collection
from datetime import date

from proxycore.runtime.env_reader import EnvReader
from proxycore.stats.limits.client_limits import ClientLimits, Counted, Period, Rate
from proxycore.stats.limits.ledger import LimitRules

DEFAULT = "DEFAULT"
"""The name that stands for the clients without limits of their own."""

_WORD = re.compile(r"(requests|tokens|concurrent|models|until|weight)=(.*)", re.IGNORECASE)
_RATE = re.compile(r"([^/]*)/(second|minute|hour|day)s?", re.IGNORECASE)
_AMOUNT = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)([kMG]?)", re.IGNORECASE)
_FACTORS = {"": 1, "k": 1000, "m": 1000_000, "g": 1000_000_000}
_MOST_WEIGHT = 1000.0
_LAST_YEAR = 9000
_AN_EXAMPLE = "requests=30/minute tokens=2M/day concurrent=8 models=gemini-*-flash* until=2027-01-31 weight=2"


def read_client_limits(reader: EnvReader, clients: Collection[str]) -> LimitRules:
    """Return the limits of clients; `clients` are the names of their keys."""
    named: dict[str, ClientLimits] = {}
    default: ClientLimits | None = None
    for variable, name, value in reader.named("CLIENT"):
        known = name == DEFAULT or name in clients
        if not known and not any(map(_WORD.fullmatch, value.split())):
            reader.known.discard(variable)  # like CLIENT_SECRET, it may belong to another program
        elif not known:
            reader.warnings.append(
                f"{variable}: there is no OUTPUT_API_KEY_{name}, so that these limits are nobody's"
            )
        elif value and variable != "CLIENT":
            limits = _limits(reader, variable, value)
            if name == DEFAULT:
                default = limits
            else:
                named[name] = limits
    return LimitRules(named, default)


class _Limits:
    """The limits that the words of a variable give; raises ValueError with what is wrong with a word."""

    def __init__(self) -> None:
        self.rates: list[Rate] = []
        self.concurrent: int | None = None
        self.models: list[str] = []
        self.until: date | None = None
        self.weight = 1.0
        self._given: set[str] = set()
        self._readers: dict[str, Callable[[str], None]] = {
            "requests": lambda value: self._rate(Counted.REQUESTS, value),
            "tokens": lambda value: self._rate(Counted.TOKENS, value),
            "concurrent": self._concurrent,
            "models": self._models,
            "until": self._until,
            "weight": self._weight,
        }

    def read(self, word: str) -> None:
        match = _WORD.fullmatch(word)
        if not match:
            raise ValueError(f"is not a limit; write for example {_AN_EXAMPLE}")
        name = match[1].lower()
        if name not in {"requests", "tokens", "models"}:
            self._only_once(name)
        self._readers[name](match[2])

    def _only_once(self, what: str) -> None:
        if what in self._given:
            raise ValueError(f"is the second limit of {what}; keep one of them")
        self._given.add(what)

    def _rate(self, counted: Counted, value: str) -> None:
        match = _RATE.fullmatch(value)
        amount = _amount(match[1]) if match else None
        if not match or not amount:
            raise ValueError(
                f"is not like {counted}=30/minute or {counted}=2M/day (second, minute, hour, day)"
            )
        rate = Rate(counted, amount, Period(match[2].lower()))
        self._only_once(rate.topic)
        self.rates.append(rate)

    def _concurrent(self, value: str) -> None:
        self.concurrent = _amount(value)
        if not self.concurrent:
            raise ValueError("is not a whole number above 0")

    def _models(self, value: str) -> None:
        models = [model.removeprefix("models/") for model in value.lower().split(",") if model]
        if not models:
            raise ValueError("names no model; write for example models=gemini-*-flash*,gemini-embedding-*")
        self.models += models

    def _until(self, value: str) -> None:
        try:
            self.until = date.fromisoformat(value)
        except ValueError:
            self.until = None
        if not self.until or self.until.year > _LAST_YEAR:
            raise ValueError("is not a date like until=2027-01-31")

    def _weight(self, value: str) -> None:
        try:
            self.weight = float(value)
        except ValueError:
            self.weight = 0.0
        if not 0 < self.weight <= _MOST_WEIGHT:
            raise ValueError(f"is not a number above 0, to {_MOST_WEIGHT:.0f}")

    def limits(self) -> ClientLimits:
        return ClientLimits(tuple(self.rates), self.concurrent, tuple(self.models), self.until, self.weight)


def _limits(reader: EnvReader, variable: str, value: str) -> ClientLimits:
    """Return the limits in a variable, without the words that are mistakes, which are reported."""
    limits = _Limits()
    for word in value.split():
        try:
            limits.read(word)
        except ValueError as fault:
            reader.mistakes.append(f"{variable}: {word[:100]!r} {fault}")
    return limits.limits()


def _amount(text: str) -> int | None:
    """A whole number like 30, 2M or 1.5k; None if it is none."""
    match = _AMOUNT.fullmatch(text)
    if not match:
        return None
    amount = float(match[1]) * _FACTORS[match[2].lower()]
    return int(amount) if amount.is_integer() else None
