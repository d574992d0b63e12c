"""The program's own answers: whether it lives, whether it can serve, what it does not relay."""

import logging

from proxycore.handler import ProxyHandler
from proxycore.rotator import Rotator


class StatusHandler(ProxyHandler):
    """A page of the program's own, read with GET or HEAD."""

    access_level = logging.DEBUG  # probes ask every few seconds
    SUPPORTED_METHODS = ("GET", "HEAD", "OPTIONS")

    def reply(self, text: str, status: int = 200) -> None:
        """A short plain text."""
        if not self.body_whole():
            return
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
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
