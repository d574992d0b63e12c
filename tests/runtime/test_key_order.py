"""`KEY_ORDER`: which group each key belongs to, and what is wrong with a value."""

import pytest

from proxycore.runtime.settings import Settings, SettingsError, parse, without_keys

KEYS = {
    "GOOGLE_API_KEY_free1": "secret-1",
    "GOOGLE_API_KEY_free2__hobby": "secret-2",
    "GOOGLE_API_KEY_paid__shop__acme": "secret-3",
    "GOOGLE_API_KEY_other": "secret-4",
}


def settings(order: str) -> Settings:
    return parse({**KEYS, "KEY_ORDER": order})


def ranks(order: str) -> dict[str, int]:
    return {key.name: key.rank for key in settings(order).keys}


def warnings(order: str) -> list[str]:
    return [one for one in settings(order).warnings if one.startswith("KEY_ORDER")]


@pytest.mark.parametrize(
    ("order", "ranked"),
    {
        "free* > paid*": {"free1": 0, "free2": 0, "paid": 1, "other": 2},
        "free*>paid*>*": {"free1": 0, "free2": 0, "paid": 1, "other": 2},
        '"shop > hobby, free1"': {"free1": 1, "free2": 1, "paid": 0, "other": 2},
        "free2 free? > *": {"free1": 0, "free2": 0, "paid": 1, "other": 1},
        "free2 > free* > paid": {"free1": 1, "free2": 0, "paid": 2, "other": 3},
        "*": {"free1": 0, "free2": 0, "paid": 0, "other": 0},
        "": {"free1": 0, "free2": 0, "paid": 0, "other": 0},
    }.items(),
)
def test_a_key_belongs_to_the_first_group_that_names_it_and_unnamed_ones_come_last(
    order: str, ranked: dict[str, int]
) -> None:
    assert ranks(order) == ranked
    assert warnings(order) == []


@pytest.mark.parametrize("order", ["> paid*", "free* >", "free* >> paid*", ">", "free* > , > paid*"])
def test_an_empty_group_is_a_mistake_that_says_what_to_write(order: str) -> None:
    with pytest.raises(SettingsError, match=r"KEY_ORDER: there is a group without .* free\* > paid\*"):
        settings(order)


def test_a_glob_that_matches_nothing_is_warned_about() -> None:
    assert warnings("free* > payed* > acme") == [
        "KEY_ORDER: no key or project is named payed*",
        "KEY_ORDER: no key or project is named acme",
    ]


def test_a_key_in_place_of_its_name_is_not_shown() -> None:
    secret = "AIzaSyMadeUpButLongEnoughToBeASecret123"
    (warning,) = warnings(f"{secret} > free* *")
    assert secret not in warning


def test_the_demo_has_keys_of_its_own() -> None:
    assert "KEY_ORDER" not in without_keys({"KEY_ORDER": "free* > paid*"})
