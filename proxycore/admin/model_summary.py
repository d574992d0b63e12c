"""The models at a moment, as JSON for the status page: their keys, and what is left of their quotas. Pure."""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from proxycore.clock import Clock
from proxycore.gemini.verdict import DAY
from proxycore.rotation.rotator import Rotator
from proxycore.stats.figures import Figures
from proxycore.stats.model_keys import ModelKeys, model_keys

Json = dict[str, Any]

_MOST = 64


def model_summaries(
    rotator: Rotator,
    figures: Figures,
    today: Mapping[str, Json],
    clock: Clock,
    redact: Callable[[str], str],
) -> list[Json]:
    """Return the models that clients asked for within a day or that have known limits, most asked first.

    `today` is what is left of the day for each, as JSON.
    """
    now, counters = clock(), figures.counters
    requests = counters.of("model.requests")
    known = model_keys(rotator, figures.asked(now, DAY), now)
    shown = sorted(known, key=lambda model: (-requests.get((model,), 0), model))[:_MOST]
    prompt, cached = counters.of("model.prompt_tokens"), counters.of("model.cached_tokens")
    retired = sum(key.retired is not None for key in rotator.keys)
    return [
        _keys(known[model], len(rotator.keys), retired, clock)
        | {
            "name": redact(model),
            "day": _day(today.get(model)),
            "cached": _share(cached.get((model,), 0), prompt.get((model,), 0)),
            "requests": int(requests.get((model,), 0)),
        }
        for model in shown
    ]


def _keys(known: ModelKeys, keys: int, retired: int, clock: Clock) -> Json:
    return {
        "ready": keys - retired - known.resting - known.not_entitled,
        "resting": known.resting,
        "retired": retired,
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
