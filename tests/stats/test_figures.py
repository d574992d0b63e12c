"""What processes report adds up, and stays when one ends."""

from proxycore.http.access_record import AccessRecord, RequestOutcome
from proxycore.rotation.key import Key
from proxycore.stats.counters import Counters
from proxycore.stats.figures import FiguresSum, LocalFigures
from proxycore.stats.history import History
from proxycore.stats.meter import Meter
from tests.support.clocks import TurnedClock


async def test_a_process_alone_reads_its_own_figures() -> None:
    meter = Meter(TurnedClock())
    meter.attempted(Key("1", "secret"), 200)
    figures = await LocalFigures(meter).read()
    assert dict(figures.counters.of("attempts")) == {("1", "2xx"): 1}
    assert figures.processes == [meter.now()]


def test_counts_add_up_and_the_latest_activity_of_each_process_holds() -> None:
    total = FiguresSum(TurnedClock())
    total.add("one", [("attempts", ("1",), 2)], [{"running": 1}])
    total.add("other", [("attempts", ("1",), 3)], [{"running": 5}])
    total.add("one", [("attempts", ("2",), 1)], [{"running": 2}])
    assert dict(total.read().counters.of("attempts")) == {("1",): 5, ("2",): 1}
    assert total.read().processes == [{"running": 2}, {"running": 5}]


def test_a_process_that_ends_leaves_its_counts() -> None:
    total = FiguresSum(TurnedClock())
    total.add("one", [("attempts", (), 2)], [{"running": 1}])
    for _ in range(2):
        total.remove("one")
    assert (dict(total.read().counters.of("attempts")), total.read().processes) == ({(): 2}, [])


def test_minutes_that_are_older_than_an_hour_are_forgotten() -> None:
    clock, counted = TurnedClock(), Counters()
    total = FiguresSum(clock)
    History(counted, clock).ended(AccessRecord("", clock(), status=200), RequestOutcome.SERVED)
    total.add("one", counted.drain(), [])
    assert total.read().counters.of("minute.ended")
    clock.turn(3700)
    total.add("one", [], [])
    assert not total.read().counters.of("minute.ended")
