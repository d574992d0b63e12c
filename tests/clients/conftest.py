"""Clients that pip cannot put beside the others: npm's packages, and a Python client with a venv of its own.

Each is installed once for a checkout, and again when what it is installed from has changed.
"""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from tornado.ioloop import IOLoop

from tests.clients.common import FOLDER, JAVASCRIPT, NODE, NPM


@pytest.fixture(autouse=True)
def no_generators(io_loop: IOLoop) -> Iterator[None]:
    """Ends those that SDKs leave to the loop's end, which pytest-tornasync's loop does not have."""
    yield
    io_loop.run_sync(lambda: asyncio.get_running_loop().shutdown_asyncgens())


def install(target: Path, sources: Iterable[Path], *commands: Iterable[str | Path]) -> None:
    """Makes `target` by these commands, run in its folder, unless it was made from the same sources.

    The stamp inside is written last, so what was interrupted is not taken for done but made anew. Of the
    processes that the tests run in, one does it, and the others wait.
    """
    digest = hashlib.sha256(sys.version.encode() + b"".join(source.read_bytes() for source in sources))
    stamp = target / ".installed-from"
    with FileLock(target.with_name(f".{target.name.lstrip('.')}.lock")):
        if stamp.exists() and stamp.read_text() == digest.hexdigest():
            return
        shutil.rmtree(target, ignore_errors=True)
        for command in commands:
            _run(command, target.parent)
        stamp.write_text(digest.hexdigest())


def _run(command: Iterable[str | Path], folder: Path) -> None:
    done = subprocess.run(
        [*command],
        cwd=folder,
        # A company's own authority is known to the system, and not to the Node.js that pip installs.
        env={**os.environ, "NODE_USE_SYSTEM_CA": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def npm_packages() -> Path:
    """The folder that the packages of `package-lock.json` are in."""
    target = JAVASCRIPT / "node_modules"
    sources = [JAVASCRIPT / name for name in ("package.json", "package-lock.json")]
    install(target, sources, [NODE, NPM, "ci", "--no-audit", "--no-fund", "--ignore-scripts"])
    return target


@pytest.fixture(scope="session")
def langchain_python() -> Path:
    """The interpreter of a venv that LangChain is in."""
    requirements = FOLDER / "langchain" / "requirements.txt"
    venv = requirements.with_name(".venv")
    python = venv / "bin" / "python"
    pip: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
        requirements,
    ]
    install(venv, [requirements], [sys.executable, "-m", "venv", venv], pip)
    return python
