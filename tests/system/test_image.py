"""The container image: built from the Dockerfile and run with the documents' commands, by a real engine."""

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxycore import __version__
from tests.support import containers
from tests.support.containers import Container, Engine
from tests.support.documents import OPERATIONS, README, blocks, commands, text_of
from tests.support.process import ROOT
from tests.support.wire import CHUNKED, RawUpstream, Seen, chunk, connect

IMAGE = "gemini-key-proxy"
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
UPSTREAM_KEY = "the-first-upstream-key"
CLIENT = ("x-goog-api-key", "a-key-for-all-clients")
MISSING = [tool for tool in containers.TOOLS if shutil.which(tool) is None]

needs_engine = pytest.mark.skipif(
    bool(MISSING or os.geteuid()), reason=f"not root, or not installed: {', '.join(MISSING)}"
)


def arguments_of(command: str, *, demo: bool = False) -> list[str]:
    """The arguments of `docker build` or `docker run` in the documents, which all say the same."""
    shown = {line for line in commands() if line.startswith(command)}
    (line,) = (one for one in shown if one.endswith("--demo") == demo)
    return shlex.split(line.removeprefix(command))


def private_copy(folder: Path) -> Path:
    """The source as its owner alone may read it, with secrets and waste of all kinds beside it."""
    source = folder / "source"
    # What these match may change while other tests run.
    changing = shutil.ignore_patterns(".[!d]*", "__pycache__", "node_modules", "*.lock")
    shutil.copytree(ROOT, source, ignore=changing)
    (source / ".env").write_text("GOOGLE_API_KEY=secret\n")
    for name in (
        ".git/config",
        "proxycore/runtime/__pycache__/app.pyc",
        "proxycore/admin/page/.env",
        "node_modules/x.js",
    ):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("secret")
    for path in (source, *source.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return source


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that has built the image."""
    with containers.engine() as made:
        made.provide_base()
        made.build(*arguments_of("docker build"), folder=private_copy(tmp_path_factory.mktemp("image")))
        yield made


def test_the_dockerfile_is_clean() -> None:
    told = subprocess.run(
        [Path(sys.executable).parent / "hadolint", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode, told.stdout) == (0, "")


@needs_engine
def test_its_labels_are_the_projects(engine: Engine) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    labels = engine.inspect("image", IMAGE, ".Config.Labels")
    names = {"title": "name", "description": "description", "licenses": "license"}
    for label, name in names.items():
        assert labels[f"org.opencontainers.image.{label}"] == project[name]
    assert labels["org.opencontainers.image.version"] == __version__


@needs_engine
def test_nothing_goes_into_it_but_the_program(
    engine: Engine, record_property: Callable[[str, object], None]
) -> None:
    found = engine.files(IMAGE, "/app")
    assert {"requirements.txt", "server.py", "proxycore/runtime/app.py"} <= set(found)
    program = r"requirements\.txt|server\.py|proxycore/(?:\w+/)*\w+\.py|proxycore/admin/page/[\w-]+\.\w+"
    assert [path for path in found if not re.fullmatch(program, path)] == []
    size, base = (engine.inspect("image", name, ".Size") for name in (IMAGE, containers.BASE))
    record_property("image size", f"{size / 1e6:.0f} MB, {(size - base) / 1e6:.0f} of them ours")


@needs_engine
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("source", "workers"), [("environment", 1), ("mounted file", 2)])
async def test_it_runs_as_documented_and_a_stream_survives_its_stop(
    source: str, workers: int, engine: Engine, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    stopping = asyncio.Event()

    async def slow(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"data: 1\r\n\r\n"))
        await stopping.wait()
        writer.write(chunk(b"data: 2\r\n\r\n") + b"0\r\n\r\n")

    async with RawUpstream(slow) as upstream:
        write_settings(tmp_path, UPSTREAM_URL=upstream.url, WORKERS=str(workers))
        arguments = from_file(tmp_path) if source == "mounted file" else arguments_of("docker run")
        with engine.run(*arguments, folder=tmp_path) as container:
            port = await asyncio.to_thread(lambda: container.port)
            check_confinement(container)
            kind, *healthcheck = engine.inspect("image", IMAGE, ".Config.Healthcheck.Test")
            assert kind == "CMD"
            await asyncio.to_thread(container.exec, *healthcheck)
            async with connect(port) as client:
                client.send("POST", STREAM, CLIENT, body=b"{}")
                await client.head()
                record_property(
                    f"memory of the container, WORKERS={workers}", f"{container.memory() / 1e6:.0f} MB"
                )
                stop = asyncio.create_task(asyncio.to_thread(container.stop))
                await asyncio.to_thread(container.wait_for, "stopping: waiting up to 30 s for 1 request")
                stopping.set()
                assert b"".join([data async for data in client.chunks()]).endswith(b"data: 2\r\n\r\n")
            assert await stop == 0
            assert [seen.key for seen in upstream.seen] == [UPSTREAM_KEY]
            assert "Traceback" not in container.log


@needs_engine
@pytest.mark.parametrize("command", ["--demo", "python server.py --demo"])
def test_flags_go_to_the_program_and_anything_else_is_a_command(
    command: str, engine: Engine, tmp_path: Path
) -> None:
    write_settings(tmp_path)
    with engine.run(*arguments_of("docker run"), *command.split(), folder=tmp_path) as container:
        container.wait_for("The mock of the Gemini API has 10 keys")


@needs_engine
def test_the_demo_runs_as_the_readme_says_and_streams(engine: Engine, tmp_path: Path) -> None:
    arguments = ["-d", *arguments_of("docker run", demo=True)]
    arguments.remove("--rm")  # the log is read after its end
    (request,) = (block for block in blocks(README) if block.code.startswith("curl "))
    with engine.run(*arguments, folder=tmp_path) as container:
        told = subprocess.run(
            ["sh", "-c", request.code.replace("8000", str(container.port))],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    assert request.output
    assert told.stdout.startswith(request.output.partition("...")[0])


def write_settings(folder: Path, **variables: str) -> None:
    variables |= {"GOOGLE_API_KEY_1": UPSTREAM_KEY, "OUTPUT_API_KEY": CLIENT[1]}
    file = folder / ".env"
    # Docker hands quotes on.
    file.write_text("".join(f'{name}="{value}"\n' for name, value in variables.items()))
    file.chmod(0o644)  # pytest's folders are its user's alone; a file that is mounted is reached past them


def from_file(folder: Path) -> list[str]:
    """The arguments of `docker run` with `.env` mounted, as documented, instead of read by Docker."""
    mount = re.search(r'`(-v "\$PWD/\.env:[^`]+)`', text_of(OPERATIONS))
    assert mount
    arguments = arguments_of("docker run")
    place = arguments.index("--env-file")
    return arguments[:place] + shlex.split(mount[1].replace("$PWD", str(folder))) + arguments[place + 2 :]


def check_confinement(container: Container) -> None:
    """Neither root, nor capabilities, nor a file system that can be written to, other than /dev/shm."""
    status = (container.process / "status").read_text()
    assert re.search(r"^Uid:\t10001\t10001\t10001\t10001$", status, re.MULTILINE)
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    mounts = (container.process / "mounts").read_text()
    writable = set(re.findall(r"^\S+ (\S+) \S+ rw", mounts, re.MULTILINE))
    assert not writable & {"/", "/tmp", "/var/tmp", "/run"}  # noqa: S108 - in the container
