"""The health check asks the running program, whatever the settings are by then."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proxycore.runtime import healthcheck
from tests.support.process import ROOT, TLS, certify, program
from tests.support.proxy import KEYS

SETTINGS = "GOOGLE_API_KEY_1=the-first-upstream-key\n"


def check(folder: Path, **environment: str) -> tuple[int, str]:
    """The exit status and what is printed, which is a single line."""
    told = subprocess.run(
        [sys.executable, "-m", "proxycore.runtime.healthcheck"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    assert told.stdout.count("\n") == (1 if told.returncode else 0), told.stdout
    return told.returncode, told.stdout


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        ((), {}),
        ((), {"WORKERS": "2"}),
        ((), {"HOST": "0.0.0.0"}),  # noqa: S104 - asked at home
        ((), {"HOST": "::1"}),
        ((), {"HOST": "::", "WORKERS": "2"}),
        ((), {"HOST": "localhost"}),
        ((), {"HOST": "127.0.0.2"}),
        (("--port", "0", "--host", "::1"), {"PORT": "1", "HOST": "0.0.0.0"}),  # noqa: S104 - a flag wins
        (("--demo",), {}),
        ((), TLS),
        ((), {**TLS, "HOST": "::", "WORKERS": "2"}),
    ],
    ids=lambda value: " ".join(value) or "plain",
)
def test_it_finds_the_program_wherever_it_listens_and_is_not_logged(
    arguments: tuple[str, ...], variables: dict[str, str], tmp_path: Path
) -> None:
    certify(tmp_path)
    with program(*arguments, folder=tmp_path, environment={**KEYS, **variables}) as running:
        assert running.port
        log = running.log
        assert check(tmp_path) == (0, "")
        assert running.log == log


def test_it_finds_the_program_behind_an_init_process(tmp_path: Path) -> None:
    prefix = ("sh", "-c", '"$@"; exit', "sh")  # as with Docker's --init, the first process is another
    with program(folder=tmp_path, environment=KEYS, prefix=prefix) as running:
        assert running.port
        assert check(tmp_path) == (0, "")
        os.kill(running.child, signal.SIGTERM)
        assert running.exit_status() == 0


def _dangle(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_text("no settings at all\n"),
        lambda file: file.write_text("GOOGLE_API_KEY_1=a\nMAX_WAIT=never\nPORT=http\n"),
        lambda file: file.write_text(SETTINGS + "PORT=1\nHOST=192.0.2.1\n"),
        lambda file: file.write_bytes(b"\xff\xfe\x00"),
        lambda file: file.unlink(),
        _dangle,
    ],
    ids=["half written", "mistakes", "another address", "binary", "gone", "dangling"],
)
def test_a_file_that_is_changed_or_faulty_does_not_make_the_program_unhealthy(
    spoil: Callable[[Path], object], tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text(SETTINGS)
    with program(folder=tmp_path) as running:
        assert running.port
        spoil(file)
        running.signal(signal.SIGHUP)
        running.wait_for(re.compile("reloaded|reload rejected"))
        assert check(tmp_path, PORT="1", HOST="192.0.2.1", TLS_CERT_FILE="missing.pem") == (0, "")


def test_a_pipe_in_place_of_the_file_does_not_stop_the_check(tmp_path: Path) -> None:
    with program(folder=tmp_path, environment={**KEYS, "WATCH_ENV_FILE": "off"}) as running:
        assert running.port
        os.mkfifo(tmp_path / ".env")
        assert check(tmp_path) == (0, "")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_follows_a_reload_from_http_to_https_and_back(workers: str, tmp_path: Path) -> None:
    certify(tmp_path)
    file = tmp_path / ".env"
    file.write_text(SETTINGS)
    with program(folder=tmp_path, environment={"WORKERS": workers}) as running:
        assert running.port
        for count, variables in enumerate((TLS, {}), 1):
            file.write_text(SETTINGS + "".join(f"{name}={value}\n" for name, value in variables.items()))
            running.signal(signal.SIGHUP)
            running.wait_for(re.compile(f"(?s)(reloaded: .*){{{count}}}"))
            # Workers reload after the first process has logged it; Docker tries three times as well.
            assert any(check(tmp_path)[0] == 0 for _ in range(3))


def test_without_a_running_program_it_reports_unhealthy(tmp_path: Path) -> None:
    assert check(tmp_path) == (1, "not healthy: no proxy of this user is ready in this working folder\n")
    with program(folder=tmp_path, environment=KEYS) as running:
        (tmp_path / "elsewhere").mkdir()
        assert running.port
        assert check(tmp_path / "elsewhere")[0] == 1
        assert check(tmp_path)[0] == 0
        running.signal(signal.SIGTERM)
        assert running.exit_status() == 0
        assert check(tmp_path)[0] == 1


def test_a_program_that_hangs_is_reported_before_the_timeout_of_docker(tmp_path: Path) -> None:
    with program(folder=tmp_path, environment=KEYS) as running:
        url = running.url
        running.signal(signal.SIGSTOP)
        assert check(tmp_path) == (1, f"not healthy: {url}/healthz: timed out\n")
    patience = re.search(r"^HEALTHCHECK .*--timeout=(\d+)s", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert patience
    assert int(patience[1]) - healthcheck._TIMEOUT >= 1
