"""Finds which of many secrets occur in a text, in time that hardly depends on their number. Pure."""

import re
from collections.abc import Sequence

_FEW = 100  # words; up to so many are searched for one by one
_LEAST = 8  # characters; shorter words are not indexed by their end


class SecretIndex:
    """An index of words that consist of letters, digits and `._~-`.

    A word can only occur in a run of such characters that is at least as long. So ordinary prose is skipped,
    and in a run each word is looked up by its last characters.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        many = len(words) > _FEW
        self._one_by_one = [(n, word) for n, word in enumerate(words) if not many or len(word) < _LEAST]
        long = [n for n, word in enumerate(words) if many and len(word) >= _LEAST]
        shortest = min((len(words[n]) for n in long), default=_LEAST)
        self._size = min(shortest, 2 * _LEAST)
        self._runs = re.compile(rf"[A-Za-z0-9._~-]{{{shortest},}}")
        self._by_end: dict[str, list[int]] = {}
        for n in long:
            self._by_end.setdefault(words[n][-self._size :], []).append(n)

    def found_in(self, text: str) -> list[int]:
        """The positions, in the sequence of all words, of those that occur in the text; in order."""
        found = [n for n, word in self._one_by_one if word in text]
        if not self._by_end:
            return found
        in_runs = [self._found_in_run(run) for run in self._runs.findall(text)]
        return sorted(set(found).union(*in_runs))

    def _found_in_run(self, run: str) -> set[int]:
        size, by_end, words = self._size, self._by_end, self._words
        return {
            n
            for end in range(size, len(run) + 1)
            for n in by_end.get(run[end - size : end], ())
            if run.endswith(words[n], 0, end)
        }
