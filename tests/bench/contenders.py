"""The proxies that are measured side by side, as bare as can be, and how each is started."""

import grp
import os
import pwd
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import Template

from tests.bench.machine import Meter, free_port, running
from tests.bench.upstream import KEYS

CLIENT_KEY = "bench-client-key"
OURS, AGAINST, NGINX = "this proxy", "other checkout", "nginx"

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"  # Debian's nginx is where root's PATH leads

# The temporary folders are named because the defaults belong to root.
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
            proxy_pass $scheme://gemini;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_read_timeout 1h;
            proxy_set_header Connection "";
            proxy_set_header x-goog-api-key $key;
            $tls
        }
    }
}
""")
_NGINX_TLS = Template("""
            proxy_ssl_name localhost;
            proxy_ssl_server_name on;
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate $ca_file;
""")

_CADDY = Template("""
{
	admin off
	auto_https off
}
http://127.0.0.1:$port {
	log {
		output file $folder/access.log
	}
	reverse_proxy 127.0.0.1:$upstream_port {
		header_up x-goog-api-key $key
		flush_interval -1
		transport http {
			keepalive_idle_conns_per_host 256
			$tls
		}
	}
}
""")
_CADDY_TLS = Template("""
			tls
			tls_server_name localhost
			tls_trusted_ca_certs $ca_file
""")


@dataclass(frozen=True)
class Origin:
    """The upstream that is relayed to; with TLS if a certificate authority is named."""

    port: int
    ca_file: Path | None = None

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}" if self.ca_file else f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Place:
    """Where a proxy is to run: its port, what is behind it, and a folder for its files."""

    port: int
    origin: Origin
    folder: Path

    def filled(self, template: Template, tls: Template, **more: str) -> str:
        """A configuration for this place; `tls` is its part for an upstream with TLS."""
        ca_file = self.origin.ca_file
        return template.substitute(
            port=self.port,
            folder=self.folder,
            upstream_port=self.origin.port,
            key=KEYS[0],
            scheme="https" if ca_file else "http",
            tls=tls.substitute(ca_file=ca_file) if ca_file else "",
            **more,
        )


@dataclass(frozen=True)
class Started:
    """A proxy that runs."""

    name: str
    port: int
    meter: Meter


@dataclass(frozen=True)
class Contender:
    """A proxy that can be started; `needs` is the program or Python package that it needs."""

    name: str
    command: Callable[[Place], list[str]]
    needs: str | None = None

    @property
    def missing(self) -> bool:
        return self.needs is not None and _found(self.needs) is None and find_spec(self.needs) is None

    @contextmanager
    def running(self, origin: Origin, folder: Path, core: int) -> Iterator[Started]:
        """Run it on one core, with its files in `folder`. Raises ServerError when it does not stay up."""
        place = Place(free_port(), origin, folder)
        folder.mkdir(parents=True, exist_ok=True)
        environment = {
            "HOST": "127.0.0.1",
            "PORT": str(place.port),
            "UPSTREAM_URL": origin.url,
            "OUTPUT_API_KEY": CLIENT_KEY,
            **{f"GOOGLE_API_KEY_{number}": key for number, key in enumerate(KEYS, 1)},
        }
        if origin.ca_file:
            environment |= dict.fromkeys(("UPSTREAM_CA_FILE", "REQUESTS_CA_BUNDLE"), str(origin.ca_file))
        command = self.command(place)
        with running(command, environment, folder, place.port, core, patience=0) as pid:
            yield Started(self.name, place.port, Meter.of(pid, core))


def checkout(name: str, root: Path = _ROOT) -> Contender:
    """This proxy as it is in a folder, with the Python of its own `.venv` if it has one."""
    own = root / ".venv/bin/python"
    python = str(own) if own.exists() else sys.executable
    return Contender(name, lambda _: [python, str(root / "server.py")])


def _found(program: str) -> str | None:
    return shutil.which(program, path=_PATH)


def _nginx(place: Place) -> list[str]:
    # Started by root its worker would become another user, who may not enter `folder`.
    names = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    user = f"user {' '.join(names)};" if os.geteuid() == 0 else ""
    configuration = place.folder / "nginx.conf"
    configuration.write_text(place.filled(_NGINX, _NGINX_TLS, user=user))
    log = str(place.folder / "error.log")
    return [str(_found("nginx")), "-e", log, "-c", str(configuration), "-p", str(place.folder)]


def _caddy(place: Place) -> list[str]:
    configuration = place.folder / "Caddyfile"
    configuration.write_text(place.filled(_CADDY, _CADDY_TLS))
    return [str(_found("caddy")), "run", "--config", str(configuration), "--adapter", "caddyfile"]


def _script(name: str) -> Callable[[Place], list[str]]:
    return lambda _: [sys.executable, str(_HERE / name)]


ALL = {
    "ours": checkout(OURS),
    "nginx": Contender(NGINX, _nginx, "nginx"),
    "caddy": Contender("Caddy", _caddy, "caddy"),
    "aiohttp": Contender("aiohttp", _script("aiohttp_proxy.py"), "aiohttp"),
    "flask": Contender("Flask", _script("flask_proxy.py")),
}
"""By the names of the command line. Flask, with requests, is a proxy of the usual kind."""
