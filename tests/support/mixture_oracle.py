"""Judges what the program did in a mixture by the truth, which the model of Google has."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from tests.support.google_model import DEAD, UPSTREAMS, VAGUE, Ill, KeyPlan, Poison, Request, Truth
from tests.support.mixture_run import SAMPLE, Outcome, Run

MAX_WAIT = 10.0
_SURE = 2.0  # seconds for which a key has to have been ready: what a recovery may take
_STEP = 0.1
_FLIP = 1.5  # seconds: who is refused so soon after keys turned bad can't be told from a poisoned request
_AT_A_FLIP = 2  # requests of one model that may be lost so
_MOST_REST = 0.02  # share of the time
_LEAST_REST = 1.2  # seconds: one suspicion
_MOST_NOT_FOUND = 8
_LATE = 3.0  # seconds
_LEFT = 499
_LONGEST = MAX_WAIT + 15  # seconds that a request may take: it waits, and then it may meet slow answers


class Failure(Enum):
    """What went wrong. The second half is counted, but may happen."""

    LOST = "a request was lost although a key would have served it"
    RESTED = "a healthy key rested too long"
    POISON = "the client of a poisoned request was not told the upstream's own answer"
    CALLS = "too many refused calls in an outage"
    RECOVERY = "no service within two seconds of an outage's end"
    HUNG = "a request took too long, or never ended"
    FAULT = "an exception"

    UPSTREAM_FAILURE = "a request was lost to 5xx although a key would have served it"
    QUOTA = "a request was lost although a key had quota left"
    GAVE_UP = "a request was refused in an outage that ended within its time"
    LATE = "a key that would serve was found late"
    FLIP = "a request was lost when keys had just turned bad"


HARD = frozenset(list(Failure)[:7])


@dataclass(frozen=True)
class Finding:
    """One failure: of a request (-1: of none), at a moment, in words."""

    failure: Failure
    at: float
    number: int
    words: str

    def __str__(self) -> str:
        who = f"r{self.number} " if self.number >= 0 else ""
        return f"{self.at:8.3f} {who}{self.failure.name}: {self.words}"


@dataclass
class Judgement:
    """The result of one run. `calls` are for each served request, `rest` is the worst healthy key's.

    A poisoned request's calls are not among those, but `poisoned_calls`.
    """

    seed: int
    findings: list[Finding] = field(default_factory=list)
    requests: int = 0
    plain: int = 0
    served: int = 0
    calls: float = math.nan
    rest: float = 0.0
    poisoned_calls: float = math.nan

    @property
    def counts(self) -> Counter[Failure]:
        """How often each failure was found."""
        return Counter(finding.failure for finding in self.findings)


def judge(run: Run) -> Judgement:
    """The judgement of a run that is over."""
    outcomes = run.outcomes
    plain = [outcome for outcome in outcomes if outcome.request.poison is Poison.PLAIN]
    poisoned = [outcome for outcome in outcomes if outcome.request.poison is not Poison.PLAIN]
    judgement = Judgement(run.mixture.seed, requests=len(outcomes), plain=len(plain))
    judgement.served = sum(outcome.served for outcome in plain)
    if judgement.served:
        judgement.calls = sum(len(outcome.calls) for outcome in plain) / judgement.served
    if poisoned:
        judgement.poisoned_calls = sum(len(outcome.calls) for outcome in poisoned) / len(poisoned)
    findings = judgement.findings
    findings += [Finding(Failure.FAULT, 0.0, -1, fault) for fault in run.faults]
    for outcome in outcomes:
        findings += _broken(outcome)
    findings += _losses(run, plain)
    findings += [finding for outcome in poisoned for finding in _poisoned(run, outcome)]
    for (name, lane), looks, share in _rests(run):
        judgement.rest = max(judgement.rest, share)
        if share > _MOST_REST and len(looks) * SAMPLE > _LEAST_REST:
            words = f"key {name} rested {len(looks) * SAMPLE:.1f} s for {lane}, {share:.1%} of the time"
            findings.append(Finding(Failure.RESTED, looks[0], -1, words))
    for outage in _outages(run):
        findings += _outage(run, outage, plain)
    findings.sort(key=lambda finding: finding.at)
    return judgement


def _broken(outcome: Outcome) -> Iterator[Finding]:
    request, end = outcome.request, outcome.end
    if outcome.fault:
        yield Finding(Failure.FAULT, request.at, request.number, repr(outcome.fault))
    elif end is None or end > request.at + _LONGEST:
        took = "never ended" if end is None else f"took {end - request.at:.1f} s"
        yield Finding(Failure.HUNG, request.at, request.number, took)


def _losses(run: Run, plain: list[Outcome]) -> Iterator[Finding]:
    flips = sorted({ill.begin for ill in _vague(run) if ill.begin > 0})
    at_flips: Counter[tuple[float, str]] = Counter()
    for outcome in plain:
        if outcome.end is None or outcome.fault or outcome.status == _LEFT:
            continue
        if outcome.served:
            yield from _late(run, outcome)
            continue
        flip = max((flip for flip in flips if outcome.request.at - 1 <= flip <= outcome.end), default=None)
        ready = ready_key(run, outcome.request, outcome.end)
        soon = flip is not None and outcome.end <= max(flip, outcome.request.at) + _FLIP
        if flip is not None and soon and {asked.answer.why for asked in outcome.calls} <= VAGUE:
            at_flips[flip, outcome.request.model] += 1
            if at_flips[flip, outcome.request.model] <= _AT_A_FLIP:
                if ready:
                    yield _lost(Failure.FLIP, outcome, ready)
                continue
        if ready:
            yield _lost(_kind(run, outcome, ready[1]), outcome, ready)
        else:
            yield from _gave_up(run, outcome)


def _vague(run: Run) -> list[Ill]:
    ills = [*run.mixture.everywhere, *(ill for key in run.mixture.keys for ill in key.ills)]
    return [ill for ill in ills if ill.trouble in VAGUE and ill.share >= 1]


def _kind(run: Run, outcome: Outcome, truth: Truth) -> Failure:
    if outcome.status >= 500:
        return Failure.UPSTREAM_FAILURE
    if _searched_in_vain(run, outcome) or _not_found(outcome):
        return Failure.GAVE_UP
    return Failure.QUOTA if truth is Truth.QUOTA else Failure.LOST


def _searched_in_vain(run: Run, outcome: Outcome) -> bool:
    """Whether it waited out an outage, after which ill keys were tried first, one in a second."""
    begin, end = outcome.request.at, outcome.end or 0.0
    ill = sum(any(one.begin <= end <= one.end for one in key.ills) for key in run.mixture.keys)
    return any(begin < outage.end <= end < outage.end + _SURE + ill for outage in _outages(run))


def _not_found(outcome: Outcome) -> bool:
    """Whether eight projects said that the model is not there: no more are asked."""
    return sum(asked.answer.response.status == 404 for asked in outcome.calls) >= _MOST_NOT_FOUND


def _lost(failure: Failure, outcome: Outcome, ready: tuple[KeyPlan, Truth, float]) -> Finding:
    request, took = outcome.request, (outcome.end or 0.0) - outcome.request.at
    said = f"{outcome.status}{' of the proxy' if outcome.own else ''}"
    words = (
        f"{said} after {took:.2f} s and {len(outcome.calls)} calls; key {ready[0].name} would have served"
        f" {request.model} ({ready[1].name}) at {ready[2]:.2f}"
    )
    return Finding(failure, outcome.end or 0.0, request.number, words)


def ready_key(run: Run, request: Request, end: float) -> tuple[KeyPlan, Truth, float] | None:
    """A key that would have served the request in its time, and was ready for a while, and when that was."""
    for wanted in (Truth.YES, Truth.QUOTA):
        for key in sorted(run.mixture.keys, key=lambda key: not key.healthy):
            if (at := _ready_at(run, key, request, end, wanted)) is not None:
                return key, wanted, at
    return None


def _ready_at(run: Run, key: KeyPlan, request: Request, end: float, wanted: Truth) -> float | None:
    at = max(0.0, request.at - _SURE)
    since: float | None = None
    while at <= end:
        if run.google.truth(key, request, at) is not wanted:
            since = None
        elif since is None:
            since = at
        if since is not None and at >= request.at and (since == 0 or at >= since + _SURE - 1e-6):
            return at
        at = end if at < end < at + _STEP else at + _STEP
    return None


def _late(run: Run, outcome: Outcome) -> Iterator[Finding]:
    request, sent = outcome.request, outcome.calls[-1].at
    if sent < request.at + _LATE:
        return
    ready = ready_key(run, request, sent - _LATE)
    if ready and ready[1] is Truth.YES:
        words = (
            f"waited {sent - request.at:.2f} s and {len(outcome.calls)} calls, though key {ready[0].name} was"
        )
        yield Finding(Failure.LATE, sent, request.number, f"{words} ready")


def _gave_up(run: Run, outcome: Outcome) -> Iterator[Finding]:
    request, end = outcome.request, outcome.end or 0.0
    if end > request.at + MAX_WAIT - 1:
        return
    for outage in _outages(run):
        over = outage.end
        in_time = outage.concerns(request.model, end) and over <= request.at + MAX_WAIT - _SURE
        if in_time and ready_key(run, request, over + _SURE + 0.1):
            words = f"{outcome.status} after {end - request.at:.2f} s; the outage ended at {over:.2f}"
            yield Finding(Failure.GAVE_UP, end, request.number, words)


def _poisoned(run: Run, outcome: Outcome) -> Iterator[Finding]:
    request = outcome.request
    told = outcome.own and outcome.status in {401, 429, 503}
    own_words = sum(asked.answer.why is request.poison for asked in outcome.calls)
    if told and own_words >= min(3, len({key.project for key in run.mixture.keys})):
        words = (
            f"{request.poison.name}: {own_words} keys said so, but the client was told {outcome.status} by us"
        )
        yield Finding(Failure.POISON, outcome.end or 0.0, request.number, words)


def _outages(run: Run) -> list[Ill]:
    """When every key was refused alike, so that nothing could be served."""
    return [ill for ill in run.mixture.everywhere if ill.trouble not in UPSTREAMS]


def _rests(run: Run) -> Iterator[tuple[tuple[str, str], list[float], float]]:
    """Of each healthy key and lane: the looks at which it rested, outages apart, and the share of all."""
    spans = [(ill.begin, ill.end + _SURE) for ill in run.mixture.everywhere]

    def counts(at: float) -> bool:
        return at <= run.mixture.seconds and not any(begin <= at < end for begin, end in spans)

    looks = sum(counts(n * SAMPLE) for n in range(1, int(run.mixture.seconds / SAMPLE) + 1))
    for about, moments in run.rests.items():
        rested = [at for at in moments if counts(at)]
        yield about, rested, len(rested) / max(1, looks)


def _outage(run: Run, outage: Ill, plain: list[Outcome]) -> Iterator[Finding]:
    mixture = run.mixture
    refused = sum(
        asked.answer.why is outage.trouble and outage.begin <= asked.at < outage.end
        for outcome in run.outcomes
        for asked in outcome.calls
        if outage.model in {"", outcome.request.model}
    )
    seconds = min(outage.end, mixture.seconds) - outage.begin
    lanes = 1 if outage.trouble in DEAD else len(_lanes(run, outage.model))
    under_way = 0.1 * sum(client.rate for client in mixture.clients) + 3 * _served_in(run, outage)
    # A large pool is searched faster, so that all of whom nothing is known are tried while a request waits.
    known = {asked.key for outcome in run.outcomes for asked in outcome.calls if asked.at < outage.begin}
    most = lanes * (10 + 1.2 * seconds + len(mixture.keys) - len(known)) + under_way
    if refused > most:
        words = f"{refused} refused calls in {seconds:.1f} s ({outage}), at most {most:.0f} are due"
        yield Finding(Failure.CALLS, outage.begin, -1, words)
    for model in mixture.models:
        if outage.model in {"", model}:
            yield from _recovery(run, outage.end, [one for one in plain if one.request.model == model])


def _lanes(run: Run, model: str) -> set[tuple[Poison, str]]:
    """What is asked for of a model, or (empty) of all, and has quotas, so also a search, of its own."""
    requests = [outcome.request for outcome in run.outcomes if model in {"", outcome.request.model}]
    apart = {Poison.SEARCH, Poison.CACHE}
    return {(one.poison if one.poison in apart else Poison.PLAIN, one.model) for one in requests}


def _served_in(run: Run, outage: Ill) -> int:
    """How many calls that were sent before an outage are served in it: each ends what is thought of it."""
    calls = [asked for outcome in run.outcomes for asked in outcome.calls if asked.answer.why is None]
    return sum(asked.at < outage.begin < asked.at + asked.answer.seconds for asked in calls)


def _recovery(run: Run, over: float, plain: list[Outcome]) -> Iterator[Finding]:
    """Whether a waiting request was served soon, if a key was ready at once."""
    there = [one for one in plain if one.request.at <= over + 1 and (one.end or math.inf) > over + _SURE]
    later = [one for one in plain if over < one.request.at <= over + 1]
    if not there and not later:
        return
    sent = [one.calls[-1].at for one in plain if one.served and one.calls[-1].at >= over]
    request = (there or later)[0].request
    if min(sent, default=math.inf) <= over + _SURE + (max(0.0, request.at - over)):
        return
    ready = ready_key(run, request, over + _SURE + 0.05)
    if ready and ready[1] is Truth.YES and ready[2] >= over:
        when = f"at {min(sent):.2f}" if sent else "never"
        words = f"the outage ended at {over:.2f}, {request.model} was served again {when}"
        yield Finding(Failure.RECOVERY, over + _SURE, request.number, words)
