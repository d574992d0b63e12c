"""Secrets, planted wherever one can be: none comes out in the log, metrics, status, page or state file."""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from tests.support.process import program
from tests.support.waiting import PATIENCE, until
from tests.support.wire import RawUpstream, Seen, answer, ask, connect

pytestmark = pytest.mark.usefixtures("io_loop")
MODEL = "gemini-2.5-flash"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"

GOOD, BAD, SPENT, FORMER = (
    "AIzaSy-planted-good",
    "AIzaSy-planted-bad",
    "AIzaSy-planted-spent",
    "AIzaSy-planted-former",
)
CLIENT, ALICE, ADMIN = "client-planted-1", "client-planted-2", "admin-planted"
PROXY_PASSWORD, REDIS_PASSWORD = "proxy-planted!pw", "redis-planted!pw"
KEYS_PROXY_PASSWORD = "key's-proxy-planted"
HOOK = "hook-planted-token"
PROMPT, ANSWER, WRONG, COOKIE, QUERY = (
    "prompt-planted",
    "answer-planted",
    "wrong-key-planted",
    "cookie-planted",
    "query-planted",
)
SECRETS = [
    GOOD,
    BAD,
    SPENT,
    FORMER,
    CLIENT,
    ALICE,
    ADMIN,
    PROXY_PASSWORD,
    "proxy-planted%21pw",
    KEYS_PROXY_PASSWORD,
    REDIS_PASSWORD,
    HOOK,
]
PRIVATE = [PROMPT, ANSWER, WRONG, COOKIE, QUERY]


def refusal(key: str) -> bytes:
    """An error that quotes the key wherever an error can."""
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": f"REASON_{key}",
        "metadata": {"consumer": f"projects/{key}", "key": key},
    }
    quota = {"quotaId": f"PerMinute{key}", "quotaValue": "1"}
    failure = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [quota]}
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "30s"}
    details = [info, failure, retry]
    status, word = (429, "RESOURCE_EXHAUSTED") if key == SPENT else (403, "PERMISSION_DENIED")
    error = {
        "error": {
            "code": status,
            "status": word,
            "message": f"Consumer 'api_key:{key}' is refused.",
            "details": details,
        }
    }
    return answer(status, json.dumps(error).encode(), ("X-Echo", key))


async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
    if seen.key in {BAD, SPENT}:
        writer.write(refusal(seen.key))
    elif "broken" in seen.target:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\nX-Echo: {GOOD}\r\n\r\n"
        writer.write((head + ANSWER).encode())
        writer.close()
    else:
        writer.write(answer(200, f'{{"text": "{ANSWER}"}}'.encode(), ("X-Echo", GOOD)))


async def traffic(port: int) -> list[bytes]:
    """Every kind of request, with something secret in every place; returns what the client saw."""
    body = json.dumps({"contents": [{"parts": [{"text": PROMPT}]}], "key": GOOD}).encode()
    fields = [
        ("x-goog-api-key", CLIENT),
        ("Cookie", COOKIE),
        ("X-Request-Id", ALICE),
        ("X-Secret", GOOD),
        ("User-Agent", GOOD),
    ]
    targets = [
        f"{GENERATE}?key={ALICE}&q={QUERY}",
        f"/v1beta/models/{GOOD}:generateContent",
        f"/v1beta/models/{BAD}:streamGenerateContent?q={QUERY}",
        f"{GENERATE}?broken={QUERY}",
        f"/nowhere/{GOOD}?key={CLIENT}",
        f"/v1beta/files/{GOOD}",
        "/v1beta/openai/chat/completions",
        f"/status.json?key={CLIENT}",
        f"/metrics?key={ADMIN}",
    ]
    seen = [
        (await ask(port, "POST", target, *fields, body=body)).body for target in targets for _ in range(2)
    ]
    for wrong in (f"{GENERATE}?key={WRONG}", f"{GENERATE}?access_token={WRONG}"):
        got = await ask(port, "POST", wrong, ("Authorization", f"Bearer {WRONG}"), body=body)
        seen += [got.body]
    async with connect(port) as client:
        client.send("GET", f"@{GOOD}/", *fields)
        client.send("GET", f"/ws/{GOOD}?key={CLIENT}", ("Upgrade", "websocket"), *fields)
        client.send("GET", "/healthz", ("Connection", "close"))
        seen += [await asyncio.wait_for(client.reader.read(), PATIENCE)]
    return seen


@pytest.mark.parametrize("form", ["text", "json"])
async def test_no_secret_comes_out_anywhere_at_any_level(form: str, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    keys = f"GOOGLE_API_KEY_1={GOOD}\nGOOGLE_API_KEY_2={BAD}\nGOOGLE_API_KEY_3={SPENT}\n"
    file.write_text(f"{keys}GOOGLE_API_KEY_4={FORMER}\nMAX_WAIT=0.2\n")
    async with RawUpstream(script) as upstream:
        environment = {
            "UPSTREAM_URL": upstream.url,
            "OUTPUT_API_KEY": CLIENT,
            "OUTPUT_API_KEY_ALICE": ALICE,
            "ADMIN_API_KEY": ADMIN,
            "REDIS_URL": "redis://user:redis-planted%21pw@127.0.0.1:9",
            "ALERT_URL": f"json://127.0.0.1:9/{HOOK}",
            "LOG_LEVEL": "debug",
            "LOG_FORMAT": form,
            "STATE_FILE": "state.db",
            "WATCH_ENV_FILE": "off",
        }
        with program(folder=tmp_path, environment=environment) as started:
            port = await asyncio.to_thread(lambda: started.port)
            answers = await traffic(port)
            file.write_text(
                f"{keys}UPSTREAM_PROXY=http://user:proxy-planted%21pw@127.0.0.1:9\n"
                f"UPSTREAM_PROXY_2=socks5://user:{KEYS_PROXY_PASSWORD}@127.0.0.1:9\n"
                "MAX_ATTEMPTS=1\nMAX_WAIT=0.2\n"
            )
            started.signal(signal.SIGHUP)
            await until(lambda: "reloaded" in started.log)
            answers += await traffic(port)
            admin = ("x-goog-api-key", ADMIN)
            shown = [(await ask(port, "GET", path, admin)).body for path in ("/status.json", "/metrics", "/")]
            for asked in ({"action": "try", "key": "1"}, {"action": "release", "key": "2"}):
                order = json.dumps(asked).encode()
                kind = ("Content-Type", "application/json")
                shown.append((await ask(port, "POST", "/status.json", admin, kind, body=order)).body)
            async with connect(port) as client:
                client.send("GET", "/status.json", admin, ("Accept", "text/event-stream"))
                await client.head()
                shown.append(await anext(client.chunks()))
            started.signal(signal.SIGTERM)
            assert await asyncio.to_thread(started.exit_status) == 0
            log = started.log
    kept = (tmp_path / "state.db").read_bytes().decode("latin-1")
    for text in [log, kept, *(one.decode() for one in shown)]:
        assert [secret for secret in [*SECRETS, *PRIVATE] if secret in text] == []
    keys_only = [GOOD, BAD, SPENT, FORMER, PROXY_PASSWORD, KEYS_PROXY_PASSWORD, REDIS_PASSWORD]
    assert [key for key in keys_only for one in answers if key.encode() in one] == []
    for text in (log, kept):
        assert "[key 1]" in text  # which was in the paths
        assert "[client key ALICE]" in text  # which was offered as an id
    assert "benched" in log
    assert "Traceback" not in log
