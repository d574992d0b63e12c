"""Keys are added, paused, annotated and removed while the program runs, in KEYS_FILE."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxycore.admin import key_changes
from proxycore.demo import Health, MockServer
from tests.support.documents import API, blocks
from tests.support.process import Program, program
from tests.support.proxy import proxy
from tests.support.wire import HOME, ask

pytestmark = pytest.mark.usefixtures("io_loop")
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
BODY = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
JSON = ("Content-Type", "application/json")
CLIENT = "a-client-secret-that-is-long-1"
ENV, ONE, TWO = ("AIzaSy" + letter * 33 for letter in "EAB")
NEW, DEAD, REFUSED = ("AIzaSy" + letter * 33 for letter in "NDR")
FILE = f"# ours\r\n\r\n{ONE}  one shop # first\r\n{TWO} two\n"
PATIENCE = 60.0  # seconds; on a busy machine files settle later


@dataclass
class Running:
    """The program with a KEYS_FILE, before a mock."""

    started: Program
    mock: MockServer
    file: Path

    async def act(self, status: int = 200, **asked: object) -> dict[str, Any]:
        """The answer to an action."""
        body = json.dumps(asked).encode()
        got = await ask(self.started.port, "POST", "/status.json", HOME, JSON, body=body)
        assert got.status == status, got.body
        content: dict[str, Any] = json.loads(got.body)
        assert not any(secret in got.body.decode() for secret in SECRETS)
        return content

    async def refusal(self, status: int, **asked: object) -> str:
        return str((await self.act(status, **asked))["error"]["message"])

    async def keys(self) -> dict[str, Any]:
        got = await ask(self.started.port, "GET", "/status.json", HOME)
        assert not any(secret in got.body.decode() for secret in SECRETS)
        return {key["name"]: key for key in json.loads(got.body)["keys"]}

    async def serving(self, count: int = 30) -> set[str | None]:
        """The keys that serve requests now."""
        self.mock.calls.clear()
        for _ in range(count):
            assert (await ask(self.started.port, "POST", GENERATE, HOME, body=BODY)).status == 200
        return {call.key for call in self.mock.calls}


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits until a condition holds that is asked for over the wire."""
    for _ in range(int(PATIENCE / 0.1)):
        if await condition():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it never did")


SECRETS = (ENV, ONE, TWO, NEW, DEAD, REFUSED)


@contextlib.asynccontextmanager
async def mocked() -> AsyncIterator[MockServer]:
    mock = MockServer(
        dict.fromkeys((ENV, ONE, TWO, NEW), Health.healthy())
        | {DEAD: Health.unknown(), REFUSED: Health.service_disabled()}
    )
    mock.listen()
    try:
        yield mock
    finally:
        await mock.stop()


@contextlib.asynccontextmanager
async def running(folder: Path, text: str | None = FILE, **variables: str) -> AsyncIterator[Running]:
    """The program, whose log has no secret at its end."""
    file = folder / "keys.txt"
    if text is not None:
        file.write_bytes(text.encode())
    async with mocked() as mock:
        environment = {
            "KEYS_FILE": "keys.txt",
            "ADMIN_WRITES": "on",
            "GOOGLE_API_KEY_env": ENV,
            "UPSTREAM_URL": mock.listen(),
            "STATE_FILE": "off",
        } | variables
        with program(folder=folder, environment=environment) as started:
            assert started.port  # it is ready
            yield Running(started, mock, file)
    assert not any(secret in started.log for secret in SECRETS)
    assert "Traceback" not in started.log


async def test_keys_are_added_from_a_pasted_text(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        text = f"""
            Hi, here they are: {NEW}, {DEAD}.
            export GOOGLE_API_KEY_late='{REFUSED}'
            GOOGLE_API_KEY_1={ONE}
            {{"key": "{ENV}"}}
        """
        told = await here.act(action="add", text=text, note="from Ann")
        assert told["message"].startswith("5 found: 2 added, 2 already there, 1 dead. Send them with force")
        assert [(one["key"], one["result"]) for one in told["found"]] == [
            ("…NNNN", "added"),
            ("…DDDD", "dead"),
            ("…RRRR", "added"),
            ("…AAAA", "already there"),
            ("…EEEE", "already there"),
        ]
        new, dead, refused, one, env = told["found"]
        assert (one["name"], env["name"], refused["name"], dead["name"]) == ("one", "env", "late", None)
        assert re.fullmatch(r"[0-9a-f]{8}", new["name"])
        assert (new["reason"], refused["reason"]) == (None, "SERVICE_DISABLED")
        assert here.file.read_bytes().decode() == (f"{FILE}{NEW} # from Ann\r\n{REFUSED} late # from Ann\r\n")
        assert here.file.stat().st_mode & 0o777 == 0o600
        examples = [json.loads(block.code) for block in blocks(API) if block.language == "json"]
        (example,) = (one for one in examples if "found" in one)
        assert set(told) == set(example)
        assert [set(one) for one in (new, dead)] == [set(one) for one in example["found"]]
        assert dead["reason"] == example["found"][1]["reason"]
        assert NEW in await here.serving(60)
        told = await here.act(action="add", text=f"{DEAD}\n{NEW}", force=True)
        assert [one["result"] for one in told["found"]] == ["added", "already there"]
        assert told["message"] == "2 found: 1 added, 1 already there."
        keys = await here.keys()
        assert len(keys) == 6
        assert keys[new["name"]]["note"] == "from Ann"
        line = here.started.wait_for(re.compile(r".*keys added manually.*"))[0]
        assert "added=2 present=2 dead=1 untried=0" in line
        assert "address=127.0.0.1" in line


async def test_a_paused_key_serves_nothing_until_it_is_resumed_and_stays_paused_after_a_restart(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as here:
        assert await here.serving() == {ENV, ONE, TWO}
        told = await here.act(action="pause", key="one")
        assert (told["message"], told["key"]["state"]) == ("Key one is paused.", "paused")
        assert here.file.read_bytes().decode() == FILE.replace(ONE, f"!{ONE}")
        assert await here.serving() == {ENV, TWO}
        metrics = (await ask(here.started.port, "GET", "/metrics", HOME)).body.decode()
        assert re.search(r'attempts_total\{answer="2xx",key="one"\}', metrics)
        assert 'keys{state="paused"} 1.0' in metrics
        assert told["key"]["health"] == "paused"
        for action in ("release", "try", "rest"):
            assert "is paused" in await here.refusal(409, action=action, key="one", seconds=9)
        assert (await here.act(action="pause", key="one"))["key"]["state"] == "paused"  # as it was
        here.started.wait_for(re.compile(r"key paused manually.*key=one.*address=127\.0\.0\.1"))
    async with running(tmp_path, None) as here:
        assert (await here.keys())["one"]["state"] == "paused"
        assert await here.serving() == {ENV, TWO}
        told = await here.act(action="resume", key="one")
        assert (told["message"], told["key"]["state"]) == ("Key one is resumed.", "ready")
        assert here.file.read_bytes().decode() == FILE
        assert await here.serving() == {ENV, ONE, TWO}
        here.started.wait_for(re.compile(r"ready: .*3 Gemini API keys \(1 paused\)"))


async def test_a_key_keeps_its_health_while_it_is_paused(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        await here.act(action="rest", key="two", seconds=3000)
        await here.act(action="pause", key="two")
        told = await here.act(action="resume", key="two")
        assert (told["key"]["state"], told["key"]["bench"]["reason"]) == ("benched", "manual")


async def test_with_all_keys_paused_clients_are_told_so(tmp_path: Path) -> None:
    async with running(tmp_path, f"{ONE} one\n!{TWO} two\n", GOOGLE_API_KEY_env="") as here:
        await here.act(action="pause", key="one")
        got = await ask(here.started.port, "POST", GENERATE, HOME, body=BODY)
        assert got.status == 401
        assert b"All Gemini API keys of this proxy are paused" in got.body
        assert (await ask(here.started.port, "GET", "/readyz", HOME)).status == 503
        here.started.wait_for(re.compile("ALL GEMINI API KEYS are paused"))
        assert len(await here.keys()) == 2


async def test_a_note_is_changed_and_a_key_removed(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        assert (await here.keys())["one"]["note"] == "first"
        told = await here.act(action="note", key="one", note=" Ann's, until May # 2 ")
        assert told["key"]["note"] == "Ann's, until May # 2"
        assert (await here.act(action="note", key="one"))["key"]["note"] is None
        assert here.file.read_bytes().decode() == FILE.replace(" # first", "")
        told = await here.act(action="remove", key="two")
        assert (told["message"], told["key"]) == ("Key two is removed.", None)
        assert here.file.read_bytes().decode() == FILE.replace(" # first", "").replace(f"{TWO} two\n", "")
        assert await here.serving() == {ENV, ONE}
        for word, key in (("annotated", "one"), ("without a note", "one"), ("removed", "two")):
            here.started.wait_for(re.compile(rf"key {word} manually.*key={key}"))


async def test_keys_of_the_environment_and_unknown_ones_are_not_changed(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        for action in ("pause", "resume", "remove", "note"):
            assert "environment or .env" in await here.refusal(409, action=action, key="env")
            await here.refusal(404, action=action, key="three")
            await here.refusal(404, action=action, key=["one"])
        assert here.file.read_bytes().decode() == FILE


INVALID: list[dict[str, object]] = [
    {"action": "add"},
    {"action": "add", "text": 1},
    {"action": "add", "text": "no key in here"},
    {"action": "add", "text": f"{CLIENT}\nkey={CLIENT}\nGOOGLE_API_KEY_1={CLIENT}"},
    {"action": "add", "text": "GOOGLE_API_KEY_1=your-first-gemini-api-key"},
    {"action": "add", "text": NEW, "note": "two\nlines"},
    {"action": "note", "key": "one", "note": 1},
    {"action": "note", "key": "one", "note": "x" * 201},
    {"action": "note", "key": "one", "note": f"was {ONE}"},
]


async def test_invalid_changes_are_refused_and_no_other_secret_is_sent(tmp_path: Path) -> None:
    async with running(tmp_path, OUTPUT_API_KEY=CLIENT) as here:
        for asked in INVALID:
            body, key = json.dumps(asked).encode(), ("x-goog-api-key", CLIENT)
            got = await ask(here.started.port, "POST", "/status.json", HOME, JSON, key, body=body)
            assert got.status == 400, asked
        body = json.dumps({"action": "pause", "key": "one"}).encode()
        got = await ask(here.started.port, "POST", "/status.json", HOME, JSON, body=body)
        assert got.status == 401
        assert here.file.read_bytes().decode() == FILE
        assert not here.mock.calls


async def test_without_admin_writes_nothing_is_changed(tmp_path: Path) -> None:
    async with running(tmp_path, ADMIN_WRITES="off") as here:
        for action in ("add", "pause", "resume", "remove", "note"):
            told = await here.refusal(403, action=action, key="one", text=NEW)
            assert "set ADMIN_WRITES=on, and KEYS_FILE" in told
        assert here.file.read_bytes().decode() == FILE
        assert not here.mock.calls


async def test_keys_that_cannot_be_tried_are_added_only_by_force(tmp_path: Path) -> None:
    text = f"{ONE}\n{NEW}\n{DEAD}\n"
    async with running(tmp_path, UPSTREAM_URL="http://127.0.0.1:9", WATCH_ENV_FILE="off") as here:
        told = await here.act(action="add", text=text)
        assert [one["result"] for one in told["found"]] == ["already there", "not tried", "not tried"]
        assert "could not be reached" in told["found"][1]["reason"]
        assert here.file.read_bytes().decode() == FILE
        told = await here.act(action="add", text=text, force=True)
        assert [one["result"] for one in told["found"]] == ["already there", "added", "added"]
        assert len(await here.keys()) == 5


async def test_a_new_key_is_tried_through_its_own_outbound_proxy(tmp_path: Path) -> None:
    async with running(tmp_path, UPSTREAM_PROXY_late="http://127.0.0.1:9") as here:
        told = await here.act(action="add", text=f"GOOGLE_API_KEY_late={REFUSED}\n{NEW}")
        assert [one["result"] for one in told["found"]] == ["not tried", "added"]
        assert {call.key for call in here.mock.calls} == {NEW}


async def test_a_file_that_cannot_be_changed_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, WATCH_ENV_FILE="off") as here:
        here.file.unlink()
        told = await here.refusal(503, action="pause", key="one")
        assert told == "KEYS_FILE is not changed: there is no such file."
        assert (await here.keys())["one"]["state"] == "ready"
        here.started.wait_for(re.compile(r"ERROR.*KEYS_FILE is not changed: .*action=pause.*address=127"))


async def test_a_change_that_is_not_loaded_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_changes, "_LOADED_WITHIN", 0.1)
    file = tmp_path / "keys"
    file.write_text(f"{ONE} one\n")
    async with proxy("http://127.0.0.1:9", {"KEYS_FILE": str(file), "ADMIN_WRITES": "on"}) as here:
        for asked in ({"action": "pause", "key": "one"}, {"action": "add", "text": NEW, "force": True}):
            got = await ask(here.port, "POST", "/status.json", HOME, JSON, body=json.dumps(asked).encode())
            assert got.status == 200
            assert b"The file is written, but not loaded yet: the log says why." in got.body
    assert file.read_text() == f"!{ONE} one\n{NEW}\n"


async def test_the_only_key_is_not_removed(tmp_path: Path) -> None:
    async with running(tmp_path, f"{ONE} one\n", GOOGLE_API_KEY_env="") as here:
        assert "pause it instead" in await here.refusal(409, action="remove", key="one")
        assert here.file.read_text() == f"{ONE} one\n"


async def test_changes_through_several_workers_are_all_made_and_reach_all(tmp_path: Path) -> None:
    names = [f"key{number}" for number in range(12)]
    text = "".join(f"AIzaSy{number:033} {name} # {name}\n" for number, name in enumerate(names))
    async with running(tmp_path, text, WORKERS="2") as here:
        for number in range(len(names)):
            here.mock.keys[f"AIzaSy{number:033}"] = Health.healthy()
        changes: list[dict[str, Any]] = [{"action": "pause", "key": name} for name in names[:4]]
        changes += [{"action": "note", "key": name, "note": f"new {name}"} for name in names[4:8]]
        changes += [{"action": "remove", "key": name} for name in names[8:]]
        changes += [{"action": "add", "text": secret} for secret in (NEW, REFUSED)]
        await asyncio.gather(*(here.act(**change) for change in changes))
        lines = here.file.read_text().splitlines()
        assert len(lines) == len(names) - 4 + 2
        assert sum(line.startswith("!") for line in lines) == 4
        assert sum("# new " in line for line in lines) == 4

        async def is_everywhere() -> bool:
            # A new connection may go to either worker.
            for _ in range(20):
                keys = await here.keys()
                paused = sum(key["state"] == "paused" for key in keys.values())
                if (len(keys), paused) != (11, 4):
                    return False
            return True

        await eventually(is_everywhere)
        assert {f"AIzaSy{number:033}" for number in range(4)}.isdisjoint(await here.serving())


async def test_five_thousand_keys_are_loaded_and_one_of_them_changed(tmp_path: Path) -> None:
    text = "".join(f"AIzaSy{number:033} key{number} p{number % 900} # n\n" for number in range(5000))
    async with running(tmp_path, text) as here:
        told = await here.act(action="pause", key="key4321")
        assert told["key"]["state"] == "paused"
        assert len(await here.keys()) == 5001
        assert here.file.read_text() == text.replace(f"AIzaSy{4321:033}", f"!AIzaSy{4321:033}")


async def test_hostile_lines_are_told_by_number_and_stay_as_they_are(tmp_path: Path) -> None:
    text = (
        f"{ONE} one\n{ONE} again\n!{ENV} env2\n!\nchangeme\n{DEAD},{NEW}\n\x1b[2J{REFUSED}\n"
        f"{TWO} {NEW}\n! {TWO} two # \x1b[31m was {DEAD} \u2028\n{REFUSED} one\n" + "x y z w\n" * 3
    )
    async with running(tmp_path, text) as here:
        keys = await here.keys()
        assert {name: key["state"] for name, key in keys.items()} == {
            "env": "ready",
            "one": "ready",
            "two": "paused",
            "y": "ready",
        }
        assert keys["two"]["note"] == "\x1b[31m was …"
        for number in (2, 3, 4, 5, 6, 7, 8, 10, 11, 12):
            here.started.wait_for(re.compile(rf"KEYS_FILE: line {number}: "))
        await here.act(action="pause", key="one")  # in both of its lines
        await here.act(action="resume", key="two")
        assert here.file.read_bytes().decode() == text.replace(ONE, f"!{ONE}").replace(f"! {TWO}", TWO)


async def test_a_change_by_hand_is_loaded_as_well(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.file.write_bytes(FILE.replace(TWO, f"! {TWO}").encode())

        async def is_paused() -> bool:
            return bool((await here.keys())["two"]["state"] == "paused")

        await eventually(is_paused)
