"""Reads PRICES_FILE: a CSV file with a line for each price, `model glob, per million in, cached, out`."""

import csv
import math

from proxycore.admin.prices import Price
from proxycore.runtime.env_reader import EnvReader

_MOST_MISTAKES = 10
_LONGEST_SHOWN = 50  # characters of a cell
_COLUMNS = (
    "model, per million input tokens, cached ones, output ones; for example: gemini-2.5-pro*,1.25,0.31,10"
)


def read_prices(reader: EnvReader, variable: str) -> tuple[Price, ...]:
    """Return the prices in the file that the variable names. Lines that are no price are mistakes.

    Empty lines, those that begin with #, and a first line of names are skipped.
    """
    path = reader.text(variable)
    if not path:
        return ()
    prices, mistakes = [], []
    lines = reader.file_text(variable, path).split("\n")
    for number, cells in ((number, _cells(line)) for number, line in enumerate(lines, 1)):
        if not cells or (number == 1 and cells[0].lower() == "model"):
            continue
        try:
            prices.append(_price(cells))
        except ValueError as error:
            mistakes.append(f"{variable}: line {number}: {error}")
    more = len(mistakes) - _MOST_MISTAKES
    reader.mistakes += mistakes[:_MOST_MISTAKES]
    if more > 0:
        reader.mistakes.append(f"{variable}: {more} more lines like these")
    if not prices and not mistakes and not any(one.startswith(f"{variable}: ") for one in reader.mistakes):
        reader.warnings.append(f"{variable}: the file has no prices")
    return tuple(prices)


def _cells(line: str) -> list[str]:
    if not line.strip() or line.lstrip().startswith("#"):
        return []
    return [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True))]


def _price(cells: list[str]) -> Price:
    """Return the price in a line; raises ValueError with what is wrong with it."""
    if len(cells) != 4 or not cells[0]:
        raise ValueError(f"needs four cells: {_COLUMNS}")
    return Price(cells[0], *map(_number, cells[1:]))


def _number(cell: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"{cell[:_LONGEST_SHOWN]!r} is not a price, a number from 0")
    return number
