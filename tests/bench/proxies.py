"""The proxies that are measured, side by side: ours, a bare nginx, and one of the usual kind."""

import grp
import os
import pwd
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

from tests.bench.machine import free_port, running
from tests.bench.upstream import KEYS

CLIENT_KEY = "bench-client-key"
NAMES = ("ours", "nginx", "flask")

_HERE = Path(__file__).resolve().parent

# As bare as a proxy for streams can be. The temporary folders are named because the defaults belong to root.
_NGINX = Template("""
daemon off;
worker_processes 1;
pid $folder/nginx.pid;
$user
events { worker_connections 8192; }
http {
    access_log $folder/access.log;
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    keepalive_requests 10000000;
    upstream gemini {
        server 127.0.0.1:$upstream_port;
        keepalive 256;
        keepalive_requests 10000000;
    }
    server {
        listen 127.0.0.1:$port backlog=4096;
        location / {
            proxy_pass http://gemini;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_set_header Connection "";
            proxy_set_header x-goog-api-key $key;
        }
    }
}
""")


@dataclass(frozen=True)
class Proxy:
    """One of `NAMES`; `server` is the path of our own `server.py`."""

    name: str
    server: Path

    @property
    def missing(self) -> str | None:
        """Why there is nothing to start, if so."""
        return "not installed" if self.name == "nginx" and not _nginx() else None

    @contextmanager
    def running(self, upstream_port: int, folder: Path, core: int) -> Iterator[tuple[int, int]]:
        """Run it on one core, with its files in `folder`, and yield its process id and its port."""
        port = free_port()
        environment = {
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "UPSTREAM_URL": f"http://127.0.0.1:{upstream_port}",
            "OUTPUT_API_KEY": CLIENT_KEY,
        }
        if self.name == "ours":
            command = [sys.executable, str(self.server)]
            environment |= {f"GOOGLE_API_KEY_{number}": key for number, key in enumerate(KEYS, 1)}
            environment |= {"LOG_LEVEL": "info"}
        elif self.name == "nginx":
            command = _nginx_command(port, upstream_port, folder)
        else:
            command = [sys.executable, str(_HERE / "flask_proxy.py")]
            environment |= {"GOOGLE_API_KEYS": ",".join(KEYS)}
        with running(command, environment, folder, port, core) as pid:
            yield pid, port


def _nginx() -> str | None:
    # Debian keeps it where only root's PATH leads.
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _nginx_command(port: int, upstream_port: int, folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    # Started by root its worker would become another user, who may not enter `folder`.
    names = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    user = f"user {' '.join(names)};" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _NGINX.substitute(folder=folder, user=user, port=port, upstream_port=upstream_port, key=KEYS[0])
    )
    return [str(_nginx()), "-e", str(folder / "error.log"), "-c", str(configuration), "-p", str(folder)]
