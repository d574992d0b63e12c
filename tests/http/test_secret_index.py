"""Which of many words occur in a text."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxycore.http.redaction import Redactor
from proxycore.http.secret_index import SecretIndex

KEYS = [f"AIzaSy{number:033d}" for number in range(3000)]
WORDS = st.lists(st.text("abAB01-_.~", max_size=20), max_size=8)
FILLERS = [f"word-number-{number:05d}" for number in range(101)]  # so that there are many


@pytest.mark.parametrize("fillers", [[], FILLERS], ids=["few words", "many words"])
@given(WORDS, st.data())
@example(["", "a", "abababab", "babababab", "abababab"], None)
def test_what_occurs_is_found_and_nothing_else(
    fillers: list[str], words: list[str], data: st.DataObject | None
) -> None:
    parts = st.sampled_from([*words, *fillers[:2], " ", "a", "\u00e9", "."]) | st.text(max_size=5)
    text = "".join(data.draw(st.lists(parts, max_size=8))) if data else "abababababab"
    known = [*words, *fillers]
    assert SecretIndex(known).found_in(text) == [n for n, word in enumerate(known) if word in text]


@pytest.mark.parametrize("count", [3, 3000])
@pytest.mark.parametrize("named", [1, 16, 17, 1000])
def test_however_many_keys_a_text_names_none_is_left(count: int, named: int) -> None:
    redactor = Redactor({key: f"key {number}" for number, key in enumerate(KEYS[:count])})
    source = random.Random(named)  # noqa: S311 - a seed makes it repeatable
    numbers = [source.randrange(count) for _ in range(named)]
    text = ", ".join(KEYS[number] for number in numbers)
    assert redactor.text(text) == ", ".join(f"[key {number}]" for number in numbers)


def test_a_long_run_of_other_characters_is_left_as_it_is() -> None:
    redactor = Redactor(dict.fromkeys(KEYS, "key"))
    for text in ("AIzaSy" * 10_000, "0" * 60_000, f"{KEYS[5][:-1]}x" * 1000):
        assert redactor.text(text) is text
