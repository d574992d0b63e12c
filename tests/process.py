"""The program as a process of its own: `python server.py`, its log, and its signals."""

import contextlib
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import trustme

ROOT = Path(__file__).parents[1]
_READY = re.compile(r"ready: https?://\S+:(\d+)")


TLS = {"TLS_CERT_FILE": "cert.pem", "TLS_KEY_FILE": "key.pem"}


def certify(folder: Path, host: str = "127.0.0.1") -> ssl.SSLContext:
    """Writes `cert.pem` and `key.pem` for `TLS`, and the authority's `ca.pem`; returns what trusts it."""
    authority = trustme.CA()
    certificate = authority.issue_cert(host)
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(folder / "cert.pem"), append=True)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    return ssl.create_default_context(cafile=str(folder / "ca.pem"))


class Program:
    """A started server; `lines` is what it has said so far."""

    def __init__(self, command: list[str], environment: Mapping[str, str], folder: Path) -> None:
        inherited = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=inherited | dict(environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        self.lines.extend(iter(self.process.stderr.readline, ""))

    @property
    def log(self) -> str:
        return "".join(self.lines)

    @property
    def port(self) -> int:
        """The port that it listens on, once it is ready."""
        return int(self.wait_for(_READY)[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_for(self, pattern: re.Pattern[str], seconds: float = 20.0) -> re.Match[str]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if match := pattern.search(self.log):
                return match
            if self.process.poll() is not None:
                self._reader.join(1)
                assert pattern.search(self.log), f"it ended: {self.log}"
            time.sleep(0.01)
        raise AssertionError(f"it never said {pattern.pattern}: {self.log}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit_status(self, seconds: float = 20.0) -> int:
        status = self.process.wait(seconds)
        self._reader.join(1)
        return status

    def read_all(self) -> None:
        """Waits until all processes that could say something are gone."""
        self._reader.join(10)

    @property
    def child(self) -> int:
        """The process that a prefix like `unshare --fork` started."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def memory(self) -> int:
        """Resident bytes."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def program(
    *arguments: str,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    prefix: tuple[str, ...] = (),
) -> Iterator[Program]:
    """`server.py` with these arguments and this environment, in this working folder; killed at the end."""
    command = [*prefix, sys.executable, str(ROOT / "server.py"), *arguments]
    started = Program(command, {"HOST": "127.0.0.1", "PORT": "0"} | dict(environment or {}), folder)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()
        started.read_all()
        if started.process.stderr:
            started.process.stderr.close()
