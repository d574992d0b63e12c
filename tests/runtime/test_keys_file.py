"""KEYS_FILE: one key per line, thousands of them."""

import time
from pathlib import Path

import pytest

from proxycore.runtime.settings import Settings, SettingsError, parse, without_keys


def keys_of(folder: Path, text: str, **more: str) -> Settings:
    (folder / "keys").write_text(text)
    return parse({"KEYS_FILE": str(folder / "keys"), **more})


def test_a_keys_file_has_one_key_per_line_with_name_project_and_note(tmp_path: Path) -> None:
    text = (
        "# all of ours\n\n   \nAIza-a first shop # bought in May\nAIza-b\tsecond\n"
        "'AIza-c'   # no name\r\nAIza-d#1 # a sign inside"
    )
    here = keys_of(tmp_path, text, GOOGLE_API_KEY_1="AIza-e")
    named, unnamed = dict(list(here.google_keys.items())[:3]), list(here.google_keys.items())[3:]
    assert named == {"1": "AIza-e", "first": "AIza-a", "second": "AIza-b"}
    assert [secret for _, secret in unnamed] == ["AIza-c", "AIza-d#1"]
    assert {key.name: key.project for key in here.keys if key.project} == {"first": "shop"}
    assert list(here.warnings) == []


def test_keys_without_a_name_keep_theirs_when_lines_move(tmp_path: Path) -> None:
    before = keys_of(tmp_path, "AIza-a\nAIza-b\n").google_keys
    after = keys_of(tmp_path, "# new\nAIza-c\nAIza-b\n\nAIza-a\n").google_keys
    assert before.items() <= after.items()
    assert all(len(name) == 8 and secret[-4:] not in name for name, secret in after.items())


def test_an_invalid_line_of_a_keys_file_is_reported_by_number_without_a_secret(tmp_path: Path) -> None:
    lines = [
        "AIzaSecret-a one",
        "AIzaSecret-a two",
        "changeme",
        "k\u00e9y",
        "AIzaSecret-b one",
        "AIzaSecret-c,AIzaSecret-d",
        "AIzaSecret-e AIzaSecret0123456789-0123456789",
        "AIzaSecret-f six lab and more",
        "AIzaSecret-g seven \x1b[2J",
    ]
    here = keys_of(tmp_path, "\n".join(lines))
    assert here.google_keys == {"one": "AIzaSecret-a", "six": "AIzaSecret-f"}
    told = [warning.split(": ")[:2] for warning in here.warnings]
    assert told == [["KEYS_FILE", f"line {number}"] for number in (2, 3, 4, 5, 6, 7, 8, 9)]
    assert "AIzaSecret" not in "".join(here.warnings)
    many = keys_of(tmp_path, "AIzaSecret-a\n" * 1000)
    assert len(many.google_keys) == 1
    assert (len(many.warnings), many.warnings[-1]) == (11, "KEYS_FILE: 989 more lines like these")


def test_reading_a_keys_file_takes_linear_time(tmp_path: Path) -> None:
    def took(count: int) -> float:
        text = "".join(f"AIza-{number}-{'x' * 30} name-{number} p{number % 9}\n" for number in range(count))
        (tmp_path / "keys").write_text(text)
        began = time.process_time()
        assert len(parse({"KEYS_FILE": str(tmp_path / "keys")}).google_keys) == count
        return time.process_time() - began

    # Eight times as many keys take about eight times as long, not sixty-four.
    assert min(took(8000) for _ in range(3)) < 30 * max(min(took(1000) for _ in range(3)), 0.001)


def test_a_key_with_an_exclamation_mark_before_it_is_paused(tmp_path: Path) -> None:
    here = keys_of(
        tmp_path, "!AIza-a first shop # old\n  ! AIza-b\nAIza-c\n'!AIza-d'\n", GOOGLE_API_KEY_1="!e"
    )
    assert [(key.secret, key.paused, key.in_file) for key in here.keys] == [
        ("!e", False, False),
        ("AIza-a", True, True),
        ("AIza-b", True, True),
        ("AIza-c", False, True),
        ("!AIza-d", False, True),
    ]
    assert [key.note for key in here.keys if key.note] == ["old"]
    assert list(here.warnings) == []


def test_a_demo_has_no_keys_to_change(tmp_path: Path) -> None:
    variables = {"KEYS_FILE": str(tmp_path / "keys"), "ADMIN_WRITES": "on"}
    assert parse(without_keys(variables)).keys_file is None


def test_writes_need_a_file(tmp_path: Path) -> None:
    assert keys_of(tmp_path, "AIza-a\n").keys_file is None
    assert keys_of(tmp_path, "AIza-a\n", ADMIN_WRITES="on").keys_file == str(tmp_path / "keys")
    for value, reason in (("on", "needs KEYS_FILE"), ("yes", "is not one of on, off")):
        with pytest.raises(SettingsError, match=f"ADMIN_WRITES: .*{reason}"):
            parse({"ADMIN_WRITES": value})
