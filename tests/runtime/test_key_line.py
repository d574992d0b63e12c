"""Single lines of KEYS_FILE: what they say, and what a change leaves as it was."""

import random

import pytest

from proxycore.runtime.key_line import read_line, with_note, with_pause, write_line


@pytest.mark.parametrize(
    ("line", "words", "note", "paused"),
    [
        ("AIza-a", ("AIza-a",), "", False),
        ("!AIza-a one shop # bought in May\r", ("AIza-a", "one", "shop"), "bought in May", True),
        ("  ! 'AIza-a'\tone", ("AIza-a", "one"), "", True),
        ("'!AIza-a'", ("!AIza-a",), "", False),
        ("AIza-a#1 #2 # 3", ("AIza-a#1",), "2 # 3", False),
        ("!", (), "", True),
        ("! # nothing", (), "nothing", True),
        ("!#AIza-a", (), "AIza-a", True),
    ],
)
def test_a_line_has_a_key_its_note_and_whether_it_is_paused(
    line: str, words: tuple[str, ...], note: str, paused: bool
) -> None:
    found = read_line(line)
    assert found
    assert (found.words, found.note, found.paused) == (words, note, paused)
    assert "AIza" not in repr(found)


@pytest.mark.parametrize("line", ["", "   ", "# AIza-a", "\t#", "\r"])
def test_blank_lines_and_comments_have_no_key(line: str) -> None:
    assert read_line(line) is None


@pytest.mark.parametrize(
    ("line", "paused", "annotated", "plain"),
    [
        ("AIza-a", "!AIza-a", "AIza-a # new", "AIza-a"),
        ("  AIza-a one  # old \r", "  !AIza-a one  # old \r", "  AIza-a one  # new\r", "  AIza-a one\r"),
        ("AIza-a\t#old", "!AIza-a\t#old", "AIza-a\t# new", "AIza-a"),
        (
            "'AIza-a'  one   shop ",
            "!'AIza-a'  one   shop ",
            "'AIza-a'  one   shop # new",
            "'AIza-a'  one   shop ",
        ),
    ],
)
def test_a_change_leaves_the_rest_of_the_line(line: str, paused: str, annotated: str, plain: str) -> None:
    assert with_pause(line, paused=True) == paused
    assert with_pause(paused, paused=True) == paused
    assert with_pause(paused, paused=False) == line
    assert with_note(line, "new") == annotated
    assert with_note(line, "") == plain


@pytest.mark.parametrize("seed", range(300))
def test_any_line_says_the_same_after_changes_except_for_what_was_changed(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - a reproducible case
    line = "".join(source.choices("!#'\" \t\rab\u00e9\u2028", k=source.randint(0, 14)))
    before = read_line(line)
    if before is None or not before.words:
        return
    for paused in (True, False):
        changed = read_line(with_pause(line, paused=paused))
        assert changed
        if not (before.words[0].startswith("!") or "!!" in line.replace(" ", "").replace("\t", "")):
            assert (changed.words, changed.note, changed.paused) == (before.words, before.note, paused)
    for note in ("", "# a ! note"):
        changed = read_line(with_note(line, note))
        assert changed
        assert (changed.words, changed.note, changed.paused) == (before.words, note, before.paused)


def test_a_written_line_is_read_as_it_was_meant() -> None:
    for name, note in (("", ""), ("one", ""), ("", "from Ann"), ("one", "from #1")):
        found = read_line(write_line("AIza-a", name, note))
        assert found
        assert found.words == tuple(filter(None, ("AIza-a", name)))
        assert (found.note, found.paused) == (note, False)
