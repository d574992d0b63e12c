"""The handlers that need no key: the status page's files, health checks, and paths that are not relayed."""

import logging
from collections.abc import Awaitable, Mapping
from pathlib import Path

from proxycore.gemini.paths import probable_path
from proxycore.http.base_handler import BaseHandler
from proxycore.http.handler_state import HandlerState
from proxycore.rotation.rotator import Rotator

PAGE_PATHS = r"/(?:page/([a-z-]+\.[a-z]+))?"
"""The paths of the status page and its files, as a regular expression."""

_PAGE = Path(__file__).with_name("page")
_RELAYED_PATHS = "Relayed paths begin with an API version, like /v1beta/."
_LONGEST_SHOWN = 200  # characters of a path
_SHELL = "index.html"
_TYPES = {
    ".html": "text/html; charset=UTF-8",
    ".css": "text/css; charset=UTF-8",
    ".js": "text/javascript; charset=UTF-8",
    ".svg": "image/svg+xml",
}
# The page loads nothing from other origins, and no other origin may embed it.
_SAFETY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class StatusHandler(BaseHandler):
    """A handler whose responses are the proxy's own, for GET and HEAD."""

    access_level = logging.DEBUG  # health checks come every few seconds
    allowed = "GET, HEAD"

    @property
    def is_admin(self) -> bool:
        """Whether the client may do what the admin may."""
        request = self.request
        return self.context.admin.admits(request.headers, request.query, request.remote_ip or "")

    async def _not_allowed(self, *_: str) -> None:
        if self.finish_body():
            self.set_header("Allow", self.allowed)
            self.refuse(405, f"The method is not allowed here. Allowed: {self.allowed}.")

    post = put = patch = delete = options = _not_allowed

    def reply(self, text: str, status: int = 200, content_type: str = "text/plain; charset=UTF-8") -> None:
        """Respond with a text, to which a newline is added."""
        if not self.finish_body():
            return
        self.set_status(status)
        self.set_header("Content-Type", content_type)
        self.set_header("Cache-Control", "no-store")
        self.finish(text + "\n")


def page_files() -> dict[str, str]:
    """Return the files of the status page, by their names."""
    return {path.name: path.read_text(encoding="utf-8") for path in _PAGE.iterdir() if path.suffix in _TYPES}


class PageHandler(StatusHandler):
    """`/` and `/page/…`: the files of the status page, which hold no data by themselves."""

    def initialize(self, files: Mapping[str, str]) -> None:
        """Called by Tornado with the page's files, by name."""
        super().initialize()
        self._files = files

    def get(self, name: str | None) -> None:
        """Respond with a file."""
        name = name or _SHELL
        if name not in self._files:
            if self.finish_body():
                self.refuse(404, f"The status page has no file {name}.")
            return
        for field, value in _SAFETY.items():
            self.set_header(field, value)
        text = self._files[name]
        if name == _SHELL:
            admitted = " data-admitted" if self.is_admin else ""
            text = text.replace("<html", f'<html{admitted} data-admin-key="{self.context.admin.key}"', 1)
        self.reply(text.rstrip("\n"), content_type=_TYPES[Path(name).suffix])

    head = get


class AliveHandler(StatusHandler):
    """`/healthz`: the process responds."""

    def get(self) -> None:
        """Respond 200."""
        self.reply("alive")

    head = get


class ReadyHandler(StatusHandler):
    """`/readyz`: 200 while at least one key can be used and the program does not drain, else 503."""

    def initialize(self, rotator: Rotator) -> None:
        """Called by Tornado with the rotator."""
        super().initialize()
        self._rotator = rotator

    def get(self) -> None:
        """Respond 200 or 503, with the reason."""
        if self.context.draining:
            self.reply("draining", 503)
        elif self._rotator.usable:
            self.reply("ready")
        else:
            self.reply("no usable key", 503)

    head = get


def _shown(path: str) -> str:
    return path.encode("unicode_escape").decode()[:_LONGEST_SHOWN]


class NotRelayedHandler(BaseHandler):
    """Paths that the proxy does not have."""

    def prepare(self) -> Awaitable[None] | None:
        """Refuse a request with a body before that is read; others later, so that the connection is kept."""
        super().prepare()
        if self.incoming.announced and self.state is HandlerState.PENDING:
            self._refuse()
        return None

    def _refuse(self) -> None:
        found = probable_path(self.request.path)
        hint = f"Did you mean {_shown(found)}?" if found else _RELAYED_PATHS
        self.refuse(404, f"{_shown(self.request.path)} is not relayed. {hint}")

    def _end(self) -> None:
        if self.finish_body():
            self._refuse()

    get = head = post = put = patch = delete = options = _end
