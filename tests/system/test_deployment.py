"""What docs/ has for those who run the proxy: accepted by the tools it is for, and true to the program."""

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxycore.runtime.settings import Settings
from tests.support.process import ROOT, program
from tests.support.proxy import KEYS
from tests.support.servers import DOCS, VARIABLES, document, needs, run

DRAIN = Settings.drain_timeout
PORT = Settings.port
DASHBOARD = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))


# Prometheus and Grafana.


def panels() -> Iterator[tuple[str, str]]:
    """Every query of the dashboard, with its panel's title."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DOCS / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


@needs("promtool")
def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("admin")
    config = document("prometheus.yml", {"/run/secrets/admin_api_key": "key"})
    (tmp_path / "prometheus.yml").write_text(config)
    shutil.copy(DOCS / "alerts.yml", tmp_path)
    assert "SUCCESS: 1 rule files found" in run("promtool", "check", "config", tmp_path / "prometheus.yml")


@needs("promtool")
def test_alerts_fire_when_they_should_and_not_before() -> None:
    run("promtool", "check", "rules", DOCS / "alerts.yml")
    run("promtool", "test", "rules", ROOT / "tests" / "support" / "alerts_test.yml")


def test_every_alert_says_what_it_is_and_what_to_do() -> None:
    tested = (ROOT / "tests" / "support" / "alerts_test.yml").read_text(encoding="utf-8")
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert len(rule["annotations"]["summary"]) < 100
        assert len(rule["annotations"]["description"]) > 100
        assert f'"{rule["alert"]}"' in tested


@needs("promtool")
def test_the_dashboard_asks_in_promql(tmp_path: Path) -> None:
    queries = [text.replace("$__rate_interval", "5m") for _, text in panels()]
    rules = [{"record": "panel", "expr": text, "labels": {"n": str(n)}} for n, text in enumerate(queries)]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in run("promtool", "check", "rules", path)


def test_the_dashboard_can_be_imported_anywhere() -> None:
    source, instance = DASHBOARD["templating"]["list"]
    assert (source["type"], source["query"], instance["type"]) == ("datasource", "prometheus", "query")
    shown = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    for panel in shown:
        for asking in (panel, *panel["targets"]):
            assert asking["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)  # none covers another
    assert max(x for x, _ in cells) == 23


# Compose.


@pytest.fixture
def compose() -> Any:  # noqa: ANN401 - a document
    return yaml.safe_load((DOCS / "compose.yaml").read_text(encoding="utf-8"))


def test_compose_accepts_its_file() -> None:
    tool = Path(sys.executable).parent / "check-jsonschema"
    run(tool, "--builtin-schema", "vendor.compose-spec", DOCS / "compose.yaml")


def test_the_composed_program_has_settings_that_exist_and_time_to_end(compose: Any) -> None:  # noqa: ANN401
    proxy = compose["services"]["proxy"]
    assert set(proxy["environment"]) <= VARIABLES
    assert int(proxy["environment"]["PORT"]) == PORT
    assert proxy["ports"] == [f"{PORT}:{PORT}"]
    assert int(proxy["stop_grace_period"].removesuffix("s")) > DRAIN
    assert (proxy["read_only"], proxy["cap_drop"]) == (True, ["ALL"])
    host = re.fullmatch(r"redis://(\w+):6379", proxy["environment"]["REDIS_URL"])
    assert host
    assert host[1] in compose["services"]


def test_the_composed_prometheus_finds_its_files_the_proxy_and_the_key(compose: Any) -> None:  # noqa: ANN401
    prometheus = compose["services"]["prometheus"]
    sources = [volume.split(":")[0] for volume in prometheus["volumes"]]
    assert [(ROOT / source).is_file() for source in sources[:2]] == [True, True]
    assert sources[2] in compose["volumes"]
    (job,) = yaml.safe_load((DOCS / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    (secret,) = prometheus["secrets"]
    assert job["authorization"] == {"type": "Bearer", "credentials_file": f"/run/secrets/{secret}"}
    assert compose["secrets"][secret] == {"environment": "ADMIN_API_KEY"}
    ((host, port),) = [target.split(":") for target in job["static_configs"][0]["targets"]]
    assert (host in compose["services"], int(port)) == (True, PORT)


# systemd, and what it and containers take away.


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that there is here."""
    path = tmp_path / "gemini-key-proxy.service"
    python = "/opt/gemini-key-proxy/.venv/bin/python"
    path.write_text(document("gemini-key-proxy.service", {python: sys.executable}))
    return path


@needs("systemd-analyze")
def test_systemd_accepts_the_unit_and_finds_it_hardened(unit: Path) -> None:
    assert run("systemd-analyze", "verify", unit) == ""
    run("systemd-analyze", "security", "--offline=yes", "--threshold=15", unit)


def test_the_unit_stops_and_reloads_as_the_program_wants_it(unit: Path) -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE))
    assert (settings["KillSignal"], settings["KillMode"]) == ("SIGTERM", "mixed")
    assert settings["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert int(settings["TimeoutStopSec"]) > DRAIN
    assert settings["RestartPreventExitStatus"] == "2"


_CONFINED = (
    "for path in /tmp /var/tmp /dev/shm; do mount --bind $path $path; done && "
    "for path in / /tmp /var/tmp $READ_ONLY; do mount -o remount,ro,bind $path; done && "
    'exec setpriv --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs "$@"'
)
_PREFIX = ("unshare", "--mount", "sh", "-c", _CONFINED, "sh")
can_confine = pytest.mark.skipif(
    bool(os.geteuid() or os.system("unshare --mount mount -o remount,ro,bind / 2> /dev/null")),  # noqa: S605 - a fixed command
    reason="only root, and not in every container, can take things away",
)


@can_confine
def test_it_runs_with_nothing_to_write_to_but_dev_shm_and_without_capabilities() -> None:
    with program(folder=Path("/"), environment=KEYS | {"WORKERS": "2"}, prefix=_PREFIX) as running:
        assert running.port
        about = Path(f"/proc/{running.process.pid}/status").read_text()
        assert re.search(r"^CapEff:\t0+$", about, re.MULTILINE)
        mounts = Path(f"/proc/{running.process.pid}/mounts").read_text()
        assert re.findall(r"^\S+ (?:/|/tmp) \S+ (r[ow])", mounts, re.MULTILINE)[-2:] == ["ro", "ro"]
        running.signal(signal.SIGTERM)
        assert running.exit_status() == 0


@can_confine
def test_workers_without_any_place_for_their_sockets_are_told_what_to_set() -> None:
    environment = KEYS | {"WORKERS": "2", "READ_ONLY": "/dev/shm"}  # noqa: S108 - it is taken away
    with program(folder=Path("/"), environment=environment, prefix=_PREFIX) as running:
        assert running.exit_status() == 2
    assert "WORKERS: " in running.log
    assert "TMPDIR" in running.log
    assert "Traceback" not in running.log
