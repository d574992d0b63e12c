"""The metrics for Prometheus, named as prometheus.io/docs/practices/naming says. Pure.

The values are sums over all processes, whichever of them is scraped. Label values are bounded: a key that was
removed is `removed`, models are counted by family, and of many clients the later ones are `other`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from proxycore import __version__
from proxycore.clock import Clock
from proxycore.gemini.lane import model_of
from proxycore.rotation.key_state import KeyState, state_of
from proxycore.rotation.rotator import Rotator
from proxycore.stats.counters import Labels
from proxycore.stats.figures import Figures
from proxycore.stats.forecast import forecasts
from proxycore.stats.history import FIRST_BYTE_BOUNDS
from proxycore.stats.meter import DURATION_BOUNDS, LAG_BOUNDS
from proxycore.stats.model_labels import NONE, OTHER, ModelLabels

_PREFIX = "gemini_proxy_"
_REMOVED = "removed"
_MOST_CLIENTS = 100  # with series of their own: those that were seen first, so that no series ever decreases

# metric, counter, help, labels, the place of the key's name among them
_COUNTERS: tuple[tuple[str, str, str, tuple[str, ...], int | None], ...] = (
    ("requests", "requests", "Completed requests by outcome", ("outcome", "key", "model"), 1),
    ("attempts", "attempts", "Upstream calls by response", ("key", "answer"), 0),
    ("client_requests", "client.requests", "Completed requests by client", ("client",), None),
    (
        "client_tokens",
        "client.tokens",
        "Tokens reported by uncompressed responses, by client",
        ("client", "direction"),
        None,
    ),
    ("failovers", "failovers", "Requests that failed over from this key to another", ("key",), 0),
    ("hedges", "hedges", "Second attempts of late requests by result", ("result",), None),
    ("benches", "benches", "Benches and retirements", ("key", "scope", "reason"), 0),
    ("received_bytes", "received", "Bytes received from clients in request bodies and messages", (), None),
    ("sent_bytes", "sent", "Bytes sent to clients in responses and messages", (), None),
    ("tokens", "tokens", "Tokens reported by responses", ("direction", "model"), None),
    ("prompt_tokens", "prompt_tokens", "Prompt tokens by key", ("key", "model"), 0),
    ("cached_prompt_tokens", "cached_tokens", "Prompt tokens from Google's cache", ("key", "model"), 0),
    (
        "dropped_log_lines",
        "dropped_lines",
        "Log lines dropped because the log output was blocked",
        (),
        None,
    ),
    (
        "client_refusals",
        "client.refusals",
        "Requests refused for a limit of their client",
        ("client", "limit"),
        None,
    ),
    ("unread_answers", "unread", "Responses whose tokens could not be read", (), None),
)
_HISTOGRAMS: tuple[tuple[str, str, str, tuple[str, ...], Sequence[float]], ...] = (
    ("time_to_first_byte_seconds", "first_byte", "Time to the first byte of a response", ("model",),
     FIRST_BYTE_BOUNDS),
    ("request_duration_seconds", "duration", "Duration of requests and streams", ("model",), DURATION_BOUNDS),
    ("event_loop_lag_seconds", "lag", "Delay of the event loop", (), LAG_BOUNDS),
)  # fmt: skip
_DAYS = (
    ("requests", "Requests per day of the projects whose daily quota is known."),
    ("used", "Requests that they made since midnight Pacific time."),
    ("left", "Requests that they have left until midnight Pacific time."),
    ("spent_projects", "Projects that have none left."),
    ("unknown_projects", "Projects of which it is not known how many requests are left."),
    ("spent_timestamp_seconds", "When none will be left at the pace of the last hour, or were none left."),
)


class Metrics(Collector):
    """The metrics at this moment. `redact` removes secrets from reasons, which are the upstream's words."""

    def __init__(
        self, rotator: Rotator, figures: Figures, clock: Clock, redact: Callable[[str], str]
    ) -> None:
        self._redact = redact
        self._rotator = rotator
        self._figures = figures
        self._clock = clock
        self._names = {key.name for key in rotator.configured} | {NONE}
        seen = figures.counters.of("client.requests")
        self._clients = {labels[0] for labels in islice(seen, _MOST_CLIENTS)}

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        yield from self._counters()
        yield from self._histograms()
        yield from self._gauges()

    def _counters(self) -> Iterator[Metric]:
        for name, counted, about, labels, place in _COUNTERS:
            family = CounterMetricFamily(_PREFIX + name, f"{about}.", labels=labels)
            sums: defaultdict[Labels, float] = defaultdict(float)
            if not labels:
                sums[()] = 0.0
            for values, n in self._figures.counters.of(counted).items():
                shown = [self._shown(label, value) for label, value in zip(labels, values, strict=True)]
                if place is not None and values[place] not in self._names:
                    shown[place] = _REMOVED
                sums[tuple(shown)] += n
            for values, n in sorted(sums.items()):
                family.add_metric(values, n)
            yield family

    def _shown(self, label: str, value: str) -> str:
        if label == "reason":
            return self._redact(value)
        if label == "client":
            return NONE if value == "-" else value if value in self._clients else OTHER
        return value

    def _histograms(self) -> Iterator[Metric]:
        for name, measured, about, labels, bounds in _HISTOGRAMS:
            family = HistogramMetricFamily(_PREFIX + name, f"{about}.", labels=labels)
            for values, counts, total in sorted(self._figures.counters.measured(measured, bounds)):
                family.add_metric(values, _cumulative(bounds, counts), total)
            yield family

    def _gauges(self) -> Iterator[Metric]:
        processes = self._figures.processes
        opened = GaugeMetricFamily(
            f"{_PREFIX}open_streams", "Streamed responses and Live sessions in progress.", labels=["kind"]
        )
        for kind, counted in (("stream", "streams"), ("live", "live")):
            opened.add_metric([kind], sum(one["open"][counted] for one in processes))
        yield opened
        for name, counted, about in (
            ("running_requests", "running", "Relayed requests in progress, in any phase."),
            ("waiting_requests", "waiting", "Requests waiting for a key."),
            ("held_body_bytes", "held", "Bytes of buffered request bodies, limited by MAX_HELD_MB."),
            ("upstream_connections", "connections", "Open connections to the upstream, idle ones included."),
        ):
            yield GaugeMetricFamily(_PREFIX + name, about, value=sum(one[counted] for one in processes))
        yield self._health()
        yield from self._days()
        yield GaugeMetricFamily(f"{_PREFIX}workers", "Worker processes.", value=len(processes))
        started = min((one["started"] for one in processes), default=self._clock())
        yield GaugeMetricFamily(
            f"{_PREFIX}start_time_seconds",
            "Start time in seconds since the epoch.",
            value=self._clock.to_wall(started),
        )
        yield InfoMetricFamily(f"{_PREFIX}build", "The running version.", value={"version": __version__})

    def _health(self) -> Metric:
        counts = dict.fromkeys(KeyState, 0)
        now, proven = self._clock(), self._figures.proven
        asked = self._figures.asked(now)
        for key in self._rotator.configured:
            counts[state_of(key, now, asked, proven=key.name in proven)] += 1
        family = GaugeMetricFamily(f"{_PREFIX}keys", "Keys by state.", labels=["state"])
        for state, count in counts.items():
            family.add_metric([state], count)
        return family

    def _days(self) -> Iterator[Metric]:
        """The day's quotas by family. Those of methods that have their own are left out."""
        now, labels = self._clock(), ModelLabels()
        sums: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
        for lane, day in forecasts(self._rotator, self._clock).items():
            if model_of(lane) != lane:
                continue
            family = labels.of(lane)
            for name, n in (("requests", day.requests), ("used", day.used), ("left", day.left)):
                sums[name][family] += n
            sums["spent_projects"][family] += day.spent
            sums["unknown_projects"][family] += day.unknown
            if (spent_at := day.spent_at(now)) is not None:
                first, wall = sums["spent_timestamp_seconds"], self._clock.to_wall(spent_at)
                first[family] = min(first.get(family, wall), wall)
        for name, about in _DAYS:
            gauge = GaugeMetricFamily(f"{_PREFIX}daily_quota_{name}", about, labels=["model"])
            for family, value in sums[name].items():
                gauge.add_metric([family], value)
            yield gauge


def _cumulative(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    total, buckets = 0, []
    for bound, count in zip([*map(str, map(float, bounds)), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets
