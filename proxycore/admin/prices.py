"""Prices of tokens by model, and what usage costs by them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from proxycore.storage.rows import UsageRow

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """Prices per million tokens of the models that match a glob, in any currency.

    `input` is for input that was not cached, `output` for output with thinking.
    """

    models: str
    input: float
    cached: float
    output: float

    def cost(self, row: UsageRow) -> float:
        """Return what the tokens cost that could be read."""
        uncached = max(0, row.input_tokens - row.cached_tokens)
        cost = uncached * self.input + row.cached_tokens * self.cached + row.output_tokens * self.output
        return cost / _MILLION


def price_of(model: str, prices: Sequence[Price]) -> Price | None:
    """Return the first price whose glob matches the model; None if none does."""
    return next((price for price in prices if fnmatchcase(model, price.models)), None)
