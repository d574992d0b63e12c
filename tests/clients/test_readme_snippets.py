"""The READMEs' snippets, as they stand but for the port: each says what the README says that it says."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.common import JAVASCRIPT, NODE
from tests.support.process import ROOT, TLS, Program, certify, program

README = (ROOT / "README.md").read_text(encoding="utf-8")
# Code, and what it prints below it.
_PAIR = re.compile(
    r"^```(python|js|sh)\n((?:(?!^```).)*)^```\n+```\n((?:(?!^```).)*)^```$", re.MULTILINE | re.DOTALL
)
_SETTINGS = re.compile(r"^```json\n(.*)\n```$", re.MULTILINE)
_SERVER = ("python3 -m venv",)  # it does not end, and tests/system/test_end_to_end.py starts it
SNIPPETS = [(*pair,) for pair in _PAIR.findall(README) if not pair[1].startswith(_SERVER)]


def test_there_are_snippets() -> None:
    assert {language for language, _, _ in SNIPPETS} == {"python", "js", "sh"}
    assert len(SNIPPETS) >= 14


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `cert.pem`, `key.pem`, and `ca.pem` to trust."""
    folder = tmp_path_factory.mktemp("tls")
    certify(folder, "localhost")
    return folder


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with program("--demo", folder=tmp_path_factory.mktemp("demo")) as running:
        assert running.port
        yield running


@pytest.fixture(scope="module")
def secure_demo(certificate: Path) -> Iterator[Program]:
    with program("--demo", folder=certificate, environment=TLS) as running:
        assert running.port
        yield running


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.mark.parametrize(
    ("language", "code", "output"), SNIPPETS, ids=[re.sub(r"\W+", " ", code)[:60] for _, code, _ in SNIPPETS]
)
def test_a_snippet_prints_what_the_readme_shows(  # noqa: PLR0917 - pytest passes them by name
    language: str,
    code: str,
    output: str,
    demo: Program,
    secure_demo: Program,
    certificate: Path,
    npm_packages: Path,
    langchain_python: Path,
    tmp_path: Path,
    stack: contextlib.ExitStack,
) -> None:
    if "upload" in code:
        # What belongs to a key waits for that key: it shall not be spent by other snippets.
        demo = stack.enter_context(program("--demo", folder=tmp_path))
    code = code.replace("http://localhost:8000", f"http://localhost:{demo.port}")
    code = code.replace("https://localhost:8000", f"https://localhost:{secure_demo.port}")
    python = str(langchain_python) if "langchain" in code else sys.executable
    command = {
        "python": [python, "-c", code],
        "js": [str(NODE), "--input-type=module", "-e", code],
        "sh": ["sh", "-c", code],
    }[language]
    (tmp_path / ".gemini").mkdir()
    settings = _SETTINGS.search(README)
    assert settings
    (tmp_path / ".gemini" / "settings.json").write_text(settings[1])
    done = subprocess.run(
        command,
        cwd=JAVASCRIPT if language == "js" else ROOT,
        env={
            "PATH": f"{NODE.parent}:{npm_packages / '.bin'}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "SSL_CERT_FILE": str(certificate / "ca.pem"),
            "GEMINI_CLI_TRUST_WORKSPACE": "true",  # it asks, and there is nobody to answer
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for wanted in filter(None, (line.split("...")[0].strip() for line in output.splitlines())):
        if not wanted.startswith(("X-Request-Id", "HTTP/1.1")):
            assert wanted in done.stdout
