"""Clients share a pool that is too small for all: each gets its share, or a time to retry that is true.

On a simulated clock.
"""

import pytest

from tests.support.shared_pool import Figures, Load, SharedPool

pytestmark = pytest.mark.no_cover  # it would take three times as long, for lines that other tests run as well

EQUAL = [15] * 10
UNEQUAL = [5, 8, 11, 14, 18, 23, 29, 37, 47, 60]
SEEDS = [1, 2, 3]
LIGHT, HEAVY = Load("light", 0.1), Load("heavy", 3.0)
CROWD, OWNED = Load("one", 0.99), Load("one", 0.11, owned=True)


def together(runs: list[dict[Load, Figures]], load: Load) -> Figures:
    """The figures of a load in several runs."""
    whole = Figures()
    for run in runs:
        whole.waits += run[load].waits
        whole.told += run[load].told
        whole.back += run[load].back
    return whole


@pytest.mark.parametrize("quotas", [EQUAL, UNEQUAL])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_light_client_is_served_soon_beside_a_heavy_one_and_nothing_is_wasted(
    quotas: list[int], workers: int
) -> None:
    pool = SharedPool(quotas, [LIGHT, HEAVY], workers=workers, measured=8)
    light = pool.run()[LIGHT]
    assert light.served >= 0.98
    assert light.median_wait <= 2
    assert pool.used >= 0.97
    assert pool.calls_for_each <= 1.03


@pytest.mark.parametrize(("weights", "ratio"), [({}, 1.0), ({"a": 3.0}, 3.0), ({"b": 4.0}, 0.25)])
def test_clients_that_want_more_than_there_is_share_it_by_their_weights(
    weights: dict[str, float], ratio: float
) -> None:
    loads = Load("a", 1.2), Load("b", 2.4)
    figures = SharedPool(EQUAL, loads, weights, measured=8).run()
    shares = [len(figures[load].waits) for load in loads]
    assert shares[0] / shares[1] == pytest.approx(ratio, rel=0.1)


@pytest.mark.parametrize("client", ["one", "another"])
def test_requests_of_an_owner_are_served_like_the_crowd_before_its_key(client: str) -> None:
    owned = Load(client, OWNED.share, owned=True)
    pools = [SharedPool(EQUAL, [CROWD, owned], seed=seed) for seed in SEEDS]
    runs = [pool.run() for pool in pools]
    crowd, owners = together(runs, CROWD), together(runs, owned)
    assert owners.served >= crowd.served - 0.03
    assert crowd.served >= 0.88
    assert min(pool.used for pool in pools) >= 0.97


def test_requests_of_owners_do_not_starve_the_crowd() -> None:
    crowd, owned = Load("one", 0.5), Load("one", 0.6, owned=True)
    runs = [SharedPool(EQUAL, [crowd, owned], seed=seed).run() for seed in SEEDS]
    assert together(runs, crowd).served >= together(runs, owned).served - 0.1


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(("returning", "served_again"), [(0.2, 0.96), (1.0, 0.93)])
def test_those_who_come_back_when_they_were_told_to_are_served(
    workers: int, returning: float, served_again: float
) -> None:
    load = Load("one", 1.3, returning)
    pools = [SharedPool(EQUAL, [load], workers=workers, seed=seed) for seed in SEEDS]
    figures = together([pool.run() for pool in pools], load)
    assert len(figures.back) > 300
    assert figures.served_again >= served_again
    assert min(pool.used for pool in pools) >= 0.97


def test_a_heavy_client_that_comes_back_as_told_takes_nothing_from_a_light_one() -> None:
    heavy = Load("heavy", 1.5, 1.0)
    figures = SharedPool(EQUAL, [LIGHT, heavy], measured=8).run()
    assert figures[LIGHT].served >= 0.98
    assert figures[LIGHT].median_wait <= 2
