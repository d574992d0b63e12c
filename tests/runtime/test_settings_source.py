"""Settings are read again when files have settled; unusable ones change nothing."""

import os
from pathlib import Path

import pytest

from proxycore.runtime.regular_file import StillChangingError, TextFiles
from proxycore.runtime.settings import SettingsError
from proxycore.runtime.settings_source import SETTLED, SETTLED_UNFINISHED, SettingsSource
from tests.support.watched_settings import GOOD, OTHER, TurnedClock, Watched

pytestmark = pytest.mark.usefixtures("no_settings_around")


@pytest.fixture
def _leases(tmp_path: Path) -> None:
    """Skips where open writers of a file can't be detected, as on network file systems."""
    with (tmp_path / "leased").open("w"):
        try:
            TextFiles().text(tmp_path / "leased")
        except StillChangingError:
            return
    pytest.skip("no leases here")


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_an_unchanged_file_is_not_read_again(watched: Watched) -> None:
    assert [watched.poll(10) for _ in range(3)] == [None] * 3


def test_a_change_is_applied_once_the_file_has_settled(watched: Watched) -> None:
    watched.file.write_text(OTHER)
    assert watched.poll(SETTLED - 0.1) is None
    watched.file.write_text(OTHER + "PORT=1111\n")
    assert watched.poll(SETTLED - 0.1) is None
    assert watched.taken() == {"1": "AIza-b"}
    assert watched.poll(SETTLED) is None


def test_a_file_without_a_final_newline_has_to_be_unchanged_for_longer(watched: Watched) -> None:
    watched.file.write_text(OTHER.rstrip("\n"))
    assert watched.poll(SETTLED_UNFINISHED - 0.1) is None
    assert watched.taken() == {"1": "AIza-b"}


def test_an_incomplete_last_line_is_not_reported_before_that_time(watched: Watched) -> None:
    watched.file.write_text('GOOGLE_API_KEY_1="AIza')
    assert watched.poll(SETTLED_UNFINISHED - 0.1) is None
    assert ".env, line 1" in watched.refused()


def test_a_requested_reload_reads_a_settled_file_immediately(watched: Watched) -> None:
    watched.source.request()
    assert watched.source.poll()
    assert watched.source.poll() is None


def test_requested_reloads_wait_for_a_change_to_settle_and_are_one(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    watched.file.write_text(OTHER)
    watched.source.request()
    assert watched.poll(SETTLED / 2) is None
    watched.source.request()
    assert watched.taken() == {"1": "AIza-b"}
    assert watched.poll(SETTLED) is None
    assert "until .env stops changing" in caplog.text


def test_watching_is_turned_off_in_the_file(tmp_path: Path) -> None:
    watched = Watched(tmp_path, GOOD + "WATCH_ENV_FILE=off\n")
    watched.file.write_text(OTHER)
    assert watched.poll(10) is None
    watched.source.request()
    settings = watched.source.poll()
    assert settings
    assert settings.google_keys == {"1": "AIza-b"}


@pytest.mark.usefixtures("_leases")
def test_a_file_that_is_open_for_writing_is_not_read(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    with watched.file.open("w") as stream:
        stream.write(OTHER[:40])
        stream.flush()
        for _ in range(100):
            assert watched.poll(SETTLED_UNFINISHED) is None
        assert len(caplog.records) == 1
        assert "still being written" in caplog.text
        stream.write(OTHER[40:])
    assert watched.taken() == {"1": "AIza-b"}


def test_a_writer_that_opens_the_file_during_a_check_does_no_harm(watched: Watched) -> None:
    # The kernel signals the holder of a lease; it is held only during the check.
    for number in range(200):
        watched.source.request()
        watched.poll()
        with watched.file.open("a") as stream:
            stream.write(f"# {number}\n")
    assert watched.taken() == {"1": "AIza-a"}


def test_a_file_that_is_created_later_is_read_and_must_stay(tmp_path: Path) -> None:
    clock = TurnedClock()
    source = SettingsSource(tmp_path, {}, clock=clock)
    assert source.settings.google_keys == {}
    (tmp_path / ".env").write_text(GOOD)
    assert source.poll() is None
    clock.now += SETTLED
    settings = source.poll()
    assert settings
    assert settings.google_keys == {"1": "AIza-a"}
    (tmp_path / ".env").unlink()
    assert source.poll() is None
    clock.now += SETTLED
    with pytest.raises(SettingsError, match="was removed"):
        source.poll()


def test_a_single_key_may_go_and_the_client_key_may_change(watched: Watched) -> None:
    watched.file.write_text("GOOGLE_API_KEY_2=AIza-c\nOUTPUT_API_KEY_phone=another-client-secret\n")
    settings = watched.poll(SETTLED)
    assert settings
    assert settings.client_keys == {"phone": "another-client-secret"}
    # Responses in progress may still contain the previous ones.
    assert settings.former_secrets["AIza-a"] == "key 1"


@pytest.mark.usefixtures("_leases")
def test_files_that_are_named_follow_the_same_rules(tmp_path: Path) -> None:
    keys, secret = tmp_path / "keys", tmp_path / "secret"
    keys.write_text("AIza-k1 k1\n")
    secret.write_text("a-client-secret-that-is-long")  # without a final newline, as usual for these
    watched = Watched(tmp_path, f"KEYS_FILE={keys}\nOUTPUT_API_KEY_FILE={secret}\n")
    keys.write_text("AIza-k1 k1\nAIza-k2 k2\n")
    assert watched.taken() == {"k1": "AIza-k1", "k2": "AIza-k2"}
    with keys.open("a") as stream:
        stream.write("AIza-k3")
        stream.flush()
        assert watched.poll(10 * SETTLED_UNFINISHED) is None
        stream.write(" k3\n")
    assert set(watched.taken()) == {"k1", "k2", "k3"}
    keys.unlink()
    assert watched.refused().startswith("KEYS_FILE: ")
    os.mkfifo(keys)
    assert watched.refused().startswith("KEYS_FILE: ")
    keys.unlink()
    keys.write_text("AIza-k4 k4\n")
    assert set(watched.taken()) == {"k4"}
    secret.write_text("")
    assert watched.refused() == "OUTPUT_API_KEY_FILE: the file is empty"
    secret.write_text("another-client-secret\n")
    assert watched.taken()
    assert watched.source.settings.client_keys == {"default": "another-client-secret"}


def test_a_file_that_is_named_anew_has_to_settle_too(tmp_path: Path, watched: Watched) -> None:
    keys = tmp_path / "keys"
    keys.write_text("AIza-k1 k1\n")
    watched.file.write_text(f"{GOOD}KEYS_FILE={keys}\n")
    assert watched.poll(SETTLED) is None
    assert set(watched.taken()) == {"1", "k1"}
    keys.write_text("AIza-k2 k2\n")
    assert set(watched.taken()) == {"1", "k2"}


def test_the_target_of_a_link_may_be_swapped(tmp_path: Path) -> None:
    # As Kubernetes changes what it mounts: a folder of a new version, and a link that is renamed over.
    for version, text in (("v1", GOOD), ("v2", OTHER)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "env").write_text(text)
    run = tmp_path / "run"
    run.mkdir()
    (run / "data").symlink_to(tmp_path / "v1")
    (run / ".env").symlink_to("data/env")
    clock = TurnedClock()
    source = SettingsSource(run, {}, clock=clock)
    (run / "new").symlink_to(tmp_path / "v2")
    (run / "new").replace(run / "data")
    assert source.poll() is None
    clock.now += SETTLED
    settings = source.poll()
    assert settings
    assert settings.google_keys == {"1": "AIza-b"}


@pytest.mark.usefixtures("_leases")
def test_a_start_waits_for_a_writer_and_fails_if_it_does_not_close_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    stream = file.open("w")
    stream.write(GOOD[:30])
    stream.flush()
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            stream.write(GOOD[30:])
            stream.close()

    monkeypatch.setattr("proxycore.runtime.settings_source.time.sleep", pause)
    assert SettingsSource(tmp_path, {}).settings.google_keys == {"1": "AIza-a"}
    assert len(pauses) == 3
    monkeypatch.setattr("proxycore.runtime.settings_source._START_TIMEOUT", -1.0)
    with file.open("a"), pytest.raises(SettingsError, match="open for writing"):
        SettingsSource(tmp_path, {})
