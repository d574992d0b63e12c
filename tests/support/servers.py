"""Debian's servers around the proxy (nginx, Caddy, Prometheus), and the tools that check files of docs/."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
VARIABLES = frozenset(
    re.findall(r"^#?([A-Z][A-Z_0-9]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
)
"""The settings that `.env.example` shows."""

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"  # where Debian has nginx, and users do not look


def needs(name: str) -> pytest.MarkDecorator:
    """Skips where a tool is missing."""
    return pytest.mark.skipif(shutil.which(name, path=_PATH) is None, reason=f"{name} is not installed")


def document(name: str, replaced: Mapping[str, str]) -> str:
    """A file of docs/ with texts replaced, each of which must be in it."""
    text = (DOCS / name).read_text(encoding="utf-8")
    for old, new in replaced.items():
        assert old in text, f"{old} is not in {name}"
        text = text.replace(old, new)
    return text


def run(*command: str | Path, folder: Path = ROOT) -> str:
    """Runs a tool that must succeed; returns what it prints."""
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout + told.stderr


@contextlib.contextmanager
def server(
    *command: str, port: int, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Runs it in `folder`, from when it listens on 127.0.0.1; what it says is in `said`."""
    said = folder / "said"
    with said.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={"PATH": _PATH, "HOME": str(folder)} | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while not _listens(port):
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
