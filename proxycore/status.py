"""The program's own answers: whether it lives, whether it can serve, how its keys are."""

import json
import logging
from collections.abc import Callable
from typing import Any

from proxycore.access import Admin
from proxycore.handler import ProxyHandler
from proxycore.rotator import Rotator


class StatusHandler(ProxyHandler):
    """A page of the program's own, read with GET or HEAD."""

    access_level = logging.DEBUG  # probes ask every few seconds
    SUPPORTED_METHODS = ("GET", "HEAD", "OPTIONS")

    def reply(self, text: str, status: int = 200, content_type: str = "text/plain; charset=UTF-8") -> None:
        """A short text."""
        if not self.body_whole():
            return
        self.set_status(status)
        self.set_header("Content-Type", content_type)
        self.set_header("Cache-Control", "no-store")
        self.finish(text + "\n")


class HomeHandler(StatusHandler):
    """`/`: that the proxy runs."""

    def get(self) -> None:
        """Says so."""
        self.reply("The Gemini key proxy runs. Point a Gemini client at this address.")

    head = get


class AliveHandler(StatusHandler):
    """`/healthz`: the process answers."""

    def get(self) -> None:
        """200, always."""
        self.reply("alive")

    head = get


class ReadyHandler(StatusHandler):
    """`/readyz`: 200 while at least one key can be used and the program is not about to end, else 503."""

    def initialize(self, rotator: Rotator) -> None:  # type: ignore[override] # Tornado passes keywords
        """What it looks at."""
        super().initialize()
        self._rotator = rotator

    def get(self) -> None:
        """Ready or not, and why."""
        if self.site.draining:
            self.reply("draining", 503)
        elif self._rotator.usable:
            self.reply("ready")
        else:
            self.reply("no key can be used now", 503)

    head = get


class SnapshotHandler(StatusHandler):
    """`/status.json`: what is known of the keys, for the admin."""

    def initialize(self, admin: Admin, snapshot: Callable[[], dict[str, Any]]) -> None:  # type: ignore[override] # Tornado passes keywords
        """Who may see it, and what there is to see."""
        super().initialize()
        self._admin = admin
        self._snapshot = snapshot

    def get(self) -> None:
        """All of it, as JSON."""
        request = self.request
        if self._admin.admits(request.headers, request.query, request.remote_ip or ""):
            text = self.site.redactor.text(json.dumps(self._snapshot()))
            self.reply(text, content_type="application/json; charset=UTF-8")
        elif self.body_whole():
            self.refuse(401, "The admin key is missing or wrong. Send ADMIN_API_KEY, or OUTPUT_API_KEY.")

    head = get


class NotRelayedHandler(ProxyHandler):
    """Everything that is no path of ours."""

    def prepare(self) -> None:
        """Answers 404, preflights aside."""
        super().prepare()
        if not self._answered and not self._finished:
            path = self.request.path.encode("unicode_escape").decode()[:200]
            self.refuse(404, f"{path} is not relayed. What is relayed begins with a version, like /v1beta/.")

    def _end(self) -> None:
        self.body_whole()

    get = head = post = put = patch = delete = options = _end
