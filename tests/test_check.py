"""`--check`: what it finds out about each key, how it tells it, and what it costs."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxycore.demo import Health, StandIn
from tests.conftest import until
from tests.process import ROOT
from tests.wire import RawUpstream, always, answer

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.timeout(seconds=30)]
HEALTHS = {
    "fine": Health.healthy(),
    "spent": Health.day_spent(),
    "dead": Health.suspended(),
    "off": Health.service_disabled(),
}


async def check(folder: Path, keys: Mapping[str, str], *flags: str, **variables: str) -> tuple[int, str, str]:
    """Its exit status, and what it wrote to standard output and standard error."""
    environment = {f"GOOGLE_API_KEY_{name}": secret for name, secret in keys.items()} | variables
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "server.py"),
        "--check",
        *flags,
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def named(healths: Mapping[str, Health]) -> tuple[StandIn, dict[str, str]]:
    """A stand-in with these keys, and their secrets by name."""
    keys = {name: f"AQ.secret-of-{name}" for name in healths}
    return StandIn({keys[name]: health for name, health in healths.items()}), keys


async def test_a_table_tells_of_every_key_and_no_secret_is_in_it(tmp_path: Path) -> None:
    standin, keys = named(HEALTHS)
    status, out, err = await check(tmp_path, keys, UPSTREAM_URL=standin.listen())
    await standin.stop()
    assert status == 0
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert rows["name"].split() == ["name", "state", "reason", "project", "models", "time"]
    assert " works " in rows["fine"]
    assert "(gemini " in rows["fine"]
    assert " works " in rows["spent"]  # whose quotas are nobody's business here
    assert "retired  suspended or leaked" in rows["dead"]
    assert "benched  SERVICE_DISABLED" in rows["off"]
    assert out.endswith("2 of 4 keys work.\n")
    assert sorted(err.splitlines()) == [
        "key dead: retired, suspended or leaked",
        "key fine: works",
        "key off: benched, SERVICE_DISABLED",
        "key spent: works",
    ]
    assert "AQ." not in out + err
    assert "\x1b" not in out + err


async def test_each_key_costs_one_call_that_no_quota_counts(tmp_path: Path) -> None:
    standin, keys = named(HEALTHS)
    await check(tmp_path, keys, UPSTREAM_URL=standin.listen())
    await standin.stop()
    assert sorted(call.key for call in standin.calls) == sorted(keys.values())
    assert {(call.method, call.target.partition("?")[0]) for call in standin.calls} == {
        ("GET", "/v1beta/models")
    }


async def test_json_is_all_that_scripts_get(tmp_path: Path) -> None:
    standin, keys = named(HEALTHS)
    status, out, _ = await check(
        tmp_path, {"fine": keys["fine"], "off__shop": keys["off"]}, "--json", UPSTREAM_URL=standin.listen()
    )
    await standin.stop()
    content = json.loads(out)
    assert (status, content["checked"], content["working"]) == (0, 2, 1)
    fine, off = content["keys"]
    assert (fine["name"], fine["state"], fine["reason"]) == ("fine", "works", "")
    assert "gemini-2.5-flash" in fine["models"]
    assert fine["seconds"] > 0
    assert (off["name"], off["state"], off["project"], off["models"]) == ("off", "benched", "shop", [])


async def test_it_fails_when_no_key_works(tmp_path: Path) -> None:
    standin, keys = named({"dead": Health.suspended(), "off": Health.service_disabled()})
    status, out, _ = await check(tmp_path, keys, UPSTREAM_URL=standin.listen())
    await standin.stop()
    assert status == 1
    assert out.endswith("0 of 2 keys work.\n")


async def test_trouble_on_the_way_is_no_keys_fault_and_says_what_to_change(tmp_path: Path) -> None:
    status, out, _ = await check(tmp_path, {"1": "AQ.one", "2": "AQ.two"}, UPSTREAM_URL="http://127.0.0.1:9")
    assert status == 1
    assert out.count("unknown  The upstream could not be reached: nothing answers at its address.") == 2
    assert out.splitlines()[-1].startswith("All keys met the same trouble, so it is not the keys")
    assert "UPSTREAM_PROXY" in out


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (answer(503, b"{}"), "the upstream's trouble (status 503)"),
        (answer(200, b"<html>"), "not an answer of Google's"),
        (answer(302, b""), "not an answer of Google's (status 302)"),
        (answer(404, b"<html>"), "not an answer of Google's (status 404)"),
    ],
)
async def test_what_says_nothing_of_a_key_leaves_it_unknown(
    reply: bytes, reason: str, tmp_path: Path
) -> None:
    async with RawUpstream(always(reply)) as upstream:
        status, out, _ = await check(tmp_path, {"1": "AQ.one"}, "--json", UPSTREAM_URL=upstream.url)
    (key,) = json.loads(out)["keys"]
    assert (status, key["state"], key["reason"]) == (1, "unknown", reason)


async def test_hundreds_of_keys_are_tried_eight_at_a_time(tmp_path: Path) -> None:
    standin, keys = named({f"n{n}": Health.healthy() for n in range(40)})
    standin.think = 0.05
    checking = asyncio.ensure_future(check(tmp_path, keys, "--json", UPSTREAM_URL=standin.listen()))
    most = 0
    while not checking.done():
        most = max(most, sum(call.ended is None for call in standin.calls))
        await asyncio.sleep(0.002)
    await standin.stop()
    assert (await checking)[0] == 0
    assert len(standin.calls) == 40
    assert most == 8


async def test_on_a_terminal_a_bar_shows_how_far_it_is(tmp_path: Path) -> None:
    standin, keys = named({"fine": Health.healthy(), "dead": Health.suspended()})
    ours, theirs = pty.openpty()
    environment = {f"GOOGLE_API_KEY_{name}": secret for name, secret in keys.items()}
    environment |= {"PATH": os.environ["PATH"], "TERM": "xterm", "UPSTREAM_URL": standin.listen()}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "server.py"),
        "--check",
        cwd=tmp_path,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    assert await process.wait() == 0
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    await standin.stop()
    assert "Trying the keys" in shown
    assert "2/2" in shown
    assert "1 of 2 keys work." in shown
    assert "key fine: works" not in shown


async def test_it_is_interrupted_without_a_word(tmp_path: Path) -> None:
    standin, keys = named({"fine": Health.healthy()})
    standin.think = 30
    environment = {
        "PATH": os.environ["PATH"],
        "GOOGLE_API_KEY_1": keys["fine"],
        "UPSTREAM_URL": standin.listen(),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "server.py"),
        "--check",
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
    )
    await until(lambda: len(standin.calls) == 1)
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    await standin.stop()
    assert (process.returncode, err) == (130, b"")


@pytest.mark.parametrize(
    ("flags", "variables", "status", "told"),
    [
        ([], {}, 1, "No Gemini API key is set: set GOOGLE_API_KEY_1."),
        ([], {"MAX_WAIT": "x"}, 2, "MAX_WAIT: 'x' is not a number"),
        ([], {"GOOGLE_API_KEY_1": "your-first-gemini-api-key"}, 1, "GOOGLE_API_KEY_1: still a placeholder"),
    ],
)
async def test_mistakes_are_told(
    flags: list[str], variables: dict[str, str], status: int, told: str, tmp_path: Path
) -> None:
    got, _, err = await check(tmp_path, {}, *flags, **variables)
    assert got == status
    assert told in err
    assert "Traceback" not in err


def test_json_alone_is_no_command() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "server.py", "--json"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert "--json is for --check only" in done.stderr


async def test_anyone_can_try_it_on_the_demo(tmp_path: Path) -> None:
    status, out, _ = await check(tmp_path, {}, "--demo")
    assert status == 0
    assert out.endswith("5 of 7 keys work.\n")
