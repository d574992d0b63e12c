"""The models at a moment, as JSON for the status page: their keys, and what is left of their quotas. Pure."""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from proxycore.clock import Clock
from proxycore.stats.figures import Figures
from proxycore.stats.model_keys import ModelKeys

Json = dict[str, Any]

_MOST = 64


def model_summaries(
    figures: Figures,
    known: Mapping[str, ModelKeys],
    today: Mapping[str, Json],
    *,
    clock: Clock,
    redact: Callable[[str], str],
) -> list[Json]:
    """Return the `known` models with their keys, most asked first.

    `today` is what is left of the day for each, as JSON.
    """
    counters = figures.counters
    requests = counters.of("model.requests")
    shown = sorted(known, key=lambda model: (-requests.get((model,), 0), model))[:_MOST]
    prompt, cached = counters.of("model.prompt_tokens"), counters.of("model.cached_tokens")
    return [
        _keys(known[model], clock)
        | {
            "name": redact(model),
            "day": _day(today.get(model)),
            "cached": _share(cached.get((model,), 0), prompt.get((model,), 0)),
            "requests": int(requests.get((model,), 0)),
        }
        for model in shown
    ]


def _keys(known: ModelKeys, clock: Clock) -> Json:
    return {
        "ready": known.ready,
        "resting": known.resting,
        "retired": known.retired,
        "not_entitled": known.not_entitled,
        "minute": {"left": known.left, "of": known.limit} if known.limit else None,
        "next_back": None if known.next_back == inf else round(clock.to_wall(known.next_back), 1),
    }


def _day(today: Json | None) -> Json | None:
    if today is None:
        return None
    return {name: today[name] for name in ("left", "spent_at", "until", "unknown")} | {
        "of": today["requests"]
    }


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 3) if whole else None
