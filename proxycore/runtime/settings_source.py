"""Reads the settings at start, and again when files change or a reload is requested. Fails closed.

Files are read once they have settled: no process has them open for writing, and they have not changed for a
second, or for three when their last line has no newline. A reload is rejected when its settings can't be
used, or would remove the protection by keys.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from proxycore.http.redaction import with_former
from proxycore.runtime.file_watch import FileWatch
from proxycore.runtime.regular_file import StillChangingError, TextFiles
from proxycore.runtime.settings import Settings, SettingsError, merged, parse, read_env_file, without_keys
from proxycore.runtime.tls import tls_context

logger = logging.getLogger(__name__)

SETTLED, SETTLED_UNFINISHED = 1.0, 3.0
"""Seconds without a change after which a file is read; the longer one when its last line has no newline."""

_START_TIMEOUT = 3.0  # seconds in which a file that is open for writing has to be closed
_START_INTERVAL = 0.05
_LONG = 5.0  # seconds after which a change that does not end is logged


class SettingsSource:
    """Reads the settings from the environment, `.env` in `folder`, and the files that they name.

    `flags` override both. `clock` returns monotonic seconds. Raises SettingsError when the settings at start
    can't be used.
    """

    def __init__(
        self,
        folder: Path,
        flags: Mapping[str, str],
        *,
        is_demo: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._env_file = folder / ".env"
        self._flags = flags
        self._is_demo = is_demo
        self._clock = clock
        self.settings, files = self._read_at_start()
        self._had_env_file = files.signatures[self._env_file] is not None
        self._watch = FileWatch(files.signatures, clock)
        self._is_requested = False
        self._changing_since: float | None = None
        self._is_logged = False  # that the files are still changing

    def request(self) -> None:
        """Read the settings again at the next `poll`, changed or not, once the files have settled."""
        self._is_requested = True
        self._is_logged = False

    def poll(self) -> Settings | None:
        """Return new settings, or None if they were not read again. To be called often.

        Raises SettingsError when they can't be used: once for every change, and for every request.
        """
        self._watch.poll()
        if not (self._is_requested or (self._watch.is_changed and self.settings.watch_env_file)):
            self._changing_since, self._is_logged = None, False
            return None
        former = dict(self.settings.former_secrets) | self.settings.secrets
        try:
            settings = self._read_again()
        except StillChangingError as error:
            self._log_change_in_progress(error)
            return None
        except SettingsError:
            self._done()
            raise
        self._done()
        self.settings = replace(settings, former_secrets=with_former(settings.secrets, former))
        return self.settings

    def _done(self) -> None:
        self._watch.acknowledge()
        self._is_requested = False

    def _read_again(self) -> Settings:
        files = TextFiles()
        try:
            self._expect_settled(lambda _: SETTLED)
            settings = self._read(files)
        except SettingsError:
            self._expect_settled_as_read(files)
            raise
        self._expect_settled_as_read(files)
        self._expect_no_loss(settings, files)
        return settings

    def _expect_settled_as_read(self, files: TextFiles) -> None:
        if not self._watch.follow(files.signatures):
            raise StillChangingError(self._env_file.name)
        self._expect_settled(lambda path: SETTLED_UNFINISHED if path in files.unfinished else SETTLED)

    def _expect_settled(self, seconds: Callable[[Path], float]) -> None:
        if unsettled := self._watch.unsettled(seconds):
            raise StillChangingError(unsettled.name)

    def _expect_no_loss(self, settings: Settings, files: TextFiles) -> None:
        has_env_file, former = files.signatures[self._env_file] is not None, self.settings
        had_admin_key = former.admin_key and former.admin_key not in former.client_keys.values()
        losses = {
            ".env: was removed": self._had_env_file and not has_env_file,
            "OUTPUT_API_KEY: was removed, which would let anyone use your keys": (
                former.client_keys and not settings.client_keys
            ),
            "ADMIN_API_KEY: was removed, which would let every local program read the status": (
                had_admin_key and not settings.admin_key
            ),
            "GOOGLE_API_KEY_*: all were removed": former.keys and not settings.keys,
        }
        # The first explains the others.
        if loss := next((loss for loss, is_real in losses.items() if is_real), None):
            raise SettingsError(f"{loss}; to apply this, restart the program")
        self._had_env_file = has_env_file

    def _log_change_in_progress(self, error: StillChangingError) -> None:
        now = self._clock()
        if self._changing_since is None:
            self._changing_since = now
        if self._is_logged:
            return
        if self._is_requested:
            self._is_logged = True
            logger.info("reload pending until %s stops changing", error)
        elif now - self._changing_since > _LONG:
            self._is_logged = True
            logger.warning(
                "reload delayed, the current settings stay in effect: %s is still being written", error
            )

    def _read_at_start(self) -> tuple[Settings, TextFiles]:
        began = time.monotonic()
        while True:
            files = TextFiles()
            try:
                return self._read(files), files
            except StillChangingError as error:
                if time.monotonic() - began > _START_TIMEOUT:
                    raise SettingsError(
                        f"{error}: another program has it open for writing; start again once it is closed"
                    ) from error
                time.sleep(_START_INTERVAL)

    def _read(self, files: TextFiles) -> Settings:
        env = read_env_file(self._env_file, files)
        variables = merged(env.values, self._flags)
        settings = parse(without_keys(variables) if self._is_demo else variables, files, env.values)
        tls_context(settings)
        return replace(settings, warnings=[*env.warnings, *settings.warnings])
