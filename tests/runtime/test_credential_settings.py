"""Secrets as people write them: in quotes, several in one variable, in files, with trailing comments."""

import os
from pathlib import Path

import pytest

from proxycore.runtime.settings import Settings, SettingsError, parse
from proxycore.runtime.settings_source import SettingsSource

CLIENT = "a-client-secret-that-is-long"


def faults(variables: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        parse(variables)
    return str(caught.value)


def of_file(folder: Path, text: str) -> Settings:
    (folder / ".env").write_text(text)
    return SettingsSource(folder, {}).settings


# Quotes.


@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("space", ["", " "])
def test_one_pair_of_matching_quotes_is_removed_from_a_value(quote: str, space: str) -> None:
    values = {
        "GOOGLE_API_KEY_1": "AIza-one",
        "OUTPUT_API_KEY": CLIENT,
        "ADMIN_API_KEY": "an-admin-secret-that-is-long",
        "PORT": "9000",
        "LOG_LEVEL": "debug",
        "UPSTREAM_URL": "https://a.example",
    }
    quoted = {name: f"{space}{quote}{space}{value}{quote}{space}" for name, value in values.items()}
    assert parse(quoted) == parse(values)
    assert parse(quoted).google_keys == {"1": "AIza-one"}


@pytest.mark.parametrize("value", ['""', "''", '" "', "  ''  "])
def test_a_value_of_two_quotes_is_empty(value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert parse({"PORT": value, "OUTPUT_API_KEY": value}) == parse({})
    monkeypatch.setenv("PORT", value)
    assert of_file(tmp_path, "PORT=1111\n").port == 1111


@pytest.mark.parametrize("value", ['"abc', "abc'", "'abc\""])
def test_an_unmatched_quotation_mark_is_warned_about(value: str) -> None:
    here = parse({"GOOGLE_API_KEY_1": value, "OUTPUT_API_KEY": f"{CLIENT}'"})
    assert here.google_keys == {}
    assert here.client_keys == {"default": f"{CLIENT}'"}
    assert [warning.partition(":")[0] for warning in here.warnings] == ["GOOGLE_API_KEY_1", "OUTPUT_API_KEY"]
    assert "quotation mark" in here.warnings[1]


# Several keys in one variable.


@pytest.mark.parametrize(
    "value",
    [
        "AIza-a,AIza-b,AIza-c",
        "AIza-a, AIza-b, AIza-c,",
        "AIza-a AIza-b\tAIza-c",
        "AIza-a\nAIza-b\r\nAIza-c\n",
        "AIza-a;AIza-b; AIza-c",
        '["AIza-a", "AIza-b", "AIza-c"]',
        "['AIza-a','AIza-b','AIza-c']",
        "[AIza-a, AIza-b, AIza-c]",
        '"AIza-a,AIza-b,AIza-c"',
        '"AIza-a","AIza-b","AIza-c"',
        "'AIza-a' 'AIza-b' 'AIza-c'",
        '[\n  "AIza-a",\n  "AIza-b",\n  "AIza-c"\n]',
    ],
)
def test_several_keys_in_one_variable_are_several_keys(value: str) -> None:
    here = parse({"GOOGLE_API_KEY_2__shop__acme": value, "GOOGLE_API_KEY_3": "AIza-d"})
    assert here.google_keys == {"2.1": "AIza-a", "2.2": "AIza-b", "2.3": "AIza-c", "3": "AIza-d"}
    assert [(key.project, key.account) for key in here.keys] == [("shop", "acme")] * 3 + [("", "")]
    assert list(here.warnings) == []


@pytest.mark.parametrize("value", ["AIza-a", "AIza-a,", '["AIza-a"]', "[AIza-a]", " ; AIza-a"])
def test_a_list_of_one_is_one_key(value: str) -> None:
    assert parse({"GOOGLE_API_KEY_2": value}).google_keys == {"2": "AIza-a"}
    assert parse({"GOOGLE_API_KEY": value}).google_keys == {"default": "AIza-a"}


def test_a_bad_one_of_several_is_left_out_and_the_others_keep_their_names() -> None:
    here = parse({"GOOGLE_API_KEY": "AIza-a,k\u00e9y,AIza-a,changeme,AIza-b"})
    assert here.google_keys == {"default.1": "AIza-a", "default.5": "AIza-b"}
    told = [warning.partition(" of 5: ")[0] for warning in here.warnings]
    assert told == [f"GOOGLE_API_KEY: number {number}" for number in (2, 3, 4)]


def test_a_list_of_client_keys_is_not_split() -> None:
    here = parse({"OUTPUT_API_KEY": "one-client-secret-1,one-client-secret-2"})
    assert here.client_keys == {"default": "one-client-secret-1,one-client-secret-2"}
    (warning,) = here.warnings
    assert "OUTPUT_API_KEY_<name>" in warning
    assert "OUTPUT_API_KEY_<name>" in faults({"OUTPUT_API_KEY": "one-client-secret-1 one-client-secret-2"})


@pytest.mark.parametrize(
    ("suffix", "name", "project", "account"),
    [
        ("1", "1", None, None),
        ("1__shop", "1", "shop", None),
        ("1__shop__acme", "1", "shop", "acme"),
        ("1__shop__acme__x", "1", "shop", "acme__x"),
        ("a_b__c_d__e_f", "a_b", "c_d", "e_f"),
        ("1____acme", "1", None, "acme"),
        ("1__", "1__", None, None),
        ("__shop", "__shop", None, None),
    ],
)
def test_a_suffix_may_name_project_and_account(
    suffix: str, name: str, project: str | None, account: str | None
) -> None:
    here = parse({f"GOOGLE_API_KEY_{suffix}": "AIza-a"})
    assert here.google_keys == {name: "AIza-a"}
    (key,) = here.keys
    assert (key.project or None, key.account or None) == (project, account)


def test_a_key_with_a_non_printable_name_is_refused() -> None:
    here = parse({"GOOGLE_API_KEY_\udcff": "AIza-a", "GOOGLE_API_KEY_\x1b[2J": "AIza-b"})
    assert here.google_keys == {}
    assert len(here.warnings) == 2
    assert "non-printable characters" in faults({"OUTPUT_API_KEY_\udcff": CLIENT})


# Comments.


def test_a_comment_after_a_value_is_removed_with_a_warning(tmp_path: Path) -> None:
    values = {
        "GOOGLE_API_KEY_1": "AIza-a # mine",
        "GOOGLE_API_KEY_2": '"AIza-b" # quoted',
        "OUTPUT_API_KEY": f"{CLIENT}\t# for all",
        "PORT": "9000 # free",
    }
    here = parse(values)
    assert (here.google_keys, here.port) == ({"1": "AIza-a", "2": "AIza-b"}, 9000)
    assert here.client_keys == {"default": CLIENT}
    assert sorted(warning.partition(":")[0] for warning in here.warnings) == sorted(values)
    in_file = of_file(tmp_path, "".join(f"{name}={value}\n" for name, value in values.items()))
    assert (in_file.google_keys, in_file.client_keys) == (here.google_keys, here.client_keys)
    assert list(in_file.warnings) == []


def test_a_value_that_is_only_a_comment_is_empty() -> None:
    assert parse({"OUTPUT_API_KEY": " # choose one"}).client_keys == {}


def test_a_number_sign_inside_a_secret_is_part_of_it() -> None:
    secrets = {"OUTPUT_API_KEY": f"{CLIENT}#1", "GOOGLE_API_KEY_1": "AIza#1"}
    here = parse(secrets)
    assert here.client_keys == {"default": f"{CLIENT}#1"}
    assert here.google_keys == {"1": "AIza#1"}
    assert list(here.warnings) == []


def test_comments_in_a_list_of_lines_are_removed() -> None:
    here = parse({"GOOGLE_API_KEY": "'# mine\nAIza-a # one\nAIza-b\n# AIza-c\n'"})
    assert here.google_keys == {"default.1": "AIza-a", "default.2": "AIza-b"}
    assert "comment" in here.warnings[0]


# Secrets that are odd together.


def test_secrets_for_two_purposes_and_short_ones_are_warned_about() -> None:
    shared = "one-secret-for-several-things"
    here = parse(
        {
            "GOOGLE_API_KEY_1": shared,
            "OUTPUT_API_KEY": shared,
            "OUTPUT_API_KEY_a": CLIENT,
            "OUTPUT_API_KEY_b": CLIENT,
            "OUTPUT_API_KEY_c": "short",
            "ADMIN_API_KEY": CLIENT,
        }
    )
    assert list(here.warnings) == [
        "OUTPUT_API_KEY_b: the same as client key a; choose another secret",
        "OUTPUT_API_KEY_c: has fewer than 16 characters; choose a longer random secret",
        "OUTPUT_API_KEY: the same as Gemini API key 1; choose another secret",
        "ADMIN_API_KEY: the same as client key a; choose another secret",
    ]
    assert "fewer than 16" in parse({"ADMIN_API_KEY": "z" * 15}).warnings[0]
    assert list(parse({"ADMIN_API_KEY": "z" * 16, "OUTPUT_API_KEY": CLIENT}).warnings) == []


# Files.


def test_every_secret_may_come_from_a_file(tmp_path: Path) -> None:
    secrets = {
        "GOOGLE_API_KEY": "AIza-a",
        "GOOGLE_API_KEY_1__shop": "AIza-b\nAIza-c",
        "OUTPUT_API_KEY": CLIENT,
        "OUTPUT_API_KEY_phone": f"{CLIENT}-2",
        "ADMIN_API_KEY": f"{CLIENT}-3",
        "UPSTREAM_PROXY": "http://user:pass@a.example:3128",
        "UPSTREAM_PROXY_shop": "socks5://user:pass@b.example",
        "REDIS_URL": "redis://user:pass@a.example",
        "ALERT_URL": "json://user:pass@a.example/hook json://b.example",
    }
    named = {}
    for name, secret in secrets.items():
        (tmp_path / name).write_text(f"  '{secret}' \n\n")
        named[f"{name}_FILE"] = str(tmp_path / name)
    assert parse(named) == parse(secrets)
    assert set(parse(named).google_keys) == {"default", "1.1", "1.2"}


@pytest.mark.parametrize(
    "name", ["GOOGLE_API_KEY_1", "OUTPUT_API_KEY", "ADMIN_API_KEY", "UPSTREAM_PROXY", "UPSTREAM_PROXY_1"]
)
def test_an_unusable_file_of_a_secret_is_an_error_that_names_its_variable(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfea\0b\0")
    (tmp_path / "latin").write_bytes(b"k\xe9y")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    for file in ("missing", "empty", "binary", "latin", "link", "pipe", "", "a\0b"):
        mistake = faults({f"{name}_FILE": f"{tmp_path}/{file}"})
        assert mistake.startswith(f"{name}_FILE: ")
        assert "\n" not in mistake
    # A secret in the wrong variable is not shown.
    for secret in ("AIza-a-secret", "a/secret+with==", "/secret"):
        assert secret not in faults({f"{name}_FILE": secret})


def test_a_secret_and_its_file_are_not_both_set(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("AIza-a")
    path = str(tmp_path / "key")
    mistake = faults({"GOOGLE_API_KEY_1": "AIza-b", "GOOGLE_API_KEY_1_FILE": path})
    assert mistake == "GOOGLE_API_KEY_1_FILE: GOOGLE_API_KEY_1 is set too; keep one of them"
    # Container tools pass unset variables as empty ones.
    assert parse({"GOOGLE_API_KEY_1": "", "GOOGLE_API_KEY_1_FILE": path}).google_keys == {"1": "AIza-a"}
    assert parse({"GOOGLE_API_KEY_1": "AIza-b", "GOOGLE_API_KEY_1_FILE": ""}).google_keys == {"1": "AIza-b"}


def test_what_is_wrong_with_a_secret_from_a_file_names_the_variable_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("changeme\n")
    assert faults({"OUTPUT_API_KEY_FILE": str(tmp_path / "secret")}).startswith("OUTPUT_API_KEY_FILE: ")
    (tmp_path / "secret").write_text("ftp://a.example\n")
    assert faults({"REDIS_URL_FILE": str(tmp_path / "secret")}).startswith("REDIS_URL_FILE: ")


# What other readers of .env would read otherwise.


@pytest.mark.parametrize(
    ("line", "secret", "odd"),
    [
        ("'ab$cd${HOME}'", "ab$cd${HOME}", False),
        ("ab$cd", "ab$cd", True),
        ('"ab${HOME}cd"', "ab${HOME}cd", True),
        ("ab$$cd", "ab$$cd", True),
        ('"ab\\"cd"', 'ab"cd', True),
        ('"ab\\\\cd"', "ab\\cd", True),
        ('"ab\\$cd"', "ab\\$cd", True),
        ("'ab\\cd'", "ab\\cd", False),
        ("'ab\\'cd'", "ab'cd", True),
        ("abcd", "abcd", False),
        ('"abcd" # $5', "abcd", False),
    ],
)
def test_a_value_that_compose_or_docker_reads_differently_is_warned_about(
    line: str, secret: str, odd: bool, tmp_path: Path
) -> None:
    here = of_file(tmp_path, f"GOOGLE_API_KEY_1={line}\n")
    assert here.google_keys == {"1": secret}
    assert [warning.partition(":")[0] for warning in here.warnings][:1] == ["GOOGLE_API_KEY_1"] * odd


def test_a_dollar_in_the_environment_is_a_dollar() -> None:
    assert parse({"GOOGLE_API_KEY_1": "ab$cd${HOME}$$"}).google_keys == {"1": "ab$cd${HOME}$$"}


def test_a_variable_that_is_set_twice_is_warned_about(tmp_path: Path) -> None:
    here = of_file(tmp_path, "GOOGLE_API_KEY_1=AIza-a\n\n# again\nGOOGLE_API_KEY_1=AIza-b\n")
    assert here.google_keys == {"1": "AIza-b"}
    assert list(here.warnings) == ["GOOGLE_API_KEY_1: set again in line 4 of .env; the last one is used"]
