"""Settings whose `.env` a test changes, with a clock that it turns."""

from pathlib import Path

import pytest

from proxycore.runtime.settings import Settings, SettingsError
from proxycore.runtime.settings_source import SETTLED, SETTLED_UNFINISHED, SettingsSource

GOOD = "GOOGLE_API_KEY_1=AIza-a\nOUTPUT_API_KEY=a-client-secret-that-is-long\n"
OTHER = GOOD.replace("AIza-a", "AIza-b")


class TurnedClock:
    """Seconds that a test counts."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A source whose `.env` a test changes, with a clock that it turns."""

    def __init__(self, folder: Path, text: str = GOOD) -> None:
        self.file = folder / ".env"
        self.file.write_text(text)
        self.clock = TurnedClock()
        self.source = SettingsSource(folder, {}, clock=self.clock)

    def poll(self, seconds: float = 0.0) -> Settings | None:
        """The result after some seconds; the files are polled before as well."""
        self.source.poll()
        self.clock.now += seconds
        return self.source.poll()

    def taken(self) -> dict[str, str]:
        """The keys that are read once all files have settled."""
        settings = self.poll(SETTLED)
        assert settings
        return dict(settings.google_keys)

    def refused(self) -> str:
        """The error once all files have settled, which is reported only once."""
        with pytest.raises(SettingsError) as caught:
            self.poll(SETTLED_UNFINISHED)
        for _ in range(5):
            assert self.poll(SETTLED_UNFINISHED) is None
        return str(caught.value)
