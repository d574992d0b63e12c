"""The keys of ``--demo``."""

from __future__ import annotations

from proxycore.demo.asked import Asked
from proxycore.demo.health import Health


def demo_keys() -> dict[str, tuple[str, Health]]:
    """Return the keys of the demo, by names that describe them: the secret and the health of each."""
    overloaded = Health.in_turn(*[Health.healthy()] * 3, Health.overloaded(), repeat=True)
    # Only a stream can fail after its status was sent; other requests are served.
    broken = Health.in_turn(Health.healthy(), Health.in_stream(Health.model_overloaded()), repeat=True)
    healths = {
        "HEALTHY_1": Health.healthy(),
        "HEALTHY_2": Health.healthy(),
        "THREE_PER_MINUTE": Health.quota(3),
        "PRO_SPENT_TODAY": Health(models={"gemini-2.5-pro": Health.day_spent()}),
        "SOMETIMES_OVERLOADED": Health.only(_generates, overloaded),
        "FREE_TIER_NO_SEARCH": Health.no_search(),
        "ERROR_IN_STREAM": Health.only(_streams, broken),
        "PROJECT_DENIED": Health.denied(),
        "SUSPENDED": Health.suspended(),
        "INVALID": Health.invalid(),
    }
    return {name: (f"AQ.demo-{name.lower()}", health) for name, health in healths.items()}


def _streams(asked: Asked) -> bool:
    """Return whether the response is streamed natively."""
    return asked.method == "streamGenerateContent"


def _generates(asked: Asked) -> bool:
    """Return whether a model is to generate: other requests that create something are not retried."""
    return asked.method in {"generateContent", "streamGenerateContent"}
