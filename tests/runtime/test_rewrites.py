"""`.env` is rewritten in every way under a running program: authentication is right at every moment."""

import asyncio
import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.runtime.test_supervisor import workers
from tests.support.process import Program, program
from tests.support.rewrites import MANNERS, strangers, truncate_and_write
from tests.support.waiting import until
from tests.support.wire import RawUpstream, always, answer, ask

pytestmark = pytest.mark.usefixtures("io_loop")
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
CLIENT = ("x-goog-api-key", "the-client-key-that-stays")
PATIENCE = 60.0  # seconds; on a busy machine files settle later


def text(number: int) -> str:
    return (
        f"GOOGLE_API_KEY_1=AIza-one\nGOOGLE_API_KEY_2=AIza-{number}\nMAX_ATTEMPTS=3\n"
        f"ADMIN_API_KEY=the-admin-secret-{number}\nOUTPUT_API_KEY={CLIENT[1]}\n"
    )


class Crowd:
    """Clients with the right key and without any, which send requests until they are stopped."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.right: set[int] = set()
        self.without: set[int] = set()
        self.over = False
        self._addresses = strangers()
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(2)]

    async def _ask(self) -> None:
        while not self.over:
            self.right.add((await ask(self.port, "POST", GENERATE, CLIENT, body=b"{}")).status)
            address = next(self._addresses)
            self.without.add((await ask(self.port, "POST", GENERATE, body=b"{}", address=address)).status)
            await asyncio.sleep(0.01)

    async def end(self) -> None:
        self.over = True
        await asyncio.gather(*self._tasks)
        assert self.right == {200}
        assert self.without == {401}


async def taken(started: Program, number: int) -> None:
    """Waits until the admin key of this version is the right one."""

    fields, addresses = ("x-goog-api-key", f"the-admin-secret-{number}"), strangers()

    async def status() -> int:
        return (await ask(started.port, "GET", "/metrics", fields, address=next(addresses))).status

    async with asyncio.timeout(PATIENCE):
        while await status() != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("count", ["1", "2"])
@pytest.mark.timeout(300)
async def test_authentication_is_right_at_every_moment_while_the_file_is_rewritten(
    count: str, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text(text(0))
    async with RawUpstream(always(answer(200, b"{}"))) as upstream:
        # With Google's key set elsewhere, a lost file would open the proxy to everyone.
        around = {"UPSTREAM_URL": upstream.url, "GOOGLE_API_KEY_9": "AIza-elsewhere", "WORKERS": count}
        with program(folder=tmp_path, environment=around) as started:
            crowd = Crowd(await asyncio.to_thread(lambda: started.port))
            for number, manner in enumerate(MANNERS, 1):
                for _ in manner(file, text(number)):
                    started.signal(signal.SIGHUP)
                    await asyncio.sleep(0.02)
            await taken(started, len(MANNERS))
            # A leftover is rejected and logged once; the valid file is read again.
            file.write_text("GOOGLE_API_KEY_1=AIza-one\n")
            await until(lambda: "OUTPUT_API_KEY: was removed" in started.log, PATIENCE)
            file.unlink()
            await until(lambda: ".env: was removed" in started.log, PATIENCE)
            file.write_text(text(100))
            await taken(started, 100)
            await crowd.end()
            assert started.log.count(".env: was removed") == 1
            assert "Traceback" not in started.log


async def test_reloaded_means_that_all_workers_have_applied_it_and_none_of_them_reads_the_file(
    tmp_path: Path,
) -> None:
    file = tmp_path / ".env"
    file.write_text(text(0))
    async with RawUpstream(always(answer(200, b"{}"))) as upstream:
        around = {"UPSTREAM_URL": upstream.url, "WORKERS": "3"}
        with program(folder=tmp_path, environment=around) as started:
            port = await asyncio.to_thread(lambda: started.port)
            file.write_text(text(1))
            await until(lambda: "reloaded: 2 Gemini API keys" in started.log, PATIENCE)
            for _ in range(20):  # each on a connection of its own, for whichever worker is first
                admin = ("x-goog-api-key", "the-admin-secret-1")
                assert (await ask(port, "GET", "/metrics", admin)).status == 200
            # A replacement worker uses the settings in effect, whatever is in the file.
            file.write_text("nonsense\n")
            await until(lambda: ".env, line 1" in started.log, PATIENCE)
            before = workers(started)
            addresses = strangers()
            for pid in before:
                os.kill(pid, signal.SIGHUP)  # only the parent handles it
            os.kill(before[0], signal.SIGKILL)
            after: list[int] = []

            def replaced() -> bool:
                after[:] = workers(started)
                return len(after) == 3 and before[0] not in after

            await until(replaced, PATIENCE)
            assert set(before[1:]) < set(after)
            for _ in range(20):
                assert (await ask(port, "GET", "/metrics", admin)).status == 200
                got = await ask(port, "POST", GENERATE, body=b"{}", address=next(addresses))
                assert got.status == 401


async def test_a_stopped_worker_does_not_delay_the_reload_of_others(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(text(0))
    async with RawUpstream(always(answer(200, b"{}"))) as upstream:
        around = {"UPSTREAM_URL": upstream.url, "WORKERS": "2"}
        with program(folder=tmp_path, environment=around) as started:
            assert await asyncio.to_thread(lambda: started.port)
            still, _ = workers(started)
            os.kill(still, signal.SIGSTOP)
            file.write_text(text(1))
            await taken(started, 1)
            assert "reloaded" not in started.log
            os.kill(still, signal.SIGCONT)
            await until(lambda: "reloaded: 2" in started.log, PATIENCE)
            started.signal(signal.SIGTERM)
            assert await asyncio.to_thread(started.exit_status) == 0


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link", "device", "socket"])
def test_a_start_with_an_unusable_file_exits_with_2_and_the_reason(kind: str, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.path.relpath(file))
    else:
        file.symlink_to("/dev/zero" if kind == "device" else "nowhere")
    with program(folder=tmp_path, environment={"GOOGLE_API_KEY_1": "AIza-elsewhere"}) as started:
        assert started.exit_status() == 2
        assert re.search(
            r"^\.env: (a directory|not a regular file|a link to a file)", started.log, re.MULTILINE
        )
        assert "Traceback" not in started.log


def test_secrets_as_container_tools_hand_them_on_are_usable(tmp_path: Path) -> None:
    around = {
        "GOOGLE_API_KEY_1": '"AIza-one","AIza-two"',
        "OUTPUT_API_KEY": "'the-client-key-that-stays' # for all",
        "GEMINI_API_KEY_3": "AIza-three",
    }
    with program(folder=tmp_path, environment=around) as started:
        line = started.wait_for(re.compile("ready: .*"))[0]
        assert "2 Gemini API keys, client key required" in line
        assert "did you mean GOOGLE_API_KEY_3?" in started.log
        assert "AIza" not in started.log


def test_without_any_key_the_error_names_variables_that_were_probably_meant_as_keys(tmp_path: Path) -> None:
    with program(folder=tmp_path, environment={"GEMINI_API_KEY": "AIza-one"}) as started:
        loud = started.wait_for(re.compile("NO GEMINI API KEY.*"))[0]
        assert "GEMINI_API_KEY" in loud.removeprefix("NO GEMINI API KEY")
        assert "GOOGLE_API_KEY" in loud


async def test_a_keys_file_is_watched(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("AIza-one one shop\n")
    async with RawUpstream(always(answer(200, b"{}"))) as upstream:
        around = {"UPSTREAM_URL": upstream.url, "KEYS_FILE": "keys"}
        with program(folder=tmp_path, environment=around) as started:
            port = await asyncio.to_thread(lambda: started.port)
            for _ in truncate_and_write(tmp_path / "keys", "AIza-one one shop\nAIza-two two\n"):
                await asyncio.sleep(0)
            await until(lambda: "reloaded: 2 Gemini API keys" in started.log, PATIENCE)
            shown = json.loads((await ask(port, "GET", "/status.json", ("Host", "localhost"))).body)
            assert {key["name"] for key in shown["keys"]} == {"one", "two"}
            (tmp_path / "keys").unlink()
            await until(lambda: "KEYS_FILE: " in started.log, PATIENCE)
            assert (await ask(port, "POST", GENERATE, body=b"{}")).status == 200
