"""`--demo`: the proxy in front of a mock Gemini API in the same process, and how to try it."""

import contextlib
import secrets
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from proxycore.demo import Call, MockServer, demo_keys
from proxycore.rotation.key import KeySpec
from proxycore.runtime import logs as log
from proxycore.runtime.settings import Settings
from proxycore.transport.listener import reachable_host

_LOOPBACK = {"127.0.0.1", "[::1]"}
_PACE = 0.15  # seconds between the chunks of the mock's responses
_INVITATION = """\
The mock of the Gemini API has {count} keys, healthy and unhealthy. Send it some requests:

  curl -N '{url}/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse' \\
    -H 'Content-Type: application/json'{credential} -d '{body}'

and watch the keys on the status page: {page}"""
_ONE_TIME_KEY = "\nIf the page asks for an admin key, use {key} (valid for this run)"


@dataclass(frozen=True, slots=True)
class Demo:
    """A mock server that runs: its address, and the keys that it knows.

    `admin_key` is made for this run. It is needed where the page is reached from another host, or from
    outside of a container, when no key is set.
    """

    url: str
    keys: tuple[KeySpec, ...]
    admin_key: str = field(default_factory=lambda: secrets.token_urlsafe(12))

    def settings(self, settings: Settings) -> Settings:
        """The settings, with the mock's keys and address."""
        return replace(
            settings,
            keys=self.keys,
            upstream_url=self.url,
            is_demo=True,
            state_file=None,
            one_time_admin_key=None if settings.admin_key else self.admin_key,
        )

    def invite(self, settings: Settings, port: int) -> None:
        """Print what to type, and which page to open."""
        host = reachable_host(settings.host)
        host = "localhost" if host in _LOOPBACK else host
        url = f"{'https' if settings.tls_cert_file else 'http'}://{host}:{port}"
        key = settings.one_time_admin_key
        text = _INVITATION.format(
            count=len(self.keys),
            url=url,
            credential=' -H "x-goog-api-key: $OUTPUT_API_KEY"' if settings.client_keys else "",
            body='{"contents": [{"parts": [{"text": "Write a short story"}]}]}',
            page=f"{url}/#admin-key={key}" if key else f"{url}/",
        )
        log.write(text + (_ONE_TIME_KEY.format(key=key) if key else ""))


@contextlib.asynccontextmanager
async def demo_upstream() -> AsyncIterator[Demo]:
    """A mock of the Gemini API that runs during the context."""
    keys = demo_keys()
    calls = deque[Call](maxlen=1)  # they are for tests
    mock = MockServer(dict(keys.values()), pace=_PACE, calls=calls)
    try:
        yield Demo(mock.listen(), tuple(KeySpec(name, secret) for name, (secret, _) in keys.items()))
    finally:
        await mock.stop()
