"""Where the program listens, as people write it, and what it says when it can't."""

import errno
import os
import re
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxycore.transport import listener
from proxycore.transport.listener import Listener, ListenError, reachable_host
from tests.support.process import program
from tests.support.proxy import proxy
from tests.support.waiting import PATIENCE
from tests.support.wire import ask

needs_ipv6 = pytest.mark.skipif(
    not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists(), reason="there is no IPv6 here"
)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def alive(host: str, port: int) -> bool:
    with urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=PATIENCE) as answered:
        return bool(answered.read() == b"alive\n")


@needs_ipv6
@pytest.mark.parametrize("host", ["::", "[::]", "0:0:0:0:0:0:0:0"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_all_of_ipv6_is_all_of_ipv4_too(host: str, workers: str, tmp_path: Path) -> None:
    with program(folder=tmp_path, environment={"HOST": host, "WORKERS": workers}) as started:
        assert alive("[::1]", started.port)
        assert alive("127.0.0.1", started.port)
        assert f"ready: http://localhost:{started.port} (listening on {host.strip('[]')})" in started.log


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_may_stand_in_brackets(host: str, tmp_path: Path) -> None:
    with program(folder=tmp_path, environment={"HOST": host}) as started:
        assert alive("[::1]", started.port)
        with pytest.raises(OSError, match="refused"):
            alive("127.0.0.1", started.port)
        assert f"ready: http://[::1]:{started.port}, " in started.log


def test_localhost_is_a_host(tmp_path: Path) -> None:
    with program(folder=tmp_path, environment={"HOST": "localhost"}) as started:
        assert alive("127.0.0.1", started.port)
        assert f"ready: http://localhost:{started.port}, " in started.log


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("0.0.0.0", "localhost"),  # noqa: S104 - what is to be shown instead
        ("::", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("fd00::1", "[fd00::1]"),
        ("proxy.example", "proxy.example"),
    ],
)
def test_what_is_shown_can_be_typed_into_a_browser(host: str, shown: str) -> None:
    assert reachable_host(host) == shown


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_taken_port_suggests_one_that_is_free(workers: str, taken: int, tmp_path: Path) -> None:
    for _ in range(5):  # another process may take the suggested port at any moment
        with program(folder=tmp_path, environment={"PORT": str(taken), "WORKERS": workers}) as started:
            assert started.exit_status() == 2
        suggested = re.search(rf"port {taken} is already in use; try PORT=(\d+)\n", started.log)
        assert suggested
        assert "PORT: can't listen on 127.0.0.1" in started.log
        assert len(started.lines) == 2
        with program(folder=tmp_path, environment={"PORT": suggested[1]}) as started:
            told = started.wait_for(
                re.compile(rf"(ready): \S+:{suggested[1]}|port {suggested[1]} is already")
            )
            if told[1]:
                return
    pytest.fail("none of five suggested ports was free")


@needs_ipv6
def test_a_port_that_only_ipv4_has_taken_is_taken_for_both(taken: int, tmp_path: Path) -> None:
    with program(folder=tmp_path, environment={"HOST": "::", "PORT": str(taken)}) as started:
        assert started.exit_status() == 2
    assert f"can't listen on [::]:{taken}: port {taken} is already in use; try PORT=" in started.log


def test_where_no_port_is_free_none_is_named() -> None:
    error = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    assert listener._advice(error, "127.0.0.1", 65535).endswith("try another PORT")


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("203.0.113.1", "this machine has no such address; HOST=0.0.0.0 is every address"),
        ("no-such-name.invalid", "no address of this machine has this name; HOST=0.0.0.0 is every"),
        ("127.0.0.1:8000", "no address of this machine has this name"),
        ("a" * 70, "no address of this machine has this name"),
    ],
)
def test_an_address_of_another_machine_is_told(host: str, told: str, tmp_path: Path) -> None:
    with program(folder=tmp_path, environment={"HOST": host}) as started:
        assert started.exit_status(120) == 2  # where no name server answers, that takes a while
    assert f"HOST, PORT: can't listen on {host}" in started.log.replace("[", "").replace("]", "")
    assert told in started.log
    assert len(started.lines) == 2


def test_a_port_that_needs_a_right_suggests_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(listener, "bind_sockets", refused)
    with pytest.raises(
        ListenError, match=r"listen on 127.0.0.1:80: ports below 1024 need a privilege .* try PORT=8\d\d\d"
    ):
        Listener("127.0.0.1", 80)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take a right away")
def test_without_the_right_to_low_ports_the_program_says_so(tmp_path: Path) -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first <= 80:
        pytest.skip("here every user may")
    drop = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
    if subprocess.run([*drop, "true"], check=False, capture_output=True).returncode:
        pytest.skip("there is no setpriv")
    with program(folder=tmp_path, environment={"PORT": "80"}, prefix=drop) as started:
        assert started.exit_status() == 2
    assert "ports below 1024 need a privilege" in started.log


@pytest.mark.usefixtures("io_loop")
@pytest.mark.turned
async def test_without_files_connections_wait_until_there_are_some(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept, tries = socket.socket.accept, 0

    def without_files(self: socket.socket) -> tuple[socket.socket, object]:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return accept(self)

    async with proxy("http://127.0.0.1:9") as here:
        monkeypatch.setattr(socket.socket, "accept", without_files)
        assert (await ask(here.port, "GET", "/healthz")).status == 200
    said = [record.message for record in caplog.records if "limit of open files" in record.message]
    assert len(said) == 3
