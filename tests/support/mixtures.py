"""Random mixtures: pools with keys in all kinds of health, requests good and bad, and outages. Seeded.

A mixture is plain data, so that parts of it can be taken away to see which of them makes a failure.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.support.google_model import DEAD, VAGUE, Ill, KeyPlan, Poison, Request, Trouble

MODELS = ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-flash")
ORIGIN = "https://app.example"

# For one model at a time: entitlement to a model says nothing about the others.
_FOR_A_MODEL = frozenset(
    {Trouble.BARE, Trouble.CALLER, Trouble.TIER, Trouble.NOT_FOUND, Trouble.DAY, Trouble.MINUTE}
)
_OF_A_KEY = DEAD | {Trouble.REFERRER, Trouble.SLOW}
_FLUKES = 0.02
_POSSIBLE = (
    *([trouble for trouble in Trouble if trouble not in {Trouble.INTERNAL, Trouble.RESET}] * 2),
    *(Trouble.BARE, Trouble.DENIED, Trouble.INVALID, Trouble.OVERLOADED) * 2,
    Trouble.INTERNAL,
    Trouble.RESET,
)


@dataclass(frozen=True)
class Client:
    """One client: so many requests a second, of which a `share` is poisoned.

    `origin` is its page's. It `leaves` half of its requests after so many seconds, if not served yet.
    """

    name: str
    rate: float
    models: tuple[str, ...]
    poison: Poison = Poison.PLAIN
    share: float = 0.0
    origin: str = ""
    leaves: float = math.inf

    def __str__(self) -> str:
        poison = f", {self.share:.0%} {self.poison.name}" if self.share else ""
        origin = f", from {self.origin}" if self.origin else ""
        leaves = f", leaves after {self.leaves:.2f} s" if self.leaves < math.inf else ""
        return f"{self.rate:.2f}/s for {', '.join(self.models)}{poison}{origin}{leaves}"


@dataclass(frozen=True)
class Mixture:
    """One mixture; `named` is whether the proxy is told which keys share a project. Times are seconds."""

    seed: int
    seconds: float
    latency: float
    keys: tuple[KeyPlan, ...]
    clients: tuple[Client, ...]
    everywhere: tuple[Ill, ...] = ()
    named: bool = True

    @property
    def models(self) -> tuple[str, ...]:
        """The models that are asked for."""
        return tuple(dict.fromkeys(model for client in self.clients for model in client.models))

    def requests(self) -> list[Request]:
        """All requests, in order of arrival. A client's are the same, whoever else is there."""
        coming = [one for client in self.clients for one in self._requests_of(client)]
        coming.sort(key=lambda request: request.at)
        return [replace(request, number=number) for number, request in enumerate(coming)]

    def _requests_of(self, client: Client) -> Iterator[Request]:
        source = random.Random(f"{self.seed} {client.name}")  # noqa: S311 - seeded
        at = source.expovariate(client.rate)
        while at < self.seconds:
            poison = client.poison if source.random() < client.share else Poison.PLAIN
            leaves = client.leaves if source.random() < 0.5 else math.inf
            yield Request(0, client.name, at, poison, source.choice(client.models), client.origin, leaves)
            at += source.expovariate(client.rate)

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}: {self.seconds:.0f} s, {len(self.keys)} keys, answers {self.latency:.2f} s"
        ]
        alike: dict[str, list[str]] = {}
        for key in self.keys:
            what = ", ".join(map(str, key.ills)) or "healthy"
            shares = sum(other.project == key.project for other in self.keys) > 1
            alike.setdefault(what + (f" (project {key.project})" if shares else ""), []).append(key.name)
        for what, names in alike.items():
            shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
            lines.append(f"  {len(names)} x {what}: {shown}")
        lines += [f"  everywhere: {ill}" for ill in self.everywhere]
        lines += [f"  client {client.name}: {client}" for client in self.clients]
        return "\n".join(lines)


def mixture(seed: int) -> Mixture:
    """The mixture of this seed."""
    source = random.Random(seed)  # noqa: S311 - seeded, so that it is the same every time
    seconds = source.uniform(30, 50)
    models = tuple(source.sample(MODELS, source.choice([1, 1, 2, 3])))
    clients = _clients(source, models)
    return Mixture(
        seed,
        seconds,
        source.choice([0.05, 0.3, 0.3, 0.8, 1.5, 3.0]),
        _keys(source, models, seconds),
        clients,
        tuple(_everywhere(source, models, seconds)),
        source.random() < 0.5,
    )


def _keys(source: random.Random, models: tuple[str, ...], seconds: float) -> tuple[KeyPlan, ...]:
    low, high = source.choices([(1, 2), (3, 20), (21, 60), (200, 200)], [8, 80, 11, 1])[0]
    count = source.randint(low, high)
    ill_share = source.choice([0.0, 0.1, 0.3, 0.5, 0.8, 0.95])
    kinds = source.choices(_POSSIBLE, k=source.choice([1, 1, 2, 3]))
    flip = source.uniform(0.2, 0.7) * seconds
    sharing = source.choice([0.0, 0.0, 0.3])
    keys: list[KeyPlan] = []
    while len(keys) < count:
        project = f"p{len(keys) + 1}"
        size = source.choice([2, 3]) if source.random() < sharing else 1
        ills = [_ill(source, source.choice(kinds), models, flip)] if source.random() < ill_share else []
        for _ in range(min(size, count - len(keys))):
            own = tuple(ill for ill in ills if ill.trouble not in _OF_A_KEY or source.random() < 0.7)
            if source.random() < 0.01:
                own += (Ill(Trouble.INVALID, share=_FLUKES),)
            keys.append(KeyPlan(str(len(keys) + 1), project, own, ORIGIN))
    if source.random() < 0.95 and not any(key.healthy for key in keys):
        keys[source.randrange(count)] = KeyPlan("healthy", "healthy", (), ORIGIN)
    return tuple(keys)


def _ill(source: random.Random, trouble: Trouble, models: tuple[str, ...], flip: float) -> Ill:
    """An illness from the beginning, or from the flip on, or from some other moment; a few of them pass."""
    begin = source.choice([0.0, 0.0, flip, source.uniform(0.5, 1.5) * flip])
    end = begin + source.uniform(2, 20) if source.random() < 0.15 else math.inf
    ill = Ill(trouble, begin, end, source.choice(models) if trouble in _FOR_A_MODEL else "")
    if trouble is Trouble.MINUTE:
        return replace(ill, begin=0.0, end=math.inf, amount=source.choice([5, 10, 15, 30, 60]))
    if trouble is Trouble.SLOW:
        return replace(ill, begin=0.0, end=math.inf, amount=3.0)
    if trouble in {Trouble.OVERLOADED, Trouble.INTERNAL, Trouble.RESET}:
        return replace(ill, share=source.choice([0.2, 0.5, 1.0]))
    if trouble is Trouble.INVALID and source.random() < 0.3:
        return replace(ill, share=_FLUKES)
    if trouble in VAGUE and source.random() < 0.3:
        return replace(ill, model="")
    return ill


def _clients(source: random.Random, models: tuple[str, ...]) -> tuple[Client, ...]:
    rate = math.exp(source.uniform(0, math.log(20)))
    count = source.randint(1, 4)
    clients = [Client(f"c{n}", rate / count, models) for n in range(count)]
    if source.random() < 0.2:
        clients.append(Client("page", rate / 4, models, origin=ORIGIN))
    if source.random() < 0.3:
        leaves = source.choice([0.02, 0.2, 1.0, 3.0])
        clients.append(Client("hasty", rate / 3, models, leaves=leaves))
    for n in range(source.choice([0, 0, 1, 1, 2])):
        poison = source.choice([one for one in Poison if one is not Poison.PLAIN])
        share = source.choice([0.1, 0.5, 1.0])
        rate = math.exp(source.uniform(math.log(0.2), math.log(2)))
        clients.append(Client(f"poison{n}", min(rate / share, 5.0), models, poison, share))
    return tuple(clients)


def _everywhere(source: random.Random, models: tuple[str, ...], seconds: float) -> Iterator[Ill]:
    """Outages, and times without capacity for a model."""
    if source.random() < 0.3:
        trouble = source.choice([Trouble.BARE, Trouble.CALLER, Trouble.INVALID])
        model = source.choice(models) if trouble in VAGUE and source.random() < 0.5 else ""
        begin = source.choice([0.0, source.uniform(0.1, 0.6) * seconds])
        yield Ill(trouble, begin, begin + source.uniform(1, 10), model)
    if source.random() < 0.15:
        begin = source.uniform(0.1, 0.6) * seconds
        share = source.choice([0.3, 0.7, 1.0])
        yield Ill(Trouble.OVERLOADED, begin, begin + source.uniform(1, 10), source.choice(models), share)
