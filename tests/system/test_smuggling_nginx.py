"""The smuggling set beside nginx: it refuses and relays what we do, or a table says why not."""

from pathlib import Path

import pytest

from tests.bench.machine import free_port
from tests.support.raw_socket import Recorder
from tests.support.servers import needs, server
from tests.support.smuggling import NEXT
from tests.system.test_smuggling import CASES, exchange

pytestmark = [needs("nginx"), pytest.mark.usefixtures("io_loop"), pytest.mark.timeout(seconds=120)]

_CONFIGURATION = """
pid nginx.pid; events {{ }}
http {{
    access_log off; lingering_close off;
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    upstream source {{ server {upstream}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://source; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""

# Where we relay and nginx refuses.
STRICTER = {
    "RFC 9110 section 5.6.3: a tab is optional whitespace, as a blank is": {
        "a tab before a length",
        "blanks around a length",
        "a tab before chunked",
    },
}
# Where we refuse and nginx relays.
LAXER = {
    "RFC 9112 section 2.2 lets it end a line with LF alone; others who read the same bytes may not": {
        "a coding after LF",
        "LF after a size",
        "LF after the last size",
        "LF after the data of a chunk",
        "LF at the end of an extension",
        "LF after a field",
        "LF after the last field",
        "LF for the empty line",
        "LF everywhere",
        "LF after the version",
        "LF in the target",
    },
    "it takes CR before CRLF for a part of the line's end": {"CR at the end of a value"},
    "it skips blanks where the grammar has none": {
        "a blank after a size",
        "a tab after a size",
        "a blank after the version",
        "two blanks before the target",
        "two blanks after the target",
    },
    "it does not read extensions and trailers, and has no limit for them": {
        "NUL in an extension",
        "an extension of 100 kB",
        "LF in a trailer",
        "NUL in a trailer",
        "a trailer without a colon",
        "a folded trailer",
        "a blank before a trailer's colon",
        "trailers of 100 kB",
    },
    "it drops a field whose name is none, where RFC 9112 section 5.1 lets one refuse": {
        "no colon",
        "brackets in a name",
        "a slash in a name",
        "another alphabet in a name",
    },
    "it serves any host; RFC 9112 section 3.2 wants 400 for one that is none": {
        "a host with userinfo",
        "a host with a query",
        "a host with a fragment",
        "a host with a backslash",
        "a host with a bad port",
    },
    "it hands control characters on, and its upstream refuses them": {
        "a control character in a value",
        "a backspace in a value",
        "DEL in a value",
    },
    "it has a limit for the size of the fields, and none for their number": {"200 fields"},
    "it speaks HTTP/0.9": {"HTTP/0.9"},
    "it takes HTTP/1.2 for HTTP/1.1; nobody has ever spoken it": {"HTTP/1.2", "HTTP/1.10"},
}


async def differences(port: int, upstream: Recorder) -> dict[str, bool]:
    """The cases in which nginx relays something else than we do, and whether we are those who relay."""
    found = {}
    for name, case in CASES.items():
        await exchange(port, case.raw + NEXT)
        seen = [connection.reading for connection in upstream.connections]
        arrived = [(one.target, one.body) for reading in seen for one in reading.messages]
        if arrived != case.arrives or any(reading.error for reading in seen):
            found[name] = not case.statuses
        for reading in seen:
            reading.messages.clear()
            reading.error = ""
    return found


async def test_nginx_refuses_what_we_refuse_and_relays_what_we_relay(tmp_path: Path) -> None:
    port = free_port()
    async with Recorder() as upstream:
        written = _CONFIGURATION.format(upstream=upstream.url.removeprefix("http://"), port=port)
        (tmp_path / "main.conf").write_text(written)
        settings = "daemon off; user root; worker_processes 1;"
        command = ("nginx", "-p", str(tmp_path), "-e", "stderr", "-c", "main.conf", "-g", settings)
        with server(*command, port=port, folder=tmp_path):
            found = await differences(port, upstream)
    # Newer versions of nginx may be stricter than the one that the table was made with.
    assert {name for name, ours in found.items() if not ours} - set().union(*LAXER.values()) == set()
    assert {name for name, ours in found.items() if ours} - set().union(*STRICTER.values()) == set()
    assert set().union(*LAXER.values(), *STRICTER.values()) <= set(CASES)
