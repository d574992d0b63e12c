"""What every request is served with: the keys, the upstream, and what the requests of one process share."""

import random
from dataclasses import dataclass

from proxycore.body_budget import BodyBudget
from proxycore.clock import Clock
from proxycore.meter import Meter
from proxycore.owners import Owners
from proxycore.retry_budget import RetryBudget
from proxycore.rotator import Rotator
from proxycore.turns import Turns
from proxycore.upstream import Upstream
from proxycore.wait_queues import WaitQueues


@dataclass(slots=True, kw_only=True)
class Pool:
    """The parts that requests share, put together by the program.

    `max_attempts` is the limit for one request, 0 for none; `source` draws the pauses between attempts.
    """

    rotator: Rotator
    lines: WaitQueues
    owners: Owners
    upstream: Upstream
    meter: Meter
    turns: Turns
    budget: BodyBudget
    retries: RetryBudget
    max_attempts: int
    clock: Clock
    source: random.Random
