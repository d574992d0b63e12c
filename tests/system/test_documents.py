"""The documents: their commands are those that tests run, their links lead somewhere, translations agree."""

import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from proxycore.runtime.settings import Settings
from tests.support.browser import needs_chromium
from tests.support.documents import ENGLISH, OPERATIONS, README, TRANSLATIONS, blocks, commands, text_of
from tests.support.process import ROOT, program

_DOCUMENTS = [*ENGLISH, *TRANSLATIONS]
# Commands that other tests run, by what they begin with.
_RUN_ELSEWHERE = {
    "docker build": "system/test_image.py",
    "docker run": "system/test_image.py",
    "docker compose": "system/test_deployment.py",
    "python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt": "system/test_end_to_end.py",
    "python3 -m venv .venv && .venv/bin/pip install -q -r requirements-dev.txt": ".ci/run",
    "python3 -m venv .venv && .venv/bin/pip install -r requirements-dev.txt": ".ci/run",
    ".venv/bin/python -m pytest": ".ci/run",
    ".venv/bin/pre-commit install": "",  # it changes the repository that the tests are in
}
_EDIT_SETTINGS = 'cp .env.example .env && "${EDITOR:-vi}" .env'
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def variables(text: str) -> list[str]:
    return re.findall(r"^\| `([A-Z][A-Z_]+(?:\*)?)` \|", text, re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    outside_code = re.sub(r"^```.*?^```$", "", text_of(document), flags=re.MULTILINE | re.DOTALL)
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in _HEADING.findall(outside_code)
    }


def test_every_command_is_run_by_a_test() -> None:
    # Those with an output by clients/test_snippets.py, those of the guides by test_guides.py.
    with_output = {
        line
        for document in ENGLISH
        for block in blocks(document)
        if block.language == "sh" and (block.output is not None or document.name == "guides.md")
        for line in re.sub(r"\\\n", "", block.code).splitlines()
    }
    rest = {one for one in commands() - with_output if not one.startswith((*_RUN_ELSEWHERE,))}
    rest -= {'cp .env.example .env && "${EDITOR:-vi}" .env'}
    assert {
        one for one in rest if not re.fullmatch(r"\.venv/bin/python -m tests\.bench[\w. ]*", one)
    } == set()


def test_the_example_becomes_the_settings_file(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_bytes((ROOT / ".env.example").read_bytes())
    (line,) = (one for one in commands() if one.startswith("cp .env.example"))
    environment = {"PATH": os.environ["PATH"], "EDITOR": "sed -i s/your-/my-/"}
    subprocess.run(
        ["sh", "-c", line.replace('"${EDITOR:-vi}"', "$EDITOR")], cwd=tmp_path, env=environment, check=True
    )
    assert "GOOGLE_API_KEY_1=my-first" in (tmp_path / ".env").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", sorted(one for one in commands() if "-m tests.bench" in one))
def test_the_benchmarks_that_are_named_exist(line: str) -> None:
    module = line.split()[2]
    assert importlib.util.find_spec(module)


def test_the_command_that_the_demo_prints_is_the_readmes(tmp_path: Path) -> None:
    (printed,) = (block.code for block in blocks(README) if block.code.startswith("curl "))
    with program("--demo", folder=tmp_path) as demo:
        command = printed.replace("8000", str(demo.port))
        assert re.sub(r"\s+", " ", command) in re.sub(r"\s+", " ", demo.log)


@pytest.mark.parametrize("document", _DOCUMENTS, ids=lambda one: one.name)
def test_links_lead_to_files_and_headings_that_exist(document: Path) -> None:
    for target in _LINK.findall(text_of(document)):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        file = document.parent / name if name else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("suffix", [".md", ".zh-CN.md"])
def test_every_file_in_docs_is_linked_from_the_readme_or_the_operations_page(suffix: str) -> None:
    pages = (ROOT / f"README{suffix}", OPERATIONS.with_suffix("").with_suffix(suffix))
    linked = {
        Path(target.partition("#")[0]).name for page in pages for target in _LINK.findall(text_of(page))
    }
    own = {path.name.replace(".zh-CN", "") for path in (ROOT / "docs").iterdir() if path.suffix != ".png"}
    assert own - {name.replace(".zh-CN", "") for name in linked} == set()


@pytest.mark.parametrize("chinese", TRANSLATIONS, ids=lambda one: one.name)
def test_a_translation_has_the_same_code_and_the_same_tables(chinese: Path) -> None:
    english = chinese.with_name(chinese.name.replace(".zh-CN", ""))
    assert blocks(english) == blocks(chinese)
    ours, theirs = text_of(english), text_of(chinese)
    assert variables(ours) == variables(theirs)
    for mark in ("\n## ", "\n### ", "\n| ", "\n- "):
        assert ours.count(mark) == theirs.count(mark), mark


def test_the_settings_tables_and_the_example_have_every_variable() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    in_example = re.findall(r"^#?([A-Z][A-Z_0-9]+)=", example, re.MULTILINE)
    known = {re.sub(r"_(1|2|ALICE)$", "_*", name) for name in in_example}
    assert known == set(variables(text_of(README)))
    modules = [ROOT / "proxycore" / "runtime" / name for name in ("settings.py", "credential_settings.py")]
    source = "".join(module.read_text(encoding="utf-8") for module in modules)
    for name in known - {"GOOGLE_API_KEY_*", "OUTPUT_API_KEY_*", "UPSTREAM_PROXY_*", "CLIENT_*"}:
        assert f'"{name.removesuffix("_SECONDS").removesuffix("_MAX")}' in source


def test_the_defaults_in_the_table_are_the_programs() -> None:
    defaults = {field.name: field.default for field in fields(Settings)}
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| `([^`]+)` \|", text_of(README), re.MULTILINE))
    for name, value in rows.items():
        attribute = name.lower()
        if attribute in defaults:
            default = defaults[attribute]
            shown = (
                "on" if default is True else f"{default:g}" if isinstance(default, float) else str(default)
            )
            assert value == shown


@needs_chromium
def test_the_pictures_are_made_by_a_script(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.pictures", str(tmp_path), "2"]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=120)
    pictures = {path.name for path in (ROOT / "docs").glob("*.png")}
    assert {path.name for path in tmp_path.iterdir()} == pictures
    texts = "".join(map(text_of, _DOCUMENTS))
    shown = set(re.findall(r"!\[[^]]*\]\((?:docs/)?(.+?)\)", texts))
    assert shown == pictures


def test_the_python_that_the_readme_asks_for_is_the_one_that_the_project_needs() -> None:
    assert 'requires-python = ">=3.11"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "**Python** 3.11 or newer" in text_of(README)
    assert Path(ROOT / "LICENSE").is_file()
