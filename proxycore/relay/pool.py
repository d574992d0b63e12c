"""The parts that the requests of one process share: the keys, the upstream, budgets and queues."""

import random
from dataclasses import dataclass

from proxycore.clock import Clock
from proxycore.rotation.affinity import AffinityTable
from proxycore.rotation.conversations import Conversations
from proxycore.rotation.hedging import Hedging
from proxycore.rotation.retry_budget import RetryBudget
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.token_ratios import TokenRatios
from proxycore.rotation.wait_queues import WaitQueues
from proxycore.stats.limits.client_limiter import ClientLimiter
from proxycore.stats.meter import Meter
from proxycore.storage.rows import Journal
from proxycore.transport.body_budget import BodyBudget
from proxycore.transport.turns import Turns
from proxycore.transport.upstream import Upstream


@dataclass(slots=True, kw_only=True)
class Pool:
    """The parts that requests share; the program composes them.

    `max_attempts` is the limit for one request, 0 for none; `source` draws the pauses between attempts.
    `journal` keeps requests that have ended and events; None while nothing does.
    """

    rotator: Rotator
    queues: WaitQueues
    affinity: AffinityTable
    conversations: Conversations
    upstream: Upstream
    meter: Meter
    limiter: ClientLimiter
    turns: Turns
    budget: BodyBudget
    retries: RetryBudget
    token_ratios: TokenRatios
    hedging: Hedging
    max_attempts: int
    clock: Clock
    source: random.Random
    journal: Journal | None = None

    def set_max_attempts(self, limit: int) -> None:
        """Set the limit for requests that arrive from now on."""
        self.max_attempts = limit

    def record_in(self, journal: Journal) -> None:
        """Keep requests and events in this journal from now on."""
        self.journal = journal
