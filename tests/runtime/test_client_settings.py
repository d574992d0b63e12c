"""`CLIENT_*`: what clients may do, and what is said about mistakes in it."""

from datetime import date

import pytest

from proxycore.runtime.settings import Settings, SettingsError, parse
from proxycore.stats.limits.client_limits import ClientLimits, Counted, Period, Rate

KEYS = {"GOOGLE_API_KEY_1": "AQ.a-key-of-google", "OUTPUT_API_KEY_ANN": "a-long-key-of-ann"}


def read(**variables: str) -> Settings:
    return parse({**KEYS, **variables})


def test_all_kinds_of_limits_are_read() -> None:
    words = "requests=30/minute requests=2000/day tokens=2M/day concurrent=8"
    more = "models=gemini-*-flash*,models/Gemma-3 until=2027-01-31 weight=0.5"
    read_ = read(CLIENT_ANN=f"'{words}  {more}'", CLIENT_DEFAULT="tokens=1.5k/hours")
    assert read_.client_limits.of("ANN") == ClientLimits(
        (
            Rate(Counted.REQUESTS, 30, Period.MINUTE),
            Rate(Counted.REQUESTS, 2000, Period.DAY),
            Rate(Counted.TOKENS, 2_000_000, Period.DAY),
        ),
        8,
        ("gemini-*-flash*", "gemma-3"),
        date(2027, 1, 31),
        0.5,
    )
    assert read_.client_limits.of("other") == ClientLimits((Rate(Counted.TOKENS, 1500, Period.HOUR),))
    assert read_.warnings == []


def test_without_limits_there_are_none() -> None:
    assert not read().client_limits
    assert not read(CLIENT_ANN="").client_limits


def test_one_message_lists_all_mistakes() -> None:
    words = (
        "requests=30 requests=0/minute tokens=5/week concurrent=-1 concurrent=2 models= until=31.1. speed=3"
    )
    with pytest.raises(SettingsError) as refused:
        read(CLIENT_ANN=f"{words} requests=1/day requests=2/day weight=0", CLIENT_DEFAULT="nothing")
    lines = str(refused.value).splitlines()
    assert [line.partition("' ")[0] for line in lines] == [
        "CLIENT_ANN: 'requests=30",
        "CLIENT_ANN: 'requests=0/minute",
        "CLIENT_ANN: 'tokens=5/week",
        "CLIENT_ANN: 'concurrent=-1",
        "CLIENT_ANN: 'concurrent=2",
        "CLIENT_ANN: 'models=",
        "CLIENT_ANN: 'until=31.1.",
        "CLIENT_ANN: 'speed=3",
        "CLIENT_ANN: 'requests=2/day",
        "CLIENT_ANN: 'weight=0",
        "CLIENT_DEFAULT: 'nothing",
    ]
    assert all(line.count(" ") > 5 for line in lines)


def test_limits_of_a_client_without_a_key_are_warned_about() -> None:
    (warning,) = read(CLIENT_BOB="requests=1/day").warnings
    assert "CLIENT_BOB" in warning
    assert "OUTPUT_API_KEY_BOB" in warning


def test_variables_of_other_programs_are_left_alone() -> None:
    read_ = read(CLIENT_ID="a=b", CLIENT_SECRET="their secret", CLIENT_ANN="")
    assert (read_.client_limits.named, read_.warnings) == ({}, [])
