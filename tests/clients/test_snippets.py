"""The documents' snippets, unmodified but for the port: each prints what the document shows below it."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.common import JAVASCRIPT, NODE
from tests.support.documents import ENGLISH, Block, blocks
from tests.support.process import ROOT, TLS, Program, certify, program

_LANGUAGES = {"python", "js", "sh"}
_SERVER = ("python3 -m venv",)  # it does not end, and tests/system/test_end_to_end.py starts it
# The guides' commands convert files of other programs, which tests/system/test_guides.py provides.
_DOCUMENTS = [one for one in ENGLISH if one.name != "guides.md"]
_BLOCKS = [block for document in _DOCUMENTS for block in blocks(document)]
SNIPPETS = list(
    dict.fromkeys(
        block
        for block in _BLOCKS
        if block.language in _LANGUAGES and block.output is not None and not block.code.startswith(_SERVER)
    )
)
(_CLI_SETTINGS,) = {block.code for block in _BLOCKS if block.language == "json" and "security" in block.code}


def test_there_are_snippets() -> None:
    assert len(SNIPPETS) >= 18
    shown = [block for block in _BLOCKS if block.language in {"python", "js"}]
    assert [block.code for block in shown if block.output is None] == []


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
    "snippet", SNIPPETS, ids=[re.sub(r"\W+", " ", snippet.code)[:60] for snippet in SNIPPETS]
)
def test_a_snippet_prints_what_the_document_shows(  # noqa: PLR0917 - pytest passes them by name
    snippet: Block,
    demo: Program,
    secure_demo: Program,
    certificate: Path,
    npm_packages: Path,
    langchain_python: Path,
    tmp_path: Path,
    stack: contextlib.ExitStack,
) -> None:
    code, output, language = snippet.code, snippet.output or "", snippet.language
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
    (tmp_path / ".gemini" / "settings.json").write_text(_CLI_SETTINGS)
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
