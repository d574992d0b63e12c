"""Benches billing accounts: those that the operator names, and those that are learned (`accounts`). Pure."""

from proxycore.gemini.verdict import Verdict
from proxycore.rotation.bench import Bench, BenchPlace
from proxycore.rotation.calls import Call, Calls
from proxycore.rotation.case import Case
from proxycore.rotation.key import Key, Project


class AccountBenches(Calls):
    """Calls, whose refusals for money bench all keys of the billing account."""

    def _bench_account(self, call: Call, verdict: Verdict, case: Case) -> Bench | None:
        """Bench the keys of the billing account; for a short time those that only seem to belong to it."""
        key, keys = call.key, self._of_account(call.key)
        bench = self._bench_keys(keys, verdict, case.request)
        if not key.account and key in self._current_keys:
            others, seconds = self.accounts.refused(key.project, call.at)
            rested = [one for project in others for one in project.keys if not one.account]
            self._random.shuffle(rested)
            self._suspect_keys(rested, verdict, min(seconds, verdict.seconds or seconds))
        return bench

    def _of_account(self, key: Key) -> list[Key]:
        if not key.account:
            return list(key.project.keys)
        return [one for one in self.keys if one.account == key.account or one.project is key.project]

    def _lift_guess(self, project: Project) -> None:
        for key in project.keys:
            if key.whole and key.whole.suspected:
                self.clear_bench(key, BenchPlace.WHOLE)
