"""PRICES_FILE: prices by model, and mistakes in it with the numbers of their lines."""

from pathlib import Path

import pytest

from proxycore.admin.prices import Price
from proxycore.runtime.settings import SettingsError
from tests.support.proxy import settings

NOBODY = "http://127.0.0.1:9"


def prices(folder: Path, text: str) -> tuple[Price, ...]:
    (folder / "prices.csv").write_text(text)
    return settings(NOBODY, PRICES_FILE=str(folder / "prices.csv")).prices


def test_prices_are_read_without_comments_and_a_first_line_of_names(tmp_path: Path) -> None:
    text = 'Model,In,Cached,Out\n# a comment\n\ngemini-2.5-pro*, 1.25, 0.31, 10\n"a,b",0,0,1e1\n'
    assert prices(tmp_path, text) == (Price("gemini-2.5-pro*", 1.25, 0.31, 10.0), Price("a,b", 0, 0, 10))


def test_each_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    text = "a,1,1,1\nb,1,1\nc,1,$2,1\n,1,1,1\nd,1,1,-1\ne,1,1,inf\n"
    with pytest.raises(SettingsError) as caught:
        prices(tmp_path, text)
    lines = str(caught.value).splitlines()
    assert [line.partition(": line ")[2][:2] for line in lines] == ["2:", "3:", "4:", "5:", "6:"]
    assert lines[0].startswith("PRICES_FILE: line 2: needs four cells: model,")
    assert lines[1] == "PRICES_FILE: line 3: '$2' is not a price, a number from 0"


def test_many_mistakes_are_summed_up(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        prices(tmp_path, "x\n" * 30)
    lines = str(caught.value).splitlines()
    assert (len(lines), lines[-1]) == (11, "PRICES_FILE: 20 more lines like these")


def test_a_file_that_is_not_there_is_a_mistake_and_an_empty_one_a_warning(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"PRICES_FILE: .*there is no such file"):
        settings(NOBODY, PRICES_FILE=str(tmp_path / "none.csv"))
    (tmp_path / "prices.csv").write_text("# nothing\n")
    read = settings(NOBODY, PRICES_FILE=str(tmp_path / "prices.csv"))
    assert "PRICES_FILE: the file has no prices" in read.warnings
