"""The start: an old Python, a missing library, `--help`, and invalid flags."""

import ast
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from proxycore import __version__
from proxycore.runtime.settings import LOG_FORMATS, LOG_LEVELS
from tests.support.process import ROOT

SERVER = ROOT / "server.py"
_LIBRARIES = {
    "tornado",
    "httptools",
    "redis",
    "websockets",
    "prometheus_client",
    "dotenv",
    "uvloop",
    "asyncio",
}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python without any library."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder)
    return folder / "bin" / "python"


def test_help_lists_the_flags_and_needs_no_library(bare: Path) -> None:
    told = run(bare, SERVER, "--help")
    assert (told.returncode, told.stderr) == (0, "")
    flags = ("--host", "--port", "--demo", "--check", "--json", "--log-level", "--log-format")
    for word in (*flags, *LOG_LEVELS, *LOG_FORMATS):
        assert word in told.stdout


def test_the_version_needs_no_library_either(bare: Path) -> None:
    told = run(bare, SERVER, "--version")
    assert (told.returncode, told.stdout, told.stderr) == (0, f"gemini-key-proxy {__version__}\n", "")


def test_help_imports_nothing_that_takes_time() -> None:
    told = run(sys.executable, "-X", "importtime", SERVER, "--help")
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.stderr.splitlines()}
    assert "argparse" in imported
    assert imported & _LIBRARIES == set()


@pytest.mark.parametrize("arguments", [(), ("--demo",), ("--check",)])
def test_a_missing_library_is_reported_in_two_lines_with_the_command_that_installs_it(
    arguments: tuple[str, ...], bare: Path
) -> None:
    told = run(bare, SERVER, *arguments)
    assert (told.returncode, told.stdout) == (2, "")
    missing, command = told.stderr.splitlines()
    assert missing == f"The Python library tornado is missing; this is {bare}."
    assert command.endswith(f"{bare} -m pip install -r {ROOT / 'requirements.txt'}")


def test_a_library_that_cannot_be_imported_is_reported_in_the_same_way(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "tornado").mkdir()
    (tmp_path / "tornado" / "__init__.py").touch()
    (tmp_path / "tornado" / "web.py").write_text("from tornado import nothing_of_this_name")
    told = run("env", f"PYTHONPATH={tmp_path}", bare, SERVER)
    assert told.returncode == 2
    assert "Traceback" not in told.stderr
    assert "The Python library tornado " in told.stderr
    assert len(told.stderr.splitlines()) == 2


@pytest.mark.parametrize("version", ["(2, 7, 18)", "(3, 6, 15)", "(3, 10, 99)"])
def test_an_old_python_gets_two_lines_that_say_what_to_do(version: str) -> None:
    pretended = f"import sys, runpy; sys.version_info = {version}; runpy.run_path({str(SERVER)!r})"
    told = run(sys.executable, "-c", pretended)
    assert (told.returncode, told.stdout) == (2, "")
    lines = told.stderr.splitlines()
    assert len(lines) == 2
    number = ".".join(version.strip("()").split(", "))
    assert "needs Python 3.11 or newer" in lines[0]
    assert f"Python {number} ({sys.executable})" in lines[0]
    assert "python3.11 -m venv .venv && .venv/bin/pip install -r requirements.txt" in lines[1]


def test_old_pythons_can_parse_the_version_check() -> None:
    source = SERVER.read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 7))  # the oldest that all supported versions can parse
    assert source.isascii()  # Python 2 would need an encoding declaration
    before_the_check = source.partition("sys.exit")[0]
    assert "def " not in before_the_check
    assert 'f"' not in before_the_check


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--json",), "--json needs --check"),
        (("--no-such-flag",), "unrecognized arguments: --no-such-flag"),
        (("--log-level", "loud"), "LOG_LEVEL: 'loud' is not one of debug, info, warning, error"),
        (("--log-format", "xml"), "LOG_FORMAT: 'xml' is not one of text, json"),
        (("--port", "http"), "PORT: 'http' is not a whole number"),
    ],
)
def test_invalid_flags_are_reported(arguments: tuple[str, ...], told: str) -> None:
    done = run(sys.executable, SERVER, *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
