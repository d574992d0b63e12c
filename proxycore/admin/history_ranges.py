"""What became of requests, slot by slot, over an hour, a day, a week or a month, as its path serves it.

The last hour comes from memory, longer ones from the state file.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from proxycore.admin.parameters import Parameters
from proxycore.clock import Clock
from proxycore.stats.figures import Figures
from proxycore.stats.history import Ending, Slot, last_hour
from proxycore.storage.records import RecordsSource
from proxycore.storage.rows import SlotQuery

Json = dict[str, Any]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@dataclass(frozen=True, slots=True)
class _Range:
    """So many seconds, in slots of `step` seconds."""

    seconds: int
    step: int


_SHORTEST = "1h"
_RANGES = {
    _SHORTEST: _Range(_HOUR, _MINUTE),
    "24h": _Range(_DAY, 10 * _MINUTE),
    "7d": _Range(7 * _DAY, _HOUR),
    "30d": _Range(30 * _DAY, 6 * _HOUR),
}


class HistoryRanges:
    """Serves the history by range. `source` has the state file, `figures` reads those of all processes."""

    def __init__(
        self, source: RecordsSource, figures: Callable[[], Awaitable[Figures]], clock: Clock
    ) -> None:
        self._source = source
        self._figures = figures
        self._clock = clock

    async def json(self, query: str, is_credential: Callable[[str], bool]) -> str:
        """Return the range that a URL's query asks for, as JSON.

        `is_credential` is whether a `key` in the query is a credential. Raises ParameterError; for the last
        hour FiguresError, when the figures of other processes can't be read; for the others NoStateFileError.
        """
        parameters = Parameters(query, ("range",), is_credential)
        name = parameters.choice("range", _RANGES) or _SHORTEST
        chosen = _RANGES[name]
        first: int | None
        if name == _SHORTEST:
            first, slots = await self._last_hour()
            until = slots[-1].time + chosen.step
        else:
            until = int(self._clock.wall() // chosen.step + 1) * chosen.step
            found = await self._source.slots(SlotQuery(until - chosen.seconds, until, chosen.step))
            first, slots = found.first, found.slots
        since = until - chosen.seconds
        begins = until if first is None else max(since, first // chosen.step * chosen.step)
        head = {"range": name, "step": chosen.step, "from": since, "to": until}
        times = range(begins, until, chosen.step)
        return await asyncio.to_thread(_text, head, times, {slot.time: slot for slot in slots})

    async def _last_hour(self) -> tuple[int, list[Slot]]:
        """Return when the first minute of the last hour began that this program has seen, and all minutes."""
        figures = await self._figures()
        slots = last_hour(figures.counters, self._clock)
        now = self._clock()
        started = self._clock.to_wall(min((one["started"] for one in figures.processes), default=now))
        # Workers may have been started again since.
        first = next((slot.time for slot in slots if slot.ended), slots[-1].time)
        return min(int(started), first), slots


def _text(head: Json, times: range, slots: dict[int, Slot]) -> str:
    ended: Counter[Ending] = Counter()
    shown = []
    for time in times:
        slot = slots.get(time) or Slot(time)
        ended += slot.ended
        shown.append(slot.json())
    content = head | {"slots": shown, "ended": [_ending(ending, n) for ending, n in ended.most_common()]}
    return json.dumps(content)


def _ending(ending: Ending, requests: int) -> Json:
    return {
        "outcome": ending.outcome,
        "status": ending.status,
        "failed_over": ending.failed_over,
        "requests": requests,
    }
