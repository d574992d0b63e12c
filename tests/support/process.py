"""The program as a process of its own: `python server.py`, its log, and its signals."""

import contextlib
import os
import re
import select
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import trustme

ROOT = Path(__file__).parents[2]
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
    """A started server.

    Its log goes to a file, and is complete once it has ended. A line may be written after the response that
    it is about, so tests wait for expected lines.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str], folder: Path) -> None:
        inherited = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - end() closes it
        self._said = ""
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=inherited | dict(environment),
            stdout=subprocess.PIPE,
            stderr=self._log,
        )

    @property
    def log(self) -> str:
        """The log of it and its workers so far."""
        if not self._log.closed:
            number = self._log.fileno()
            self._said = os.pread(number, os.fstat(number).st_size, 0).decode()
        return self._said

    @property
    def lines(self) -> list[str]:
        return self.log.splitlines()

    @property
    def port(self) -> int:
        """The port that it listens on, once it is ready."""
        return int(self.wait_for(_READY)[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_for(self, pattern: re.Pattern[str], seconds: float = 60.0) -> re.Match[str]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if match := pattern.search(self.log):
                return match
            if self.process.poll() is not None:
                assert pattern.search(self.log), f"it ended: {self.log}"
            time.sleep(0.01)
        raise AssertionError(f"it never said {pattern.pattern}: {self.log}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit_status(self, seconds: float = 60.0) -> int:
        return self.process.wait(seconds)

    def end(self) -> None:
        """Kills it, and waits until its workers have ended as well."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        with self.process.stdout as output:  # nobody writes there, and it ends with the last who could
            select.select([output], [], [], 60)
        self._said = self.log
        self._log.close()

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
    """`server.py` with these arguments and this environment, in this working folder; killed at the end.

    Without a state file, unless the environment names one.
    """
    command = [*prefix, sys.executable, str(ROOT / "server.py"), *arguments]
    started = Program(
        command, {"HOST": "127.0.0.1", "PORT": "0", "STATE_FILE": "off"} | dict(environment or {}), folder
    )
    try:
        yield started
    finally:
        started.end()
