"""A real Prometheus reads the metrics as docs/ tells it to, and docs/ asks for none that there are not."""

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tornado.ioloop import IOLoop

from proxycore.demo import Health, MockServer
from tests.bench.machine import free_port
from tests.support.documents import API, text_of
from tests.support.process import Program, program
from tests.support.proxy import proxy
from tests.support.servers import DOCS, document, needs, server
from tests.support.waiting import PATIENCE
from tests.support.wire import ask
from tests.system.test_deployment import panels

pytestmark = pytest.mark.usefixtures("io_loop")
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
BODY = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
ADMIN = "the-admin-key"
BEARER = ("Authorization", f"Bearer {ADMIN}")
REQUESTS, AT_ONCE = 300, 30


@pytest.fixture
def mock(io_loop: IOLoop) -> Iterator[tuple[MockServer, dict[str, str]]]:
    """An upstream, and the settings of a proxy that has keys for it, one of them dead."""
    healths = [Health.healthy(), Health.healthy(), Health.suspended()]
    upstream = MockServer({f"AQ.{n}": health for n, health in enumerate(healths)})
    keys = {f"GOOGLE_API_KEY_{n}": secret for n, secret in enumerate(upstream.keys)}
    yield upstream, {"UPSTREAM_URL": upstream.listen(), "ADMIN_API_KEY": ADMIN} | keys
    io_loop.run_sync(upstream.stop)


async def send(port: int, count: int) -> None:
    """Requests that are served, each on a connection of its own."""
    got = await asyncio.gather(*(ask(port, "POST", STREAM, body=BODY) for _ in range(count)))
    assert {one.status for one in got} == {200}


async def test_docs_ask_for_metrics_that_there_are(mock: tuple[MockServer, dict[str, str]]) -> None:
    _, variables = mock
    keys = {name: value for name, value in variables.items() if name.startswith("GOOGLE")}
    async with proxy(variables["UPSTREAM_URL"], keys, ADMIN_API_KEY=ADMIN) as here:
        await send(here.port, 20)
        text = (await ask(here.port, "GET", "/metrics", BEARER)).body.decode()
    there = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE):
        there |= {f"{name}_{end}" for end in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    for path in ("alerts.yml", "grafana.json"):
        asked = set(re.findall(r"\bgemini_proxy_\w+", (DOCS / path).read_text(encoding="utf-8")))
        assert asked
        assert asked - there == set()
    told = {name.removesuffix("_bucket") for name in there if not name.endswith(("_sum", "_count"))}
    rows = re.findall(r"^\| `(gemini_proxy_\w+)", text_of(API), re.MULTILINE)
    assert (sorted(rows), len(rows)) == (sorted(told), len(told))


def checked(text: bytes) -> tuple[int, bytes]:
    """What promtool says of metrics."""
    told = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, check=False, timeout=PATIENCE
    )
    return told.returncode, told.stdout + told.stderr


@needs("promtool")
async def test_promtool_has_no_complaint_about_the_metrics(
    mock: tuple[MockServer, dict[str, str]], tmp_path: Path
) -> None:
    with program(folder=tmp_path, environment=mock[1]) as running:
        await send(running.port, 20)
        got = await ask(running.port, "GET", "/metrics", BEARER)
    assert checked(got.body) == (0, b"")


class Prometheus:
    """Asks one over its HTTP API."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def get(self, path: str) -> Any:  # noqa: ANN401 - what JSON holds
        got = await ask(self._port, "GET", f"/api/v1/{path}")
        told = json.loads(got.body)
        assert told["status"] == "success", told
        return told["data"]

    async def query(self, text: str) -> list[float]:
        data = await self.get(f"query?query={quote(text)}")
        return [float(sample["value"][1]) for sample in data["result"]]


def configured(folder: Path, running: Program) -> Path:
    """The configuration of docs/, for this proxy, with more haste."""
    (folder / "key").write_text(ADMIN)
    shutil.copy(DOCS / "alerts.yml", folder)
    replaced = {
        "scrape_interval: 15s": "scrape_interval: 1s",
        "evaluation_interval: 15s": "evaluation_interval: 1s",
        "/run/secrets/admin_api_key": "key",
        "- proxy:8000": f"- 127.0.0.1:{running.port}",
    }
    path = folder / "prometheus.yml"
    path.write_text(document("prometheus.yml", replaced))
    return path


@needs("prometheus")
async def test_a_real_prometheus_sums_what_four_workers_served_exactly(
    mock: tuple[MockServer, dict[str, str]], tmp_path: Path
) -> None:
    with program(folder=tmp_path, environment=mock[1] | {"WORKERS": "4"}) as running:
        port = free_port()
        command = (
            "prometheus",
            f"--config.file={configured(tmp_path, running)}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        )
        with server(*command, port=port, folder=tmp_path):
            prometheus = Prometheus(port)
            for _ in range(REQUESTS // AT_ONCE):
                await send(running.port, AT_ONCE)
            sent, deadline = time.time(), time.monotonic() + PATIENCE
            counted = "sum(gemini_proxy_requests_total)"
            later = f"on() (max(timestamp(gemini_proxy_requests_total)) > {sent})"
            while not (sums := await prometheus.query(f"{counted} and {later}")):
                assert time.monotonic() < deadline, "no scrape came"
                await asyncio.sleep(0.1)
            assert sums == [REQUESTS]
            assert await prometheus.query("gemini_proxy_workers") == [4]
            assert sum(await prometheus.query('gemini_proxy_attempts_total{answer="2xx"}')) == REQUESTS
            await every_panel_shows_something(prometheus)
            await only_the_dead_key_alerts(prometheus, running.port)


async def every_panel_shows_something(prometheus: Prometheus) -> None:
    """A rate needs two scrapes."""
    deadline = time.monotonic() + PATIENCE
    for title, text in panels():
        query = text.replace("$__rate_interval", "30s").replace("$instance", ".*")
        while not await prometheus.query(query):
            assert time.monotonic() < deadline, f"{title}: {query}"
            await asyncio.sleep(0.1)


async def only_the_dead_key_alerts(prometheus: Prometheus, port: int) -> None:
    """That alert begins to wait for its five minutes; no other has a reason to.

    That the key is dead is proved by requests over some ten seconds.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        (group,) = (await prometheus.get("rules"))["groups"]
        states = {rule["name"]: (rule["health"], rule["state"]) for rule in group["rules"]}
        dead = states.pop("GeminiKeysRetired")
        if dead == ("ok", "pending") and set(states.values()) == {("ok", "inactive")}:
            return
        assert time.monotonic() < deadline, group
        await send(port, 1)
        await asyncio.sleep(0.1)
