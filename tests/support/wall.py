"""The wall clock of a program that runs, to be set by a test."""

import time
from pathlib import Path

_SITECUSTOMIZE = """
import os, time

true = time.time

def wall():
    with open(os.environ["WALL_CLOCK_AHEAD"]) as file:
        return true() + float(file.read())

time.time = wall
time.time_ns = lambda: int(wall() * 1e9)
"""


class Wall:
    """The wall clock of a program that is started with `environment`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ahead"
        (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE)
        self.environment = {"PYTHONPATH": str(folder), "WALL_CLOCK_AHEAD": str(self._file)}
        self.set(0.0)

    def set(self, ahead: float) -> None:
        """Sets it to so many seconds ahead of the real one."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(str(ahead))
        fresh.replace(self._file)
        self.ahead = ahead

    def __call__(self) -> float:
        return time.time() + self.ahead
