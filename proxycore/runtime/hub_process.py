"""The process of the hub: what workers share, the state file, clients' limits, and the link to Redis."""

import asyncio
import socket
from functools import partial

from proxycore.clock import Clock
from proxycore.peers.hub import Hub
from proxycore.peers.limit_keeper import LimitKeeper
from proxycore.peers.redis_link import RedisLink
from proxycore.peers.store import Store
from proxycore.runtime.process import Stop, configure_log
from proxycore.runtime.settings import Settings
from proxycore.runtime.settings_channel import receive
from proxycore.runtime.state import disk_link, note_reload
from proxycore.stats.limits.ledger import Ledger


async def run_hub(
    settings: Settings, clock: Clock, listening: socket.socket, stop: Stop, end: socket.socket
) -> None:
    """Run the hub, to which workers connect on `listening`, until the first signal.

    `end` is where new settings arrive.
    """
    current = settings
    ledger = Ledger(settings.client_limits, clock)

    def link(store: Store) -> RedisLink | None:
        url, keys = current.redis_url, current.google_keys
        return RedisLink(url, keys.values(), store, clock) if url else None

    disk = partial(disk_link, settings, clock=clock)
    hub = Hub(link, clock, disk, partial(LimitKeeper, ledger, url=lambda: current.redis_url, clock=clock))

    def apply(changed: Settings) -> None:
        nonlocal current
        configure_log(changed)
        note_reload(hub.disk, current, changed, clock)
        current = changed
        ledger.change(changed.client_limits)
        hub.reload()

    receiving = asyncio.create_task(receive(end, apply))
    await hub.start(listening)
    await stop.first.wait()
    receiving.cancel()
    await hub.close()
