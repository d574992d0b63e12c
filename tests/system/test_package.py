"""The program as a package: a wheel is built and installed, and its command runs from anywhere."""

import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from proxycore import __version__
from tests.support.process import ROOT, Program
from tests.support.waiting import PATIENCE

PAGE = sorted(path.name for path in (ROOT / "proxycore" / "admin" / "page").iterdir())


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a copy, since setuptools leaves files where it builds."""
    folder = tmp_path_factory.mktemp("wheel")
    copied = folder / "source"
    copied.mkdir()
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE", "server.py"):
        shutil.copy(ROOT / name, copied)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("proxycore", "tests"):
        shutil.copytree(ROOT / name, copied / name, ignore=ignored)
    pip("wheel", "--no-deps", "--wheel-dir", folder, copied)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed command, in an environment of its own that borrows the libraries of this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    pip("--python", folder / "bin" / "python", "install", "--no-deps", "--no-index", wheel)
    paths = sysconfig.get_path("purelib", vars={"base": str(folder)})
    (Path(paths) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "gemini-key-proxy"


def test_the_wheel_holds_the_program_with_its_page_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [archive.read(name) for name in names if name.endswith("/METADATA")]
    assert {f"proxycore/admin/page/{name}" for name in PAGE} <= set(names)
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"proxycore"}
    told = message_from_bytes(metadata)
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = {re.split(r"[~>=;\[ ]", line)[0] for line in lines if line and not line.startswith("#")}
    needed = {re.split(r"[~<>=;\[ ]", line)[0] for line in told.get_all("Requires-Dist", [])}
    assert needed == wanted
    assert (told["Requires-Python"], told["License-Expression"]) == (">=3.11", "MIT")


def test_the_installed_command_serves_the_page_from_another_folder(command: Path, tmp_path: Path) -> None:
    started = Program([str(command), "--demo"], {"HOST": "127.0.0.1", "PORT": "0"}, tmp_path)
    try:
        for path in ("", *(f"page/{name}" for name in PAGE)):
            with urllib.request.urlopen(f"{started.url}/{path}", timeout=PATIENCE) as answered:  # noqa: S310 - our own
                assert answered.status == 200
        assert "10 Gemini API keys" in started.log
    finally:
        started.end()


def test_the_installed_command_tells_its_own_name(command: Path) -> None:
    told = subprocess.run([command, "--help"], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.startswith("usage: gemini-key-proxy ")


def test_the_installed_command_tells_the_version_of_its_package(command: Path, wheel: Path) -> None:
    told = subprocess.run([command, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout == f"gemini-key-proxy {__version__}\n"
    assert wheel.name.startswith(f"gemini_key_proxy-{__version__}-")
