"""Sends notices to the addresses of ALERT_URL, one after the other, in a process of their own each.

No request waits for that, and what an address answers is not read here.
"""

import asyncio
import contextlib
import json
import logging
from collections import deque
from dataclasses import dataclass

from proxycore.runtime.alert_addresses import command, environment, task
from proxycore.runtime.alert_process import TIMEOUT
from proxycore.stats.alert import Notice
from proxycore.stats.alert_rules import AlertRules

logger = logging.getLogger(__name__)

_INTERVAL = 1.0  # seconds between two looks at the rules
_GRACE = 10.0  # seconds beyond the timeout of the process, for a busy machine to start it
_MOST_WAITING = 20  # notices
_QUIET = 600.0  # seconds between two log lines about failures


@dataclass(slots=True)
class _Failures:
    """The failures since the last log line about them, and when that was, by the loop's time."""

    count: int = 0
    logged_at: float = float("-inf")


class AlertSender:
    """Sends what the `rules` find. Belongs to the running event loop."""

    def __init__(self, rules: AlertRules) -> None:
        self._rules = rules
        self._addresses: tuple[str, ...] = ()
        self._waiting: deque[Notice] = deque(maxlen=_MOST_WAITING)
        self._failures = _Failures()
        self._sending: asyncio.Task[None] | None = None

    def set_addresses(self, addresses: tuple[str, ...]) -> None:
        """Send to these addresses from now on; nothing is found and sent if there are none."""
        self._addresses = addresses
        self._rules.enabled = bool(addresses)

    async def run(self) -> None:
        """Look at the rules every second, and send what they find, until cancelled."""
        try:
            while True:
                self._waiting.extend(self._rules.poll())
                if self._waiting and self._sending is None:
                    self._sending = asyncio.create_task(self._send_all())
                await asyncio.sleep(_INTERVAL)
        finally:
            if self._sending:
                self._sending.cancel()
                await asyncio.gather(self._sending, return_exceptions=True)

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                await self._send(self._waiting.popleft())
        finally:
            self._sending = None

    async def _send(self, notice: Notice) -> None:
        addresses = self._addresses
        message = {"title": notice.title, "body": notice.body, "type": notice.severity.value}
        logger.info("sending an alert", extra={"fields": {"title": notice.title}})
        try:
            told = await _run(task(addresses, message))
        except OSError as error:
            self._log_failure(f"no process could be started: {error.strerror}")
            return
        delivered, schemas = _results(told)
        failed = [number for number in range(len(addresses)) if number not in delivered]
        if failed:
            names = [f"{number + 1} ({schemas.get(number, 'no answer')})" for number in failed]
            self._log_failure(f"address {', '.join(names)}")

    def _log_failure(self, reason: str) -> None:
        now, failures = asyncio.get_running_loop().time(), self._failures
        failures.count += 1
        if now >= failures.logged_at + _QUIET:
            more = f" ({failures.count - 1} more before)" if failures.count > 1 else ""
            logger.warning("ALERT_URL: an alert was not delivered%s: %s", more, reason)
            self._failures = _Failures(0, now)


async def _run(what: bytes) -> bytes:
    """Run the process; returns what it wrote until it ended or was killed. Raises OSError if none starts."""
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *command(), stdin=pipe, stdout=pipe, stderr=nothing, env=environment()
    )
    reading = asyncio.create_task(process.communicate(what))
    try:
        await asyncio.wait({reading}, timeout=TIMEOUT + _GRACE)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await asyncio.wait({reading})
    return reading.result()[0]


def _results(told: bytes) -> tuple[set[int], dict[int, str]]:
    """Return the numbers of the addresses to which it was delivered, and the schemas of those known."""
    lines = [json.loads(line) for line in told.splitlines()]
    delivered = {number for number, _, is_fine in lines if is_fine}
    return delivered, {number: str(schema) for number, schema, is_fine in lines if not is_fine}
