"""Paused keys: out of the rotation and of their projects, until they are resumed."""

import random
from dataclasses import replace

from proxycore.gemini.request_scope import RequestScope
from proxycore.rotation.affinity import AffinityTable
from proxycore.rotation.bench import Bench, BenchPlace
from proxycore.rotation.key import Key, KeySpec, keys_of
from proxycore.rotation.rotator import Rotator
from tests.support.clocks import CLOCK

MODEL = "gemini-2.5-flash"
A, B, OTHER = KeySpec("a", "AIza-a", "shop"), KeySpec("b", "AIza-b", "shop"), KeySpec("c", "AIza-c")


def reload(rotator: Rotator, *specs: KeySpec) -> dict[str, Key]:
    rotator.change(keys_of(specs, rotator.configured), {}, 10.0)
    return {key.name: key for key in rotator.configured}


def paused(spec: KeySpec) -> KeySpec:
    return replace(spec, paused=True)


def test_a_paused_key_is_never_chosen_and_belongs_to_no_other_keys_project() -> None:
    source = random.Random(1)  # noqa: S311 - a reproducible case
    rotator = Rotator(keys_of([A, B, OTHER]), {}, clock=CLOCK, source=source)
    for specs in ((paused(A), B, OTHER), (paused(A), paused(B), OTHER), (A, paused(B), OTHER), (A, B, OTHER)):
        keys = reload(rotator, *specs)
        serving = {spec.name for spec in specs if not spec.paused}
        assert {key.name for key in rotator.keys} == serving
        picked = [rotator.pick(MODEL) for _ in range(100)]
        assert {key.name for key in picked if key} == serving
        for spec in specs:
            key = keys[spec.name]
            assert key.project.keys == ([key] if spec.paused else key.project.keys)
    assert keys["a"].project is keys["b"].project
    assert {key.name for key in keys["a"].project.keys} == {"a", "b"}


def test_a_paused_key_owns_its_resources_again_once_it_is_resumed() -> None:
    affinity, key = AffinityTable(CLOCK), keys_of([A])[0]
    scope = RequestScope(MODEL, resources=("files/abc",))
    affinity.learn(scope.resources, key)
    for spec, owner in ((A, key), (paused(A), None), (A, key)):
        affinity.keep(keys_of([spec], [key]))
        assert affinity.owner(scope) is owner


def test_a_key_keeps_its_benches_while_it_is_paused() -> None:
    source = random.Random(1)  # noqa: S311 - a reproducible case
    rotator = Rotator(keys_of([A, OTHER]), {}, clock=CLOCK, source=source)
    key = reload(rotator, A, OTHER)["a"]
    for place, about in ((BenchPlace.WHOLE, ""), (BenchPlace.MODEL, MODEL)):
        rotator.begin_bench(key, place, Bench("a reason", CLOCK() + 100.0), about=about)
    reload(rotator, paused(A), OTHER)
    assert key.state(CLOCK()) == "paused"
    assert reload(rotator, A, OTHER)["a"] is key
    assert key.state(CLOCK()) == "benched"
    assert key.bench_at(BenchPlace.MODEL, MODEL)
