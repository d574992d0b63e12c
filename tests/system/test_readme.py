"""The READMEs: their commands and snippets work as they stand, and both say the same."""

import re
import subprocess
from dataclasses import fields
from pathlib import Path

from proxycore.runtime.settings import Settings
from tests.support.process import ROOT, program

README = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def variables(text: str) -> list[str]:
    return re.findall(r"^\| `([A-Z][A-Z_]+(?:\*)?)` \|", text, re.MULTILINE)


def test_the_command_that_the_demo_prints_answers(tmp_path: Path) -> None:
    printed = re.search(r"^  (curl .*?\}')$", README, re.MULTILINE | re.DOTALL)
    assert printed
    with program("--demo", folder=tmp_path) as demo:
        line = printed[1].replace("http://localhost:8000", demo.url)
        told = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True, timeout=60)
        assert printed[1].replace("8000", str(demo.port)) in demo.log
    assert 'You asked: \\"Write a short story' in told.stdout


def test_both_have_the_same_commands_and_outputs() -> None:
    assert BLOCK.findall(README) == BLOCK.findall(CHINESE)
    assert variables(README) == variables(CHINESE)
    assert README.count("\n## ") == CHINESE.count("\n## ")
    assert README.count("\n| ") == CHINESE.count("\n| ")


def test_the_settings_tables_and_the_example_have_every_variable() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    in_example = re.findall(r"^#?([A-Z][A-Z_0-9]+)=", example, re.MULTILINE)
    known = {re.sub(r"_(1|2|ALICE)$", "_*", name) for name in in_example}
    assert known == set(variables(README))
    modules = [ROOT / "proxycore" / "runtime" / name for name in ("settings.py", "credential_settings.py")]
    source = "".join(module.read_text(encoding="utf-8") for module in modules)
    for name in known - {"GOOGLE_API_KEY_*", "OUTPUT_API_KEY_*"}:
        assert f'"{name.removesuffix("_SECONDS").removesuffix("_MAX")}' in source


def test_the_defaults_in_the_table_and_the_example_are_the_programs() -> None:
    defaults = {field.name: field.default for field in fields(Settings)}
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| `([^`]+)` \|", README, re.MULTILINE))
    for name, value in rows.items():
        attribute = name.lower()
        if attribute in defaults:
            default = defaults[attribute]
            shown = (
                "on" if default is True else f"{default:g}" if isinstance(default, float) else str(default)
            )
            assert value == shown


def test_the_python_that_the_readme_asks_for_is_the_one_that_the_project_needs() -> None:
    assert 'requires-python = ">=3.11"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "Python 3.11 or newer" in README
    assert Path(ROOT / "LICENSE").is_file()
