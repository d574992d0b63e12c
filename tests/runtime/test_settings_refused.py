"""Unusable settings change nothing, are reported once, and the repaired file is read again."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from proxycore.runtime.settings import SettingsError
from proxycore.runtime.settings_source import SETTLED, SettingsSource
from tests.support.process import program
from tests.support.watched_settings import GOOD, OTHER, Watched

pytestmark = pytest.mark.usefixtures("no_settings_around")


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def _remove(file: Path) -> None:
    file.unlink()


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _dangling(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.with_name("nowhere"))


def _loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def _device(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def _write(text: str | bytes) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    return write


FAULTY = {
    "gone": (_remove, ".env: was removed"),
    "a folder": (_folder, ".env: a directory"),
    "a pipe": (_pipe, ".env: not a regular file"),
    "a dangling link": (_dangling, ".env: a link to a file that does not exist"),
    "a link to itself": (_loop, ".env: can't be read"),
    "a device": (_device, ".env: not a regular file"),
    "empty": (_write(""), "OUTPUT_API_KEY: was removed"),
    "comments only": (_write("# soon\n"), "OUTPUT_API_KEY: was removed"),
    "no client key": (_write("GOOGLE_API_KEY_1=AIza-b\n"), "OUTPUT_API_KEY: was removed"),
    "an empty client key": (
        _write('GOOGLE_API_KEY_1=AIza-b\nOUTPUT_API_KEY=""\n'),
        "OUTPUT_API_KEY: was removed",
    ),
    "no Google key": (
        _write("OUTPUT_API_KEY=a-client-secret-that-is-long\n"),
        "GOOGLE_API_KEY_*: all were removed",
    ),
    "placeholders": (_write(OTHER.replace("AIza-b", "changeme")), "GOOGLE_API_KEY_*: all were removed"),
    "an open quote": (_write(GOOD + 'PORT="80\n'), ".env, line 3"),
    "a name alone": (_write(GOOD + "PORT\n"), ".env, line 3"),
    "no settings at all": (_write("a secret\n" * 50000), ".env: 49990 more lines like these"),
    "a bad value": (_write(GOOD + "PORT=x\n"), "PORT: 'x'"),
    "UTF-16": (_write(OTHER.encode("utf-16")), ".env: UTF-16"),
    "UTF-16 without a mark": (_write(OTHER.encode("utf-16-le")), ".env: line 1 has NUL"),
    "Latin-1": (_write(OTHER.encode() + b"# k\xe9y\n"), ".env: line 3 is not UTF-8"),
    "zeros at the end": (_write(OTHER.encode() + bytes(100)), ".env: line 3 has NUL"),
}


@pytest.mark.parametrize(("spoil", "told"), FAULTY.values(), ids=FAULTY)
def test_an_unusable_file_changes_nothing_and_is_reported_once_until_it_is_repaired(
    spoil: Callable[[Path], None], told: str, watched: Watched
) -> None:
    spoil(watched.file)
    complaint = watched.refused()
    assert told in complaint
    assert "AIza" not in complaint
    watched.source.request()  # a requested reload is always reported
    assert watched.refused() == complaint
    assert dict(watched.source.settings.google_keys) == {"1": "AIza-a"}
    if watched.file.is_dir():
        watched.file.rmdir()
    else:
        watched.file.unlink(missing_ok=True)
    watched.file.write_text(OTHER)
    assert watched.taken() == {"1": "AIza-b"}


@pytest.mark.parametrize("spoil", [_folder, _pipe, _dangling, _loop, _device])
def test_an_unusable_file_at_start_is_a_configuration_error(
    spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    (tmp_path / ".env").touch()
    spoil(tmp_path / ".env")
    with pytest.raises(SettingsError, match=r"^\.env: "):
        SettingsSource(tmp_path, {})


def test_a_file_without_read_permission_is_reported_and_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(GOOD)
    # Root may read everything, unless this capability is dropped.
    bounded = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
    prefix = () if os.geteuid() else bounded
    with program(folder=tmp_path, prefix=prefix) as started:
        assert started.port
        file.chmod(0)
        started.signal(signal.SIGHUP)
        started.wait_for(re.compile(r"reload rejected.*\.env: can't be read: permission denied"))
        file.chmod(0o600)
        file.write_text(OTHER)
        started.wait_for(re.compile("reloaded"))
    file.chmod(0)
    with program(folder=tmp_path, prefix=prefix) as started:
        assert started.exit_status() == 2
    assert ".env: can't be read: permission denied" in started.log


def test_a_lost_file_is_refused_even_if_keys_are_set_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY_1", "AIza-elsewhere")
    monkeypatch.setenv("OUTPUT_API_KEY", "a-client-secret-elsewhere")
    watched = Watched(tmp_path, "MAX_WAIT=3\n")
    watched.file.unlink()
    assert ".env: was removed" in watched.refused()
    watched.file.write_text("MAX_WAIT=4\n")
    settings = watched.poll(SETTLED)
    assert settings
    assert settings.max_wait == 4


def test_a_reload_without_the_admin_key_is_rejected(tmp_path: Path) -> None:
    admin = "ADMIN_API_KEY=an-admin-secret-that-is-long\n"
    watched = Watched(tmp_path, f"GOOGLE_API_KEY_1=AIza-a\n{admin}")
    watched.file.write_text("GOOGLE_API_KEY_1=AIza-b\n")
    assert "ADMIN_API_KEY: was removed" in watched.refused()
