"""The map of the code is true: the rooms and files that docs/ARCHITECTURE.md names are there, and small."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import ROOT

PACKAGE = ROOT / "proxycore"
MAP = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
ROOMS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
FILES = sorted({*re.findall(r"`(\w+/\w+)(?:\.py)?`", MAP)})


def test_the_map_has_every_room() -> None:
    drawn = {word for word in re.findall(r"\w+", MAP.split("```")[1]) if word in ROOMS}
    assert drawn | {"demo"} == ROOMS
    assert len(ROOMS) <= 12


@pytest.mark.parametrize("file", FILES)
def test_what_the_map_names_exists(file: str) -> None:
    assert (PACKAGE / f"{file}.py").exists()


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_says_what_it_is_for_and_what_others_may_use(room: str) -> None:
    script = f"import proxycore.{room} as room; from proxycore.{room} import *"
    script += "; print(len(room.__doc__), *room.__all__)"
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    length, *names = told.stdout.split()
    assert int(length) > 100
    assert names


def test_no_file_is_longer_than_three_hundred_lines() -> None:
    def lines(path: Path) -> int:
        return len(path.read_text(encoding="utf-8").splitlines())

    assert [path.name for path in PACKAGE.rglob("*.py") if lines(path) > 300] == []
