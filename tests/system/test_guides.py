"""docs/guides.md: its commands work as they stand, with files of other programs beside the proxy's folder."""

import asyncio
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from proxycore.demo import Health, MockServer
from proxycore.runtime.settings import parse
from tests.support.process import ROOT, Program, program
from tests.support.servers import DOCS

pytestmark = pytest.mark.usefixtures("io_loop")
GUIDES = (DOCS / "guides.md").read_text(encoding="utf-8")
CHINESE = (DOCS / "guides.zh-CN.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    \S.*$", re.MULTILINE)
KEYS = ("AQ.first-of-three-keys", "AQ.second-of-three-keys", "AQ.third-of-three-keys")
OTHER_KEY = "AQ.a-key-that-is-not-wanted"

GIT = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Test"), ("EMAIL", "test@example.com"))
} | {"GIT_CONFIG_NOSYSTEM": "1"}


class Snippet(NamedTuple):
    """A block of code, the headings that it is below, and the output that is shown for it."""

    section: str
    question: str
    language: str
    code: str
    output: str


def snippets() -> list[Snippet]:
    found = []
    for chapter in re.split(r"^## ", GUIDES, flags=re.MULTILINE)[1:]:
        for part in re.split(r"^### ", chapter, flags=re.MULTILINE):
            blocks = BLOCK.findall(part)
            for number, (language, code) in enumerate(blocks):
                follows = blocks[number + 1] if number + 1 < len(blocks) else ("none", "")
                output = follows[1] if follows[0] == "" else ""
                if language:
                    section, question = chapter.partition("\n")[0], part.partition("\n")[0]
                    found.append(Snippet(section, question, language, code, output))
    return found


def below(question: str) -> list[Snippet]:
    """The snippets below a heading."""
    found = [snippet for snippet in snippets() if snippet.question == question]
    assert found
    return found


def check_output(shown: str, printed: str) -> None:
    """Checks that something was printed that is shown; `...` stands for anything."""
    pattern = r".*?".join(re.escape(" ".join(part.split())) for part in shown.split("..."))
    assert re.search(pattern.replace(r"\ ", r"\s+"), printed, re.DOTALL), printed


class Folder:
    """The folder of a proxy whose keys are the mock's, with a home and other programs' folders beside it."""

    def __init__(self, path: Path, **environment: str) -> None:
        self.path = path / "gemini-key-proxy"
        self.path.mkdir()
        for name in ("server.py", "proxycore", "requirements.txt"):
            (self.path / name).symlink_to(ROOT / name)
        (self.path / ".venv").symlink_to(sys.prefix)
        self.write(".env", "OUTPUT_API_KEY=a-long-random-key-of-clients\n")
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(path), **environment}

    def write(self, name: str, text: str) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    async def run(self, code: str, **environment: str) -> str:
        """Runs commands that must all succeed; returns what they print on standard output."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *("sh", "-ec", code), cwd=self.path, env=self._environment | environment, stdout=pipe, stderr=pipe
        )
        out, err = await process.communicate()
        assert process.returncode == 0, out + err
        return out.decode()


async def run_all(folder: Folder, found: list[Snippet], **environment: str) -> None:
    """Runs shell snippets, one after the other, and checks what each prints."""
    mock = MockServer({key: Health.healthy() for key in KEYS})
    url = mock.listen()
    for snippet in found:
        assert snippet.language == "sh"
        check_output(snippet.output, await folder.run(snippet.code, UPSTREAM_URL=url, **environment))
    await mock.stop()


def test_the_chinese_guides_have_the_same_commands_links_and_parts() -> None:
    assert BLOCK.findall(GUIDES) == BLOCK.findall(CHINESE)
    for pattern in (r"\]\((https?://[^)]+)\)", r"^#{2,3} ", r"^\| ", r"^- ", r"^\d\. ", r"`[A-Z][A-Z_]{3,}`"):
        english, chinese = (Counter(re.findall(pattern, text, re.MULTILINE)) for text in (GUIDES, CHINESE))
        assert english == chinese


def test_every_snippet_is_run() -> None:
    run = {"Sizing": 2, "Backups": 2, "Upgrading": 2, "Migration": 6}
    assert Counter(snippet.section for snippet in snippets()) == run


# Sizing.


def test_the_example_of_sizing_is_right() -> None:
    (snippet,) = below("How many keys do I need?")
    told = subprocess.run([sys.executable, "-c", snippet.code], capture_output=True, text=True, check=True)
    assert told.stdout == snippet.output


async def test_learned_quotas_are_listed(tmp_path: Path) -> None:
    (snippet,) = below("Which limits does Google really apply?")
    folder = Folder(tmp_path)
    with program("--demo", folder=tmp_path) as demo:
        await asyncio.to_thread(ask_until_a_quota_is_learned, demo)
        code = snippet.code.replace("http://localhost:8000", demo.url)
        assert code != snippet.code
        check_output(snippet.output, await folder.run(code))


def ask_until_a_quota_is_learned(demo: Program) -> None:
    for _ in range(200):
        ask(
            f"{demo.url}/v1beta/models/gemini-2.0-flash:generateContent",
            b'{"contents": [{"parts": [{"text": "Hello"}]}]}',
        )
        keys = json.loads(ask(f"{demo.url}/status.json"))["keys"]
        if any(known["quotas"] for key in keys for known in key["models"].values()):
            return
    raise AssertionError("no quota was learned")


def ask(url: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - this host
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - this host
        answer: bytes = response.read()
        return answer


# Backups.


async def test_a_backup_has_all_files_that_the_settings_name_and_can_be_restored(tmp_path: Path) -> None:
    keep, restore = (
        [one for one in snippets() if one.section == "Backups" and ("-xzf" in one.code) is restores]
        for restores in (False, True)
    )
    folder = Folder(tmp_path)
    settings = "KEYS_FILE=keys.txt\nWATCH_ENV_FILE=off\nOUTPUT_API_KEY_FILE=secrets/client\n"
    folder.write(".env", f"{settings}#TLS_KEY_FILE=key.pem\n")
    folder.write("keys.txt", "\n".join(KEYS))
    folder.write("secrets/client", "a-long-random-key-of-clients")
    await run_all(folder, keep)
    archive = tmp_path / "gemini-key-proxy-backup.tar.gz"
    assert archive.stat().st_mode & 0o777 == 0o600
    for name in (".env", "keys.txt", "secrets/client"):
        (folder.path / name).unlink()
    await run_all(folder, restore)
    assert (folder.path / "secrets" / "client").is_file()


# Behind Cloudflare.


def test_the_settings_behind_cloudflare_are_accepted_and_below_its_limit() -> None:
    (part,) = re.findall(r"^### What do I set\?\n(.*?)^### ", GUIDES, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for line in INDENTED.findall(part)]
    given = dict(line.split("=", 1) for line in lines)
    assert set(given) == {"PUBLIC_URL", "ADMIN_API_KEY", "FIRST_BYTE_TIMEOUT"}
    given["ADMIN_API_KEY"] = "one-that-is-no-placeholder"
    settings = parse({"GOOGLE_API_KEY": KEYS[0], **given})
    assert settings.first_byte_timeout + settings.max_wait < 120
    assert "\n".join(f"    {line}" for line in lines) in CHINESE


# Upgrading.


async def test_an_upgrade_takes_the_new_version_and_checks_the_keys(tmp_path: Path) -> None:
    with_python, with_docker = below("How do I upgrade?")
    folder = Folder(tmp_path, **GIT)
    folder.write("keys.txt", "\n".join(KEYS))
    folder.write(".env", "KEYS_FILE=keys.txt\n")
    await folder.run(
        "git init -q -b main ../origin && cd ../origin && git commit -q --allow-empty -m one\n"
        "git clone -q . ../clone && mv ../clone/.git ../gemini-key-proxy\n"
        "git commit -q --allow-empty -m two"
    )
    await run_all(folder, [with_python])
    assert await folder.run("git log --format=%s") == "two\none\n"

    tools = tmp_path / "tools"
    folder.write("../tools/docker", '#!/bin/sh\necho "docker $*"\n')
    (tools / "docker").chmod(0o755)
    printed = await folder.run(with_docker.code, PATH=f"{tools}:{os.environ['PATH']}")
    documents = (
        ROOT / "README.md",
        *(path for path in DOCS.glob("*.md") if not path.name.startswith("guides")),
    )
    others = "".join(path.read_text(encoding="utf-8") for path in documents)
    build, stop, remove, run = printed.splitlines()
    assert f"\n{build}\n{run}\n" in others  # test_image.py runs those
    name = shlex.split(run)[shlex.split(run).index("--name") + 1]
    assert (stop, remove) == (f"docker stop {name}", f"docker rm {name}")


def test_the_commands_for_kubernetes_name_what_there_is() -> None:
    (deployment, container) = re.findall(r"kubectl set image deployment/(\S+) (\w+)=", GUIDES)[0]
    objects = yaml.safe_load_all((DOCS / "kubernetes.yaml").read_text(encoding="utf-8"))
    found = {one["metadata"]["name"]: one for one in objects if one["kind"] == "Deployment"}
    containers = found[deployment]["spec"]["template"]["spec"]["containers"]
    assert container in [one["name"] for one in containers]


# Migration.


def gemini_balance(folder: Folder) -> None:
    keys = json.dumps(KEYS)
    folder.write("../gemini-balance/.env", f'DATABASE_TYPE=sqlite\nAPI_KEYS={keys}\nALLOWED_TOKENS=["a"]\n')
    folder.write("../gemini-balance/data/default_db", "")
    database(
        folder.path / "../gemini-balance/data/default_db",
        "CREATE TABLE t_settings (id INTEGER PRIMARY KEY, key VARCHAR(100) UNIQUE, value TEXT)",
        "INSERT INTO t_settings (key, value) VALUES (?, ?)",
        [("ALLOWED_TOKENS", '["a"]'), ("API_KEYS", keys)],
    )


def gpt_load(folder: Folder) -> None:
    folder.write("../Downloads/keys-gemini-active.txt", "".join(f"{key}\n" for key in KEYS))


def one_api(folder: Folder) -> None:
    folder.write("../one-api/one-api.db", "")
    database(
        folder.path / "../one-api/one-api.db",
        "CREATE TABLE channels (id INTEGER PRIMARY KEY, type INTEGER, key TEXT, status INTEGER, name TEXT)",
        "INSERT INTO channels (type, key, status, name) VALUES (?, ?, ?, ?)",
        [
            (24, "\n".join(KEYS[:2]), 1, "two keys of our own"),
            (24, KEYS[2], 1, "一个"),
            (24, OTHER_KEY, 2, "disabled"),
            (1, "sk-of-another-provider", 1, "another provider"),
        ],
    )


def database(path: Path, table: str, insert: str, rows: list[tuple[object, ...]]) -> None:
    connection = sqlite3.connect(path)
    connection.execute(table)
    connection.executemany(insert, rows)
    connection.commit()
    connection.close()


WAYS: Mapping[str, Callable[[Folder], None]] = {
    "From gemini-balance": gemini_balance,
    "From gpt-load": gpt_load,
    "From one-api or new-api": one_api,
}
MIGRATIONS = [snippet for question in WAYS for snippet in below(question)]


@pytest.mark.parametrize(
    "snippet", MIGRATIONS, ids=lambda snippet: snippet.code.split("\n")[1] or snippet.code
)
async def test_the_keys_of_another_program_are_taken_over(snippet: Snippet, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    WAYS[snippet.question](folder)
    begin, check = below("How do I migrate my keys?")
    await run_all(folder, [begin, snippet, check])
    assert (folder.path / "keys.txt").stat().st_mode & 0o777 == 0o600
