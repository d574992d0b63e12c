"""Settings reach another process complete, and sending them never blocks."""

import asyncio
import socket

import pytest

from proxycore.runtime.settings import Settings, parse
from proxycore.runtime.settings_channel import SettingsChannel, receive
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("io_loop")
# More than a socket takes at once.
LARGE = parse({"GOOGLE_API_KEY": " ".join(f"AIza-{number}-{'k' * 200}" for number in range(3000))})
SMALL = parse({"GOOGLE_API_KEY": "AIza-one", "OUTPUT_API_KEY": "the-client-secret"})


async def test_settings_arrive_whole_and_in_order_and_are_confirmed() -> None:
    channel, got = SettingsChannel(), list[Settings]()
    for sent in (SMALL, LARGE, SMALL):
        channel.send(sent)
    assert channel.has_unsent
    assert not channel.is_confirmed
    receiving = asyncio.create_task(receive(channel.child_end, got.append))

    def is_confirmed() -> bool:
        channel.flush()
        channel.receive_confirmations()
        return channel.is_confirmed

    await until(is_confirmed, 30)
    assert got == [SMALL, LARGE, SMALL]
    assert not channel.has_unsent
    channel.close()
    await receiving


async def test_a_child_that_has_ended_is_noticed() -> None:
    channel = SettingsChannel()
    channel.child_end.shutdown(socket.SHUT_RDWR)
    channel.child_end.close()
    channel.send(LARGE)
    assert not channel.has_unsent
    channel.receive_confirmations()
    assert not channel.is_open
    channel.close()
