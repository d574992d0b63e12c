"""`--check`: the result for each key, how it is reported, and what it costs."""

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import proxycore.runtime.key_check
from proxycore.demo import Health, MockServer
from proxycore.runtime.key_check import Finding, KeyCheck, State
from tests.support.outbound import http_proxy
from tests.support.process import ROOT
from tests.support.proxy import settings
from tests.support.waiting import PATIENCE, quiet, until
from tests.support.wire import RawUpstream, Seen, always, answer

pytestmark = pytest.mark.usefixtures("io_loop")
LIST = ("GET", "/v1beta/models?pageSize=1000", 200)
COUNT = ("POST", "/v1beta/models/gemini-2.5-flash:countTokens")
HEALTHS = {
    "fine": Health.healthy(),
    "spent": Health.day_spent(),
    "dead": Health.suspended(),
    "off": Health.service_disabled(),
    "wrong": Health.invalid(),
    "down": Health.overloaded(),
    "fresh": Health.lists_only(),
}


def listing(*names: str, **more: object) -> bytes:
    """The response with a list of models that can generate."""
    models = [{"name": f"models/{name}", "supportedGenerationMethods": ["generateContent"]} for name in names]
    return answer(200, json.dumps({"models": models, **more}).encode())


def quota(period: str, value: str) -> dict[str, object]:
    """Google's error for an exhausted quota."""
    violation = {"quotaId": f"GenerateRequests{period}PerProjectPerModel-FreeTier", "quotaValue": value}
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}


async def hang(_: Seen, _writer: asyncio.StreamWriter) -> None:
    """A script that never responds."""
    await asyncio.Event().wait()


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


async def found(url: str) -> list[Finding]:
    """What a check of one key finds."""
    return await KeyCheck(settings(url, {"GOOGLE_API_KEY_1": "AQ.one"})).run(lambda _: None)


def named(healths: Mapping[str, Health]) -> tuple[MockServer, dict[str, str]]:
    """A mock with these keys, and their secrets by name."""
    keys = {name: f"AQ.secret-of-{name}" for name in healths}
    return MockServer({keys[name]: health for name, health in healths.items()}), keys


async def test_the_table_has_every_key_and_no_secret(tmp_path: Path) -> None:
    mock, keys = named(HEALTHS)
    status, out, err = await check(tmp_path, keys, UPSTREAM_URL=mock.listen())
    await mock.stop()
    assert status == 0
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert rows["name"].split() == ["name", "state", "reason", "project", "models", "time"]
    assert " works " in rows["fine"]
    assert "(gemini " in rows["fine"]
    assert " works " in rows["spent"]  # the check uses none of its quota
    assert "retired  suspended or leaked" in rows["dead"]
    assert "benched  SERVICE_DISABLED" in rows["off"]
    assert "retired  API key not valid or expired" in rows["wrong"]
    assert "unknown  upstream error (status 503)" in rows["down"]
    assert "retired  may list models, but not generate: ACCESS_TOKEN_TYPE_UNSUPPORTED" in rows["fresh"]
    assert out.endswith("2 of 7 keys work.\n")
    assert sorted(err.splitlines()) == [
        "key dead: retired, suspended or leaked",
        "key down: unknown, upstream error (status 503)",
        "key fine: works",
        "key fresh: retired, may list models, but not generate: ACCESS_TOKEN_TYPE_UNSUPPORTED",
        "key off: benched, SERVICE_DISABLED",
        "key spent: works",
        "key wrong: retired, API key not valid or expired",
    ]
    assert "AQ." not in out + err
    assert "\x1b" not in out + err


async def test_each_key_lists_models_and_then_counts_tokens_which_uses_no_quota(
    tmp_path: Path,
) -> None:
    healths = HEALTHS | {"one": Health.quota(1)}
    mock, keys = named(healths)
    for _ in range(3):
        status, _, _ = await check(tmp_path, keys, UPSTREAM_URL=mock.listen())
    await mock.stop()
    assert status == 0
    calls = {name: [call for call in mock.calls if call.key == secret] for name, secret in keys.items()}
    for name in ("fine", "spent", "one", "fresh"):
        assert [(call.method, call.target, call.status) for call in calls[name]] == 3 * [
            LIST,
            (*COUNT, 401 if name == "fresh" else 200),
        ]
    for name in ("dead", "off", "wrong", "down"):
        assert [(call.method, call.target) for call in calls[name]] == 3 * [LIST[:2]]


ADVICE = {
    "invalid": "replace it with a new key: https://aistudio.google.com/apikey",
    "expired": "replace it with a new key",
    "suspended": "replace it with a key of another project",
    "leaked": "leaked: delete it",
    "unsupported_token": "if it is new, wait a few minutes",
    "lists_only": "if it is new, wait a few minutes",
    "service_disabled": r"enable the Gemini API in its project.*googleapis\.com/overview\?project=5\d+$",
    "service_blocked": r"restricted to other APIs.*/apis/credentials\?project=5\d+$",
    "referrer_blocked": "restricted to web pages",
    "ip_blocked": "restricted to other IP addresses: add that of this machine",
    "forbidden": "check the key and its project",
    "overloaded": "check again later",
    "bad_region": "set UPSTREAM_PROXY",
    "healthy": "^$",
}


async def test_for_each_kind_of_failure_it_says_what_to_do(tmp_path: Path) -> None:
    mock, keys = named({name: getattr(Health, name)() for name in ADVICE})
    url = mock.listen()
    (_, table, _), (status, out, _) = await asyncio.gather(
        check(tmp_path, keys, UPSTREAM_URL=url), check(tmp_path, keys, "--json", UPSTREAM_URL=url)
    )
    await mock.stop()
    told = {key["name"]: key["advice"] for key in json.loads(out)["keys"]}
    assert status == 0
    assert [name for name, advice in told.items() if not re.search(ADVICE[name], advice)] == []
    assert f"  keys lists_only, unsupported_token: {told['lists_only']}\n" in table
    assert all(f": {advice}\n" in table for advice in told.values() if advice)


@pytest.mark.parametrize(
    ("status", "message", "details", "state", "told"),
    [
        (402, "Your prepayment credits are depleted.", [], None, "add credit: https://ai.studio/projects"),
        (429, "Your prepayment credits are depleted.", [], "benched", "add credit"),
        (429, "Your project has exceeded its monthly spending cap.", [], "benched", "raise the spending cap"),
        (
            429,
            "Quota exceeded.",
            [quota("PerDay", "20")],
            "benched",
            r"quota resets at \d{4}-\d\d-\d\d \d\d:",
        ),
        (
            429,
            "Quota exceeded for metric: x, limit: 5. Please retry in 30s.",
            [],
            "benched",
            r"quota resets at \d{4}-\d\d-\d\d \d\d:",
        ),
        (429, "Quota exceeded for metric: x, limit: 0, model: gemini", [], "benched", "enable billing"),
        (400, "Gemini API free tier is not available in your country.", [], "benched", "enable billing"),
        (400, "User location is not supported for the API use.", [], "unknown", "set UPSTREAM_PROXY"),
        (
            403,
            "Your project has been denied access. Please contact support.",
            [],
            "benched",
            "denied its project",
        ),
        (
            403,
            "Access to x is restricted from your billing country and was denied for project 12345.",
            [],
            "benched",
            "another billing account",
        ),
        (404, "models/gemini-9 is not found", [], "works", ""),
        (
            404,
            "models/gemini-9 is not found for API version v1beta, or is not supported for countTokens.",
            [],
            "works",
            "",
        ),
        (
            404,
            "This model models/gemini-9 is no longer available to new users.",
            [],
            "benched",
            "a key of another project",
        ),
    ],
)
async def test_the_response_to_counting_tokens_decides_the_state_of_a_key(
    status: int, message: str, details: list[object], state: str | None, told: str
) -> None:
    error = {"code": status, "message": message, "status": "UNKNOWN", "details": details}
    refusal = answer(status, json.dumps({"error": error}).encode())

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(listing("gemini-9") if seen.method == "GET" else refusal)

    async with RawUpstream(script) as upstream:
        (key,) = await found(upstream.url)
    assert key.models == ("gemini-9",)
    assert state in {None, key.state}
    assert re.search(told, key.advice)
    assert bool(key.until) == ("resets at" in told)


async def test_a_model_that_fails_does_not_fail_the_key_while_another_serves() -> None:
    gone = answer(404, b'{"error": {"code": 404, "message": "This model is no longer available."}}')

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.method == "GET":
            writer.write(listing("gemini-1-flash", "gemini-2-pro"))
        else:
            writer.write(gone if "flash" in seen.target else answer(200, b"{}"))

    async with RawUpstream(script) as upstream:
        (key,) = await found(upstream.url)
    assert (key.state, key.reason, key.advice) == ("works", "", "")


async def test_names_in_wide_characters_leave_the_table_aligned(tmp_path: Path) -> None:
    mock, keys = named({"a": Health.healthy(), "b": Health.suspended()})
    _, out, _ = await check(
        tmp_path, {"备用": keys["a"], "b": keys["b"]}, UPSTREAM_URL=mock.listen(), PYTHONIOENCODING="utf-8"
    )
    await mock.stop()
    rows = out.splitlines()[:3]
    assert rows[0].startswith("name  state")
    assert sorted(row.split()[0:2] for row in rows[1:]) == [["b", "retired"], ["备用", "works"]]
    assert "b     retired" in out
    assert "备用  works" in out  # two characters, four columns


async def test_a_terminal_that_lacks_characters_gets_others_and_no_traceback(tmp_path: Path) -> None:
    mock, keys = named({"a": Health.healthy()})
    status, out, err = await check(
        tmp_path, {"备用": keys["a"]}, UPSTREAM_URL=mock.listen(), PYTHONIOENCODING="ascii"
    )
    await mock.stop()
    assert status == 0
    assert "\\u5907\\u7528  works" in out
    assert "Traceback" not in err


async def test_a_reader_that_closes_the_pipe_early_causes_no_traceback(tmp_path: Path) -> None:
    mock, keys = named({"fine": Health.healthy()})
    ours, theirs = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "server.py"),
        "--check",
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "GOOGLE_API_KEY_1": keys["fine"], "UPSTREAM_URL": mock.listen()},
        stdout=theirs,
        stderr=subprocess.PIPE,
    )
    os.close(ours)
    os.close(theirs)
    _, err = await process.communicate()
    await mock.stop()
    assert err == b"key 1: works\n"


async def test_with_json_standard_output_is_one_json_document(tmp_path: Path) -> None:
    mock, keys = named(HEALTHS)
    status, out, _ = await check(
        tmp_path, {"fine": keys["fine"], "off__shop": keys["off"]}, "--json", UPSTREAM_URL=mock.listen()
    )
    await mock.stop()
    content = json.loads(out)
    assert (status, content["checked"], content["working"]) == (0, 2, 1)
    fine, off = content["keys"]
    assert (fine["name"], fine["state"], fine["reason"]) == ("fine", "works", "")
    assert "gemini-2.5-flash" in fine["models"]
    assert fine["seconds"] > 0
    assert (off["name"], off["state"], off["project"], off["models"]) == ("off", "benched", "shop", [])


async def test_it_fails_when_no_key_works(tmp_path: Path) -> None:
    mock, keys = named({"dead": Health.suspended(), "off": Health.service_disabled()})
    status, out, _ = await check(tmp_path, keys, UPSTREAM_URL=mock.listen())
    await mock.stop()
    assert status == 1
    assert out.endswith("0 of 2 keys work.\n")


async def test_a_network_error_is_not_attributed_to_keys_and_names_the_settings_to_check(
    tmp_path: Path,
) -> None:
    status, out, _ = await check(tmp_path, {"1": "AQ.one", "2": "AQ.two"}, UPSTREAM_URL="http://127.0.0.1:9")
    assert status == 1
    assert out.count("unknown  The upstream could not be reached: no connection to its address.") == 2
    assert " ms" not in out  # what differs from key to key would hide that it is one error
    assert out.splitlines()[-1].startswith(
        "All keys failed with the same error, so the keys are not the cause"
    )
    assert {"UPSTREAM_PROXY", "UPSTREAM_URL", "UPSTREAM_CA_FILE"} <= set(re.findall(r"[A-Z_]{8,}", out))


async def test_an_unsupported_region_is_reported_with_what_to_set(tmp_path: Path) -> None:
    mock, keys = named({"one": Health.bad_region(), "two": Health.bad_region()})
    status, out, _ = await check(tmp_path, keys, UPSTREAM_URL=mock.listen())
    await mock.stop()
    assert status == 1
    assert out.count("unknown  region not supported (status 400)") == 2
    assert "set UPSTREAM_PROXY" in out.splitlines()[-1]


async def test_a_response_that_is_not_about_the_key_leaves_its_state_unknown(tmp_path: Path) -> None:
    replies = {
        "trouble": (answer(503, b"{}"), "upstream error (status 503)"),
        "page": (answer(200, b"<html>"), "not a Google response"),
        "moved": (answer(302, b""), "not a Google response (status 302)"),
        "gone": (answer(404, b"<html>"), "not a Google response (status 404)"),
        "nowhere": (answer(404, b'{"error": {}}'), "the list of models is not available there (status 404)"),
    }

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(replies[seen.key.removeprefix("AQ.")][0])

    async with RawUpstream(script) as upstream:
        keys = {name: f"AQ.{name}" for name in replies}
        status, out, _ = await check(tmp_path, keys, "--json", UPSTREAM_URL=upstream.url)
    found = {key["name"]: (key["state"], key["reason"]) for key in json.loads(out)["keys"]}
    assert status == 1
    assert found == {name: ("unknown", reason) for name, (_, reason) in replies.items()}


async def test_a_key_without_any_model_works_since_it_is_accepted(tmp_path: Path) -> None:
    async with RawUpstream(always(answer(200, b"{}"))) as upstream:
        status, out, _ = await check(tmp_path, {"1": "AQ.one"}, "--json", UPSTREAM_URL=upstream.url)
    (key,) = json.loads(out)["keys"]
    assert (status, key["state"], key["models"]) == (0, "works", [])


@pytest.mark.parametrize("flags", [(), ("--json",)])
async def test_responses_can_neither_show_a_secret_nor_control_the_terminal(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "NO_AQ.refused\x1b[2J\nX"}
    error = {"code": 403, "status": "PERMISSION_DENIED", "details": [reason]}
    refusal = answer(403, json.dumps({"error": error}).encode())
    models = [
        {"name": "models/AQ.odd\x1b[2J\ud800", "supportedGenerationMethods": ["generateContent"]},
        {"name": "models/null", "supportedGenerationMethods": None},
        7,
        {},
    ]
    odd = answer(200, json.dumps({"models": models}).encode())

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(refusal if seen.key == "AQ.refused" else odd)

    async with RawUpstream(script) as upstream:
        keys = {"1": "AQ.refused", "2": "AQ.odd"}
        status, out, err = await check(tmp_path, keys, *flags, UPSTREAM_URL=upstream.url)
    assert status == 0
    assert "NO_[key 1] [2J X" in out
    assert "key 1: benched, NO_[key 1] [2J X\n" in err
    assert "AQ." not in out + err
    assert not re.search(r"[^\n -~]|\\u", out + err)


async def test_all_pages_of_a_long_list_count(tmp_path: Path) -> None:
    first = [f"gemini-{number}" for number in range(1000)]  # more than is read at once
    pages = {
        "/v1beta/models/gemini-0:countTokens": answer(200, b"{}"),
        "/v1beta/models?pageSize=1000": listing(*first, nextPageToken="a/b&c"),
        "/v1beta/models?pageSize=1000&pageToken=a%2Fb%26c": listing("imagen-4", nextPageToken="last"),
        "/v1beta/models?pageSize=1000&pageToken=last": answer(200, b"{}"),
    }

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(pages[seen.target])

    async with RawUpstream(script) as upstream:
        status, out, _ = await check(tmp_path, {"1": "AQ.one"}, "--json", UPSTREAM_URL=upstream.url)
    assert status == 0
    assert json.loads(out)["keys"][0]["models"] == [*first, "imagen-4"]
    *lists, count = [seen.target for seen in upstream.seen]
    assert [count, *lists] == list(pages)


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
async def test_an_upstream_that_stops_responding_is_abandoned_after_the_idle_timeout(
    beginning: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        await hang(seen, writer)

    monkeypatch.setattr(proxycore.runtime.key_check, "_LONGEST_IDLE", 0.1)
    async with RawUpstream(script) as upstream:
        findings = await asyncio.wait_for(KeyCheck(settings(upstream.url)).run(lambda _: None), PATIENCE)
    assert [finding.state for finding in findings] == ["unknown", "unknown"]


@pytest.mark.turned
async def test_many_keys_are_checked_eight_at_a_time() -> None:
    running, most = 0, 0

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await quiet()  # all concurrent ones have arrived
        running -= 1
        writer.write(listing("gemini"))

    async with RawUpstream(script) as upstream:
        keys = {f"GOOGLE_API_KEY_{number}": f"AQ.{number}" for number in range(20)}
        findings = await KeyCheck(settings(upstream.url, keys)).run(lambda _: None)
    assert [finding.state for finding in findings] == ["works"] * 20
    assert len(upstream.seen) == 40
    assert most == 8


async def test_on_a_terminal_progress_is_shown_apart_from_the_table(tmp_path: Path) -> None:
    mock, keys = named({"fine": Health.healthy(), "dead": Health.suspended()})
    ours, theirs = pty.openpty()
    environment = {f"GOOGLE_API_KEY_{name}": secret for name, secret in keys.items()}
    environment |= {"PATH": os.environ["PATH"], "TERM": "xterm", "UPSTREAM_URL": mock.listen()}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "server.py"),
        "--check",
        cwd=tmp_path,
        env=environment,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    out, _ = await process.communicate()
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    await mock.stop()
    assert process.returncode == 0
    assert "Testing keys" in shown
    assert "2/2" in shown
    assert "key fine: works" not in shown
    assert "keys work" not in shown
    assert b"\x1b" not in out
    assert out.endswith(b"1 of 2 keys work.\n")


async def test_an_interrupt_prints_nothing(tmp_path: Path) -> None:
    async with RawUpstream(hang) as upstream:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "server.py"),
            "--check",
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "GOOGLE_API_KEY_1": "AQ.one", "UPSTREAM_URL": upstream.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        await until(lambda: len(upstream.seen) == 1)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, out, err) == (130, b"", b"")


@pytest.mark.parametrize(
    ("flags", "variables", "status", "told"),
    [
        ([], {}, 1, "No Gemini API key is set: set GOOGLE_API_KEY_1."),
        ([], {"MAX_WAIT": "x"}, 2, "MAX_WAIT: 'x' is not a number"),
        ([], {"GOOGLE_API_KEY_1": "your-first-gemini-api-key"}, 1, "GOOGLE_API_KEY_1: still a placeholder"),
    ],
)
async def test_configuration_errors_are_reported(
    flags: list[str], variables: dict[str, str], status: int, told: str, tmp_path: Path
) -> None:
    got, _, err = await check(tmp_path, {}, *flags, **variables)
    assert got == status
    assert told in err
    assert "Traceback" not in err


def test_json_without_check_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "server.py", "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert "--json needs --check" in done.stderr


async def test_anyone_can_try_it_on_the_demo(tmp_path: Path) -> None:
    status, out, _ = await check(tmp_path, {}, "--demo")
    assert status == 0
    assert out.endswith("7 of 10 keys work.\n")


async def test_each_key_is_checked_through_its_own_outbound_proxy() -> None:
    keys = {
        "GOOGLE_API_KEY_1": "key-one",
        "GOOGLE_API_KEY_2__shop": "key-two",
        "GOOGLE_API_KEY_3": "key-three",
    }
    through_one, through_shops = bytearray(), bytearray()
    async with (
        RawUpstream(always(listing("gemini-2.5-flash"))) as upstream,
        http_proxy([], carried=through_one) as one,
        http_proxy([], carried=through_shops) as shops,
    ):
        proxies = {
            "UPSTREAM_PROXY_1": f"http://127.0.0.1:{one}",
            "UPSTREAM_PROXY_shop": f"http://127.0.0.1:{shops}",
        }
        findings = await KeyCheck(settings(upstream.url, keys, **proxies)).run(lambda _: None)
    assert [finding.state for finding in findings] == [State.WORKS] * 3
    carried = [set(re.findall(rb"key-\w+", way)) for way in (through_one, through_shops)]
    assert carried == [{b"key-one"}, {b"key-two"}]
    assert {seen.key for seen in upstream.seen} == set(keys.values())
