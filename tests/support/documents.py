"""The documents, and the blocks of code in them."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import ROOT

README = ROOT / "README.md"
API = ROOT / "docs" / "api.md"
OPERATIONS = ROOT / "docs" / "operations.md"
TRANSLATIONS = sorted([*ROOT.glob("*.zh-CN.md"), *(ROOT / "docs").glob("*.zh-CN.md")])
ENGLISH = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")} - {*TRANSLATIONS})

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OUTPUT = re.compile(r"\A\n+```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code: its language ("" for none), its text, and the output that is shown right below it."""

    language: str
    code: str
    output: str | None = None


def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def blocks(document: Path) -> list[Block]:
    """All blocks of code in a document, in order."""
    text = text_of(document)
    found = []
    for match in _BLOCK.finditer(text):
        output = _OUTPUT.search(text[match.end() :]) if match[1] else None
        found.append(Block(match[1], match[2], output and output[1]))
    return found


def commands() -> set[str]:
    """Every line of shell commands in the English documents; a command of several lines is one."""
    shell = (block.code for one in ENGLISH for block in blocks(one) if block.language in {"sh", "bash"})
    return {line for code in shell for line in re.sub(r"\\\n", "", code).splitlines()}
