"""Explains why no key could serve a request, and when to retry: the proxy's own response."""

from collections.abc import Set
from dataclasses import dataclass

from proxycore.gemini.request_scope import RequestScope
from proxycore.relay.pool import Pool
from proxycore.rotation.key import Key


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why no key could serve a request, and seconds until a new one is expected to be served.

    `seconds` is None if none ever will be.
    """

    message: str
    seconds: int | None


def explain(
    pool: Pool,
    scope: RequestScope,
    owner: Key | None,
    client: str,
    *,
    avoid: Set[Key],
    tokens: int,
    fit_at: float | None,
    words: str,
) -> Unavailable:
    """Explain why no key could serve a request with this scope, which belongs to `owner` if that is known.

    `avoid` are keys that could not serve it even if they were ready, `fit_at` is when the first of those may,
    `tokens` are those of its prompt, and `words` is what Google last said to the request. If it names a time,
    `client` is expected back then.
    """
    rotator, lane = pool.rotator, scope.lane or scope.model
    turn = rotator.next_turn(lane, avoid, owner, tokens)
    words = words or (rotator.words_of(turn[0], lane) if turn else "") or rotator.last_words
    last_reason = f" Google's last reason: {words}" if words else ""
    moments = [moment for moment in (turn and turn[1], fit_at) if moment is not None]
    if moments:
        seconds = pool.queues.retry_after(lane, min(moments), client)
        reason = _owner_is(scope, owner, "not available") or _counts(pool, scope.model or "this", lane)
        return Unavailable(f"{reason} Retry in {seconds}s.{last_reason}", seconds)
    reason = _owner_is(scope, owner, "disabled")
    if not reason and rotator.keys:
        reason = f"All {len(rotator.keys)} Gemini API keys of this proxy are disabled."
    if not reason and rotator.configured:
        return Unavailable(
            "All Gemini API keys of this proxy are paused. The operator has to resume one.", None
        )
    reason = reason or "No Gemini API key is configured on this proxy."
    return Unavailable(f"{reason} The operator has to set GOOGLE_API_KEY_1.{last_reason}", None)


def _owner_is(scope: RequestScope, owner: Key | None, state: str) -> str:
    if owner and scope.resources:
        return f"The Gemini API key that owns {scope.resources[0]} is {state}."
    return ""


def _counts(pool: Pool, what: str, lane: str) -> str:
    keys, now = pool.rotator.keys, pool.clock()
    disabled = sum(key.retired is not None for key in keys)
    resting = sum(key.retired is None and key.ready_at(lane) > now for key in keys)
    counts = f"{resting} of {len(keys)} are cooling down, {disabled} disabled"
    return f"No Gemini API key is available for {what} ({counts})."
