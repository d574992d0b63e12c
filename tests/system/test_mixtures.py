"""Random mixtures of keys, requests and outages on a turned clock, judged by the truth.

`python -m tests.bench.mixtures` runs thousands, and replays one with everything that happens in it.
"""

from dataclasses import replace
from statistics import median

import pytest

from tests.support.google_model import Ill, KeyPlan, Poison, Trouble
from tests.support.mixture_oracle import HARD, Failure, Judgement, judge
from tests.support.mixture_run import Run
from tests.support.mixture_shrink import shrunk
from tests.support.mixture_trace import Trace, logged_to
from tests.support.mixtures import MODELS, Client, Mixture, mixture

pytestmark = pytest.mark.no_cover  # it would take three times as long, for lines that other tests run as well
HEALTHY = Mixture(
    seed=1,
    seconds=20.0,
    latency=0.3,
    keys=tuple(KeyPlan(f"{n}", f"p{n}") for n in range(1, 6)),
    clients=(Client("c0", 5.0, MODELS[:2]),),
)


COUNT, CHUNK = 150, 25
# Some mixtures leave no way to know in time: most keys turn bad at one moment beside poisoned requests, or an
# outage of all hides that half of them are dead. What is found in thousands is told by the bench.
MOST_LOST, MOST_TROUBLED = 0.0005, 0.05


@pytest.fixture(scope="module")
def judgements() -> dict[int, Judgement]:
    """What was found, by seed."""
    return {}


def asked(run: Run) -> list[tuple[int, int, list[tuple[str, float]]]]:
    return [
        (one.request.number, one.status, [(call.key, call.at) for call in one.calls]) for one in run.outcomes
    ]


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    judgement = judge(Run(HEALTHY).run())
    assert not judgement.findings
    assert judgement.plain == judgement.served > 50
    assert judgement.calls == 1


@pytest.mark.parametrize(
    "trouble", [Trouble.DENIED, Trouble.INVALID, Trouble.DAY, Trouble.BARE, Trouble.CALLER]
)
def test_a_key_that_is_ill_serves_nothing_and_the_others_everything(trouble: Trouble) -> None:
    ill = replace(HEALTHY.keys[0], ills=(Ill(trouble),))
    run = Run(replace(HEALTHY, keys=(ill, *HEALTHY.keys[1:]))).run()
    assert all(one.served for one in run.outcomes)
    assert {call.key for one in run.outcomes for call in one.calls[-1:]} == {"2", "3", "4", "5"}


def test_a_request_that_a_ready_key_would_have_served_counts_as_lost() -> None:
    run = Run(HEALTHY).run()
    run.outcomes[30].status = 429
    (finding,) = judge(run).findings
    assert finding.failure is Failure.LOST
    assert finding.number == run.outcomes[30].request.number


def test_a_request_that_no_key_would_have_served_is_not_lost() -> None:
    keys = tuple(replace(key, ills=(Ill(Trouble.DAY),)) for key in HEALTHY.keys)
    run = Run(replace(HEALTHY, keys=keys)).run()
    assert not any(one.served for one in run.outcomes)
    assert not judge(run).counts[Failure.LOST]


def test_a_healthy_key_that_rests_is_found() -> None:
    run = Run(HEALTHY).run()
    run.rests["3", MODELS[0]] = [n * 0.25 for n in range(1, 9)]
    (finding,) = judge(run).findings
    assert finding.failure is Failure.RESTED
    assert "key 3 rested 2.0 s" in finding.words


def test_the_same_seed_is_the_same_run_watched_or_not() -> None:
    trace = Trace()
    with logged_to(trace):
        watched = Run(mixture(5), trace).run()
    assert asked(watched) == asked(Run(mixture(5)).run())
    assert len(trace.lines) > 2 * len(watched.outcomes)


def test_what_a_failure_does_not_need_is_taken_away() -> None:
    poisoned = Client("poison", 1.0, MODELS[:1], Poison.BARE, 1.0)
    whole = replace(HEALTHY, clients=(*HEALTHY.clients, poisoned))
    small = shrunk(whole, lambda one: any(client.share for client in one.clients) and len(one.keys) > 1)
    assert [client.name for client in small.clients] == ["poison"]
    assert len(small.keys) == 2
    assert small.seconds < 3


@pytest.mark.parametrize("first", range(0, COUNT, CHUNK))
def test_a_mixture_breaks_nothing_and_hangs_nowhere(first: int, judgements: dict[int, Judgement]) -> None:
    for seed in range(first, first + CHUNK):
        judgements[seed] = judge(Run(mixture(seed)).run())
    chunk = [judgements[seed] for seed in range(first, first + CHUNK)]
    assert not any(one.counts[Failure.FAULT] or one.counts[Failure.HUNG] for one in chunk)


def test_next_to_no_request_is_lost_while_a_key_would_serve(judgements: dict[int, Judgement]) -> None:
    lost = sum(one.counts[Failure.LOST] for one in judgements.values())
    assert lost <= sum(one.plain for one in judgements.values()) * MOST_LOST, _how_to_see(judgements)


def test_next_to_no_mixture_has_a_healthy_key_that_rests_or_a_dear_outage(
    judgements: dict[int, Judgement],
) -> None:
    troubled = [one for one in judgements.values() if HARD.intersection(one.counts)]
    assert len(troubled) <= COUNT * MOST_TROUBLED, _how_to_see(judgements)
    assert median(one.rest for one in judgements.values()) == 0


def _how_to_see(judgements: dict[int, Judgement]) -> str:
    found = [
        f"python -m tests.bench.mixtures --seed {one.seed} --shrink {finding.failure.name} --trace: {finding}"
        for one in judgements.values()
        for finding in one.findings
        if finding.failure in HARD
    ]
    return "\n".join(found[:20])


def test_the_median_mixture_costs_few_calls(judgements: dict[int, Judgement]) -> None:
    calls = [one.calls for one in judgements.values() if one.served]
    assert len(calls) > COUNT * 0.9
    assert median(calls) <= 1.3


@pytest.mark.parametrize("trouble", [Trouble.BARE, Trouble.CALLER, Trouble.INVALID])
def test_a_true_outage_of_fifty_keys_costs_few_calls_and_is_over_at_once(trouble: Trouble) -> None:
    keys = tuple(KeyPlan(f"{n}", f"p{n}") for n in range(1, 51))
    clients = tuple(Client(f"c{n}", 2.0, MODELS[:1]) for n in range(6))
    outage = Ill(trouble, 10.0, 20.0)
    run = Run(replace(HEALTHY, seconds=30.0, keys=keys, clients=clients, everywhere=(outage,))).run()
    refused = sum(call.answer.why is trouble for one in run.outcomes for call in one.calls)
    assert refused <= 20
    assert not [finding for finding in judge(run).findings if finding.failure in HARD]
    later = [one for one in run.outcomes if one.request.at >= 22]
    assert len(later) > 50
    assert all(one.served and one.end and one.end < one.request.at + 1 for one in later)
    assert not [at for looks in run.rests.values() for at in looks if at > 22]
