"""The image, without a container engine: its files, its install step, its CMD, its HEALTHCHECK."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.conftest import KEYS
from tests.process import ROOT, Program

DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} +(.*)$", DOCKERFILE, re.MULTILINE)


def context() -> list[Path]:
    """The files that .dockerignore leaves: the last rule that matches a file or a folder above it decides."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    kept = []
    visible = [path for path in ROOT.iterdir() if path.name not in {".git", ".venv"}]
    for path in (deep for top in visible for deep in (top, *top.rglob("*"))):
        relative = path.relative_to(ROOT)
        names = [str(relative), *(str(parent) for parent in relative.parents if parent.name)]
        ignored = False
        for rule in rules:
            pattern = rule.removeprefix("!")
            if any(
                fnmatch(name, pattern) or fnmatch(f"/{name}", pattern.replace("**", "*")) for name in names
            ):
                ignored = not rule.startswith("!")
        if path.is_file() and not ignored:
            kept.append(relative)
    return sorted(kept)


def test_the_dockerfile_is_clean() -> None:
    told = subprocess.run(
        [Path(sys.executable).parent / "hadolint", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode, told.stdout) == (0, "")


def test_nothing_goes_into_the_image_but_the_program() -> None:
    names = [str(path) for path in context()]
    assert {"requirements.txt", "server.py", "proxycore/app.py"} <= set(names)
    assert not [
        name
        for name in names
        if not re.fullmatch(
            r"requirements\.txt|server\.py|proxycore/(?:\w+/)?\w+\.py|proxycore/page/\w+\.\w+", name
        )
    ]


def test_it_does_not_run_as_root_and_gets_signals() -> None:
    (user,) = instructions("USER")
    assert user.isdigit()
    assert int(user) != 0
    (command,) = instructions("CMD")
    assert json.loads(command)[0] == "python"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the image has it, with an environment of its own that only the Dockerfile's pip filled."""
    folder = tmp_path_factory.mktemp("image")
    for path in context():
        target = folder / "app" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, target)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    (install,) = re.findall(r"pip install [^&]*", instructions("RUN")[0])
    arguments = shlex.split(install)
    subprocess.run(
        [folder / "venv" / "bin" / arguments[0], *arguments[1:], "--quiet", "--disable-pip-version-check"],
        cwd=folder / "app",
        check=True,
    )
    return folder


def test_the_installed_program_starts_with_its_cmd_and_answers_its_healthcheck(image: Path) -> None:
    environment = {
        **KEYS,
        "PATH": f"{image / 'venv' / 'bin'}:{os.environ['PATH']}",
        "PORT": str(free_port()),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    check = json.loads(instructions("HEALTHCHECK")[0].partition("CMD ")[2])

    def healthy() -> int:
        told = subprocess.run(check, cwd=image / "app", env=environment, capture_output=True, check=False)
        return told.returncode

    assert healthy() == 1  # nothing runs yet
    running = Program(json.loads(instructions("CMD")[0]), environment, image / "app")
    try:
        assert str(running.port) == environment["PORT"]
        assert healthy() == 0
        began = time.monotonic()
        running.process.terminate()
        assert running.exit_status() == 0
        assert time.monotonic() - began < 5
    finally:
        running.end()
