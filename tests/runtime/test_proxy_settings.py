"""UPSTREAM_PROXY and UPSTREAM_PROXY_<name>: which key is used through which outbound proxy."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from proxycore.runtime.settings import SettingsError, parse

ALL, MINE, SHOPS = "http://all.example:3128", "socks5://mine.example", "https://shop.example"
KEYS = {"GOOGLE_API_KEY_1": "AIza-a", "GOOGLE_API_KEY_2__shop": "AIza-b", "GOOGLE_API_KEY_3__shop": "AIza-c"}


def proxies(variables: Mapping[str, str]) -> dict[str, str | None]:
    """The proxy of each key by the key's name; there is nothing to warn about."""
    here = parse(variables)
    assert list(here.warnings) == []
    return {key.name: key.proxy for key in here.keys}


def test_without_any_proxy_all_keys_are_used_directly() -> None:
    assert proxies(KEYS) == {"1": None, "2": None, "3": None}


def test_a_proxy_without_a_name_is_that_of_all_keys() -> None:
    assert proxies(KEYS | {"UPSTREAM_PROXY": ALL}) == dict.fromkeys("123", ALL)


def test_a_proxy_is_that_of_the_key_or_the_project_of_its_name() -> None:
    named = {"UPSTREAM_PROXY_1": MINE, "UPSTREAM_PROXY_shop": SHOPS}
    assert proxies(KEYS | named) == {"1": MINE, "2": SHOPS, "3": SHOPS}


def test_the_others_are_used_through_the_proxy_without_a_name_or_directly() -> None:
    assert proxies(KEYS | {"UPSTREAM_PROXY_1": MINE}) == {"1": MINE, "2": None, "3": None}
    both = {"UPSTREAM_PROXY": ALL, "UPSTREAM_PROXY_1": MINE}
    assert proxies(KEYS | both) == {"1": MINE, "2": ALL, "3": ALL}


def test_a_keys_own_proxy_counts_more_than_its_projects() -> None:
    named = {"UPSTREAM_PROXY_2": MINE, "UPSTREAM_PROXY_shop": SHOPS}
    assert proxies(KEYS | named) == {"1": None, "2": MINE, "3": SHOPS}


def test_a_name_of_both_a_key_and_a_project_is_the_keys() -> None:
    keys = {"GOOGLE_API_KEY_shop": "AIza-a", "GOOGLE_API_KEY_2__shop": "AIza-b"}
    assert proxies(keys | {"UPSTREAM_PROXY_shop": SHOPS}) == {"shop": SHOPS, "2": SHOPS}
    named = {"UPSTREAM_PROXY_shop": SHOPS, "UPSTREAM_PROXY_2": MINE}
    assert proxies(keys | named) == {"shop": SHOPS, "2": MINE}


def test_the_keys_of_one_variable_have_its_proxy_unless_they_have_their_own() -> None:
    keys = {"GOOGLE_API_KEY_2": "AIza-a,AIza-b"}
    named = {"UPSTREAM_PROXY_2": ALL, "UPSTREAM_PROXY_2.2": MINE}
    assert proxies(keys | named) == {"2.1": ALL, "2.2": MINE}


def test_the_plain_variable_is_key_default() -> None:
    assert proxies({"GOOGLE_API_KEY": "AIza-a", "UPSTREAM_PROXY_default": MINE}) == {"default": MINE}


def test_keys_of_a_file_have_proxies_as_well(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("AIza-a one\nAIza-b two shop\n")
    named = {"UPSTREAM_PROXY_one": MINE, "UPSTREAM_PROXY_shop": SHOPS}
    assert proxies({"KEYS_FILE": str(tmp_path / "keys"), **named}) == {"one": MINE, "two": SHOPS}


def test_a_name_that_no_key_and_no_project_has_is_warned_about(tmp_path: Path) -> None:
    (tmp_path / "proxy").write_text(MINE)
    here = parse(KEYS | {"UPSTREAM_PROXY_4": MINE, "UPSTREAM_PROXY_shoes_FILE": str(tmp_path / "proxy")})
    assert list(here.warnings) == [
        "UPSTREAM_PROXY_4: there is no key and no project 4, ignored",
        "UPSTREAM_PROXY_shoes_FILE: there is no key and no project shoes, ignored",
    ]
    assert {key.proxy for key in here.keys} == {None}


def test_a_key_may_have_the_name_url() -> None:
    assert proxies({"GOOGLE_API_KEY_URL": "AIza-a", "UPSTREAM_PROXY_URL": MINE}) == {"URL": MINE}


def test_an_empty_one_counts_as_unset() -> None:
    variables = KEYS | {"UPSTREAM_PROXY": ALL, "UPSTREAM_PROXY_1": "", "UPSTREAM_PROXY_9": ""}
    assert proxies(variables) == dict.fromkeys("123", ALL)


@pytest.mark.parametrize("url", ["a.example:3128", "socks4://a.example", "http://a.example/path"])
@pytest.mark.parametrize("name", ["1", "nobody"])
def test_a_bad_url_is_a_mistake_that_names_its_variable(name: str, url: str, tmp_path: Path) -> None:
    for variables in (
        {f"UPSTREAM_PROXY_{name}": url},
        {f"UPSTREAM_PROXY_{name}_FILE": str(tmp_path / "bad")},
    ):
        (tmp_path / "bad").write_text(url)
        with pytest.raises(SettingsError) as told:
            parse(KEYS | variables)
        assert str(told.value).startswith(f"{next(iter(variables))}: ")


def test_passwords_are_among_the_secrets_with_the_names_of_their_variables() -> None:
    here = parse(
        KEYS | {"UPSTREAM_PROXY_1": "http://me:one%21pw@a.example", "UPSTREAM_PROXY_9": "http://a:nine@b"}
    )
    shown = {"one!pw": "_1", "one%21pw": "_1", "nine": "_9"}
    assert {
        secret: name.removeprefix("the password of UPSTREAM_PROXY")
        for secret, name in here.secrets.items()
        if "PROXY" in name
    } == shown
