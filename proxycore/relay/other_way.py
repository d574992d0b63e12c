"""What follows a response about the way to Google: the request is sent by another way, if there is one."""

from proxycore.gemini.verdict import NOT_GOOGLE, REGION_BLOCKED, Verdict
from proxycore.relay.pool import Pool
from proxycore.relay.retry_policy import RetryPolicy
from proxycore.rotation.key import Key

_REFUSED = {REGION_BLOCKED, NOT_GOOGLE}  # silence may be the model's own, and is long enough once


def may_leave_way(pool: Pool, policy: RetryPolicy, key: Key, verdict: Verdict, lane: str) -> bool:
    """Return whether this key's way was refused, and a key behind another one is ready for the lane."""
    if verdict not in _REFUSED or policy.spent:
        return False
    others, now = pool.rotator.ways.elsewhere(key), pool.clock()
    return any(one.ready_at(lane) <= now for one in others if one not in policy.refused)


def leave_way(pool: Pool, policy: RetryPolicy, key: Key, verdict: Verdict, lane: str) -> bool:
    """If the request may leave this key's way, try no key behind that any more; return whether it may."""
    if not may_leave_way(pool, policy, key, verdict, lane):
        return False
    policy.refuse(pool.rotator.ways.behind(key))
    return True
