"""Processes with alert rules on a turned clock, and a webhook that keeps what it gets."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from proxycore.gemini.verdict import HEALTHY, NO_CREDIT, Backoff, BenchScope, Reaction, Verdict
from proxycore.peers.alert_link import AlertLink
from proxycore.peers.publisher import Publisher
from proxycore.peers.store import Store
from proxycore.peers.update import Update
from proxycore.rotation.bench import ExponentialBackoff
from proxycore.rotation.case import Case
from proxycore.rotation.key import Key, KeySpec, keys_of
from proxycore.rotation.rotator import Rotator
from proxycore.stats.alert import Notice
from proxycore.stats.alert_rules import AlertRules
from proxycore.stats.meter import Demand
from tests.support.clocks import TurnedClock
from tests.support.serving import serving
from tests.support.wire import answer, read_request

MODEL = "gemini-2.5-flash"
DEAD = Verdict("suspended or leaked", Reaction.FAILOVER, BenchScope.RETIRED)
MONEY = Verdict(NO_CREDIT, Reaction.FAILOVER, BenchScope.ACCOUNT, backoff=Backoff.FORBIDDEN)
SPENT = Verdict("quota exhausted", Reaction.FAILOVER, BenchScope.MODEL, 3600.0)


class Alerting:
    """A process: some keys, what requests come to, and the notices that it sends, second by second."""

    def __init__(self, keys: int = 3, *, clock: TurnedClock | None = None, teller: str = "me") -> None:
        self.clock = clock or TurnedClock()
        self.rotator = Rotator(
            keys_of(KeySpec(str(n), f"secret-{n}", account=f"account-{n // 2}") for n in range(keys)),
            {backoff: ExponentialBackoff(10.0, 600.0) for backoff in Backoff},
            clock=self.clock,
            source=random.Random(5),  # noqa: S311 - seeded, so that the test is the same every time
        )
        self.demands: dict[str, Demand] = {}
        self.rules = AlertRules(self.rotator, self.demands, self.clock, self.redact, teller)
        self.rules.enabled = True
        self.sent: list[Notice] = []
        self.requests = 0

    @staticmethod
    def redact(text: str) -> str:
        return text.replace("secret-", "[key] ")

    @property
    def titles(self) -> list[str]:
        return [notice.title.removeprefix("Gemini key proxy: ") for notice in self.sent]

    def answer(self, number: int, verdict: Verdict, model: str = MODEL) -> Key:
        self.requests += 1
        key = self.rotator.keys[number]
        call = self.rotator.call(key, model, spends=True)
        self.rotator.apply(call, verdict, Case(request=str(self.requests)))
        return key

    def ask(self, model: str = MODEL, *, served: bool = False) -> None:
        demand = self.demands.setdefault(model, Demand(self.clock()))
        demand.asked_at = self.clock()
        demand.served_at = self.clock() if served else demand.served_at

    def poll(self) -> None:
        self.sent += self.rules.poll()

    def turn(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.turn(1.0)
            self.poll()

    def kill(self, number: int) -> None:
        """Let Google call a key dead until it is retired."""
        while not self.answer(number, DEAD).retired:
            self.clock.turn(15.0)
            self.answer((number + 1) % len(self.rotator.keys), HEALTHY)

    def join(self, store: Store) -> None:
        """Share alerts with the other processes of a store."""
        publisher = Publisher(store)

        def publish(update: Update) -> None:
            store.publish([update], link.apply)

        link = AlertLink(self.rotator.events, publish, self.clock)
        publisher.start(link.apply)


@dataclass
class Webhook:
    """What a webhook got: the messages, and all of the requests as text."""

    port: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/the-token-of-a-webhook"


@contextlib.asynccontextmanager
async def webhook(*, hangs: bool = False) -> AsyncIterator[Webhook]:
    """A webhook; one that hangs never answers."""
    hook = Webhook()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = await read_request(reader)
        hook.messages.append(json.loads(seen.body))
        hook.texts.append(f"{seen.line} {seen.fields} {seen.body!r}")
        if hangs:
            await reader.read()
        else:
            writer.write(answer(200))

    async with serving(serve) as hook.port:
        yield hook
