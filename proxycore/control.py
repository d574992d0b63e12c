"""What the admin does to a key by hand: release it, let it rest, try it."""

from dataclasses import dataclass

from proxycore.bench import NO_MODEL, NO_ORIGIN, Bench, BenchPlace
from proxycore.key import Key
from proxycore.log import logger
from proxycore.messages import UpstreamError
from proxycore.pool import Pool
from proxycore.retrial import ask_for_a_model
from proxycore.verdict import Rest

LONGEST_REST = 30 * 86400
"""Seconds that a key may be told to rest."""

BY_HAND = "by hand"
"""The reason of a bench that the admin made."""


class ControlError(Exception):
    """What was asked for can't be done; the message says why, and `status` is HTTP's for it."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Done:
    """What was done, for people; of a trial, whether the key was accepted (None: not known)."""

    message: str
    key: Key
    accepted: bool | None = None


class Control:
    """Does it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def perform(self, asked: object) -> Done:
        """Does what a JSON object asks for; raises ControlError when that makes no sense."""
        if not isinstance(asked, dict):
            raise ControlError("Send a JSON object with an action and a key.")
        keys = [key for key in self._pool.rotator.keys if key.name == asked.get("key")]
        if not keys:
            raise ControlError("There is no key of that name.", 404)
        match asked.get("action"):
            case "release":
                return self.release(keys[0], asked.get("model"), asked.get("origin"))
            case "rest":
                return self.rest(keys[0], asked.get("seconds"))
            case "try":
                return await self.try_now(keys[0])
        raise ControlError("The action is none of release, rest, try.")

    def release(self, key: Key, model: object, origin: object = None) -> Done:
        """Ends the key's bench or retirement, or that for a model, or for pages of an origin."""
        rotator = self._pool.rotator
        for name, value in (("model", model), ("origin", origin)):
            if value is not None and not isinstance(value, str):
                raise ControlError(f"The {name} is not a string.")
        if isinstance(model, str) and model:
            return self._release_for(
                key, (BenchPlace.MODEL, BenchPlace.CALLER), model, "" if model == NO_MODEL else model
            )
        if isinstance(origin, str) and origin:
            return self._release_for(key, (BenchPlace.ORIGIN,), origin, "" if origin == NO_ORIGIN else origin)
        if not rotator.release(key):
            return Done(f"Key {key.name} does not rest as a whole.", key)
        self._log("released by hand", key)
        return Done(f"Key {key.name} is released.", key)

    def _release_for(self, key: Key, places: tuple[BenchPlace, ...], shown: str, about: str) -> Done:
        """Ends the key's benches at these places that are about a lane or origin, shown like this."""
        rotator = self._pool.rotator
        running = [place for place in places if key.bench_at(place, about)]
        if not running:
            return Done(f"Key {key.name} does not rest for {shown}.", key)
        for place in running:
            rotator.clear_bench(key, place, about)
        self._log("released by hand", key, **{"origin" if BenchPlace.ORIGIN in places else "model": shown})
        return Done(f"Key {key.name} is released for {shown}.", key)

    def rest(self, key: Key, seconds: object) -> Done:
        """Benches the whole key for a time."""
        if not isinstance(seconds, int | float) or not 1 <= seconds <= LONGEST_REST:
            raise ControlError(f"The seconds are no number from 1 to {LONGEST_REST}.")
        bench = Bench(BY_HAND, self._pool.clock() + seconds)
        self._pool.rotator.begin_bench(key, BenchPlace.WHOLE, bench)
        return Done(f"Key {key.name} rests for {seconds:g} s.", key)

    async def try_now(self, key: Key) -> Done:
        """Asks the upstream with the key for something that costs no quota."""
        try:
            verdict = await ask_for_a_model(self._pool, key)
        except UpstreamError as error:
            self._log("tried by hand", key, result="not known", reason=f"{error} {error.detail}".strip())
            return Done(f"Key {key.name} could not be tried: {error}", key)
        if verdict.healthy:
            if key.whole and key.whole.reason != BY_HAND:
                self._pool.rotator.recover(key, BenchPlace.WHOLE)
            self._log("tried by hand", key, result="accepted")
            return Done(f"Key {key.name} was tried and is accepted.", key, accepted=True)
        if verdict.rest is Rest.NOTHING:
            self._log("tried by hand", key, result="not known", reason=verdict.reason)
            return Done(f"Key {key.name} was tried, which told nothing of it: {verdict.reason}.", key)
        self._log("tried by hand", key, result="refused", reason=verdict.reason)
        return Done(f"Key {key.name} was tried and is refused: {verdict.reason}.", key, accepted=False)

    @staticmethod
    def _log(message: str, key: Key, **fields: str) -> None:
        logger.info("%s", message, extra={"fields": {"key": key.name, **fields}})
