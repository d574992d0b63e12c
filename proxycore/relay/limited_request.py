"""One request of a client with limits: admitted or refused, and counted at its end."""

import math
from collections.abc import Awaitable
from typing import Any, Protocol

from proxycore.gemini.token_usage import TokenUsage
from proxycore.http.access_record import AccessRecord
from proxycore.http.handler_state import HandlerState
from proxycore.relay.pool import Pool
from proxycore.stats.limits.account import CONCURRENT
from proxycore.stats.limits.client_limiter import Admission, Refusal
from proxycore.stats.limits.client_limits import ClientLimits, Rate

_QUOTA_FAILURE = "type.googleapis.com/google.rpc.QuotaFailure"


class Refusable(Protocol):
    """The handler of a request."""

    pool: Pool
    record: AccessRecord

    state: HandlerState

    def refuse(self, code: int, message: str) -> None:
        """Respond with an error."""

    def refuse_for(self, seconds: int, message: str, details: list[dict[str, Any]]) -> None:
        """Respond 429 for so many seconds."""


class LimitedRequest:
    """The request of `handler`, whose client has limits. `client` is its name, or its address."""

    __slots__ = ("_admission", "_client", "_handler", "_limits")

    def __init__(self, handler: Refusable, client: str, limits: ClientLimits) -> None:
        self._handler = handler
        self._client = client
        self._limits = limits
        self._admission: Admission | None = None

    def begin(self) -> Awaitable[None] | None:
        """Admit or refuse the request; return an awaitable if another process decides."""
        limits, pool = self._limits, self._handler.pool
        if limits.until and pool.clock.wall() >= limits.ends:
            self._forbid("until", f"The access of client {self._client} ended after {limits.until}.")
        elif limits.counts:
            decided = pool.limiter.admit(self._client, limits)
            if not isinstance(decided, Admission | Refusal):
                return self._decide_later(decided)
            self._decide(decided)
        return None

    def allows(self, model: str) -> bool:
        """Whether the client may use the model; refuses the request if not."""
        if self._limits.allows(model):
            return True
        self._forbid("models", f"Client {self._client} may not use the model {model}.")
        return False

    def spend(self, usage: TokenUsage) -> None:
        """Count tokens that the response has reported."""
        if self._limits.counts_tokens and (tokens := usage.input + usage.output):
            self._handler.pool.limiter.spend(self._client, tokens)

    def end(self) -> None:
        """End the request. It does not count if the proxy refused it itself."""
        admission, self._admission = self._admission, None
        record = self._handler.record
        if admission:
            self._handler.pool.limiter.end(admission, made=record.attempts > 0 and not record.refused)

    async def _decide_later(self, waiting: Awaitable[Admission | Refusal]) -> None:
        self._decide(await waiting)

    def _decide(self, decided: Admission | Refusal) -> None:
        if isinstance(decided, Admission):
            self._admission = decided
            if self._handler.state.over:  # the client has disconnected in the meantime
                self.end()
            return
        seconds = max(1, math.ceil(decided.seconds))
        self._handler.pool.meter.limited(self._handler.record, decided.limit)
        rate = next((rate for rate in self._limits.rates if rate.topic == decided.limit), None)
        about = self._reached(rate)
        self._handler.refuse_for(seconds, f"{about} Retry in {seconds}s.", [self._quota_failure(rate, about)])

    def _reached(self, rate: Rate | None) -> str:
        if rate is None:
            return f"Client {self._client} has {self._limits.concurrent} requests in progress, its limit."
        amount = f"{rate.amount} {rate.counted} per {rate.period}"
        return f"Client {self._client} has reached its limit of {amount}."

    def _quota_failure(self, rate: Rate | None, about: str) -> dict[str, Any]:
        """The detail of a 429 that names the limit, with the members that Google's own have."""
        violation = {
            "subject": f"client:{self._client}",
            "description": about,
            "quotaMetric": f"client/{rate.counted if rate else CONCURRENT}",
            "quotaId": rate.quota_id if rate else "ConcurrentRequestsPerClient",
            "quotaDimensions": {"client": self._client},
            "quotaValue": str(rate.amount if rate else self._limits.concurrent),
        }
        return {"@type": _QUOTA_FAILURE, "violations": [violation]}

    def _forbid(self, limit: str, message: str) -> None:
        self._handler.pool.meter.limited(self._handler.record, limit)
        self._handler.refuse(403, message)
