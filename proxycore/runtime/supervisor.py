"""Several workers on one host: a parent that starts them, passes signals on, and replaces those that crash.

The parent has no event loop and serves nothing. It binds the sockets, so that the port stays and no
connection is lost while a worker is replaced, and forks the workers and the hub, through which they share
the state of the keys.

    SIGTERM, SIGINT   all workers drain; a second one cuts; then the hub ends, and the parent with status 0
    SIGHUP, `.env`    only the parent reads the settings; it sends them to the workers and to the hub, and
                      starts or ends workers if their number has changed
    a child ends      a new one replaces it, at once the first time, then with growing pauses
    the parent ends   the workers notice, and drain
"""

import asyncio
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from proxycore.clock import Clock
from proxycore.peers.publisher import Publisher
from proxycore.peers.records_link import RecordsLink
from proxycore.peers.store import Store
from proxycore.peers.worker_link import WorkerLink
from proxycore.runtime import logs as log
from proxycore.runtime import process
from proxycore.runtime.announcements import SECOND_SIGNAL, announce_ready, announce_reload
from proxycore.runtime.hub_process import run_hub
from proxycore.runtime.settings import Settings, SettingsError
from proxycore.runtime.settings_channel import SettingsChannel, receive
from proxycore.runtime.settings_source import SettingsSource
from proxycore.runtime.socket_folder import SocketFolder
from proxycore.stats.meter import Meter

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0  # seconds between a crash and a new child
_STABLE = 60.0  # seconds of life after which a crash counts as the first again
_GRACE = 10.0  # seconds beyond DRAIN_TIMEOUT, after which what still runs is killed

RunLoop = Callable[[Coroutine[Any, Any, None]], None]


@dataclass(slots=True)
class _Child:
    """A process. `number` counts the workers from 1, and is 0 for the hub. `begun` is monotonic seconds."""

    number: int
    pid: int
    channel: SettingsChannel
    begun: float = field(default_factory=time.monotonic)
    dismissed: bool = False

    @property
    def name(self) -> str:
        return f"worker {self.number}" if self.number else "hub"


class Supervisor:
    """The parent process. `run_loop` runs a coroutine in a child.

    Raises SettingsError when the address can't be listened on.
    """

    def __init__(self, source: SettingsSource, run_loop: RunLoop) -> None:
        self._source = source
        self._settings = source.settings
        self._pid = os.getpid()
        self._former: Settings | None = None  # those before a reload that is not confirmed by all yet
        self._run_loop = run_loop
        self._listener = process.listen(self._settings)
        self._clock = Clock()  # before any child, so that a moment is the same in all
        self._children: dict[int, _Child] = {}
        self._due: dict[int, float] = {}  # number -> when it is to be started again
        self._pauses: dict[int, float] = {}
        self._stop_signals = 0
        self._stop_by = float("inf")
        self._alive, self._held = os.pipe()  # its end tells the children that the parent has ended
        self._ready, self._report_ready = os.pipe()  # a byte from each worker that is ready
        self._ready_count = 0
        self._is_ready = False
        self._woken, self._wake = socket.socketpair()

    def run(self) -> None:
        """Supervises until all children have ended.

        Raises SettingsError when there is no place for the hub's socket.
        """
        for end in (self._woken, self._wake):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for handled in _SIGNALS:
            signal.signal(handled, lambda *_: None)
        with SocketFolder() as self._folder:
            for number in range(self._settings.workers + 1):
                self._start(number)
            while self._children or self._due:
                self._turn()
        logger.info("stopped")

    def _turn(self) -> None:
        now = time.monotonic()
        for number in [number for number, due in self._due.items() if due <= now]:
            del self._due[number]
            self._start(number)
        if now > self._stop_by:
            self._pass_on(signal.SIGKILL)
        self._wait(max(0.0, min((*self._due.values(), now + process.WATCH)) - now))
        self._reap()
        if not self._stop_signals:
            self._reload()

    def _wait(self, seconds: float) -> None:
        """Waits for signals and children for so long at most, and handles what comes."""
        woken = self._woken.fileno()
        channels = {child.channel.fileno(): child.channel for child in self._children.values()}
        poll = select.poll()
        for number in (woken, self._ready):
            poll.register(number, select.POLLIN)
        for number, channel in channels.items():
            if channel.is_open:
                poll.register(number, select.POLLIN | (select.POLLOUT if channel.has_unsent else 0))
        for number, event in poll.poll(seconds * 1000):
            if number == self._ready:
                self._count_ready()
            elif number == woken:
                for received in self._woken.recv(4096):
                    self._on_signal(signal.Signals(received))
            elif event & select.POLLOUT:
                channels[number].flush()
            else:
                channels[number].receive_confirmations()

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP and not self._stop_signals:
            self._source.request()
        elif number in {signal.SIGTERM, signal.SIGINT}:
            self._stop_signals += 1
            self._due.clear()
            if self._stop_signals == 1:
                self._stop_by = time.monotonic() + self._settings.drain_timeout + _GRACE
                self._listener.close()
                logger.info(
                    "stopping: waiting up to %g s for the workers to finish their requests; %s",
                    self._settings.drain_timeout,
                    SECOND_SIGNAL,
                )
            self._pass_on(signal.SIGTERM)
            self._end_hub()

    def _pass_on(self, number: signal.Signals) -> None:
        for child in self._children.values():
            if child.number or number is signal.SIGKILL:
                os.kill(child.pid, number)

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if child := self._children.pop(pid, None):  # else it was an orphan, and we are PID 1
                child.channel.close()
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, status: int) -> None:
        if self._stop_signals or child.dismissed:
            self._end_hub()
            return
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        logger.error("%s (pid %d) %s; restarting it", child.name, child.pid, how)
        now = time.monotonic()
        pause = 0.0 if now - child.begun > _STABLE else self._pauses.get(child.number, 0.0)
        self._pauses[child.number] = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
        self._due[child.number] = now + pause

    def _end_hub(self) -> None:
        """Ends the hub once all workers have ended: they publish and report until then."""
        workers = [child for child in self._children.values() if child.number]
        for child in self._children.values():
            if not child.number and self._stop_signals and not workers:
                os.kill(child.pid, signal.SIGTERM)

    def _reload(self) -> None:
        if settings := process.poll_settings(self._source):
            self._former = self._former or self._settings
            self._settings = settings
            process.configure_log(settings)
            self._send_settings()
        staying = [child for child in self._children.values() if not child.dismissed]
        if self._former and all(child.channel.is_confirmed for child in staying):
            announce_reload(self._former, self._settings)
            self._former = None

    def _send_settings(self) -> None:
        kept = set()
        for child in self._children.values():
            if child.number > self._settings.workers and not child.dismissed:
                child.dismissed = True
                os.kill(child.pid, signal.SIGTERM)
            elif not child.dismissed:
                child.channel.send(self._settings)
                kept.add(child.number)
        for number in range(1, self._settings.workers + 1):
            if number not in kept and number not in self._due:
                self._start(number)

    def _count_ready(self) -> None:
        self._ready_count += len(os.read(self._ready, 4096))
        if self._ready_count >= self._settings.workers and not self._is_ready:
            self._is_ready = True
            announce_ready(self._settings, self._listener.port)

    def _start(self, number: int) -> None:
        channel = SettingsChannel()
        pid = os.fork()
        if pid:
            channel.child_end.close()
            self._children[pid] = _Child(number, pid, channel)
            return
        status = 1
        try:
            os.setpgid(0, 0)  # Ctrl-C is passed on by the parent, once
            signal.set_wakeup_fd(-1)
            for handled in _SIGNALS:
                signal.signal(handled, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the parent gets it, and sends the settings
            os.close(self._held)
            for inherited in (channel, *(child.channel for child in self._children.values())):
                inherited.close()
            end = channel.child_end
            self._run_loop(self._serve(end) if number else self._run_hub(end))
            status = 0
        except SettingsError as error:
            log.write(str(error))
        except BaseException:
            logger.exception("internal error, this process exits")
        finally:
            log.flush()
            os._exit(status)

    async def _serve(self, end: socket.socket) -> None:
        """A worker; `end` is where its settings arrive."""
        stop = process.Stop(self._alive)
        store, meter = Store(self._clock), Meter(self._clock)
        publisher, link = Publisher(store), WorkerLink(self._folder.path, store, meter)
        worker = process.Process(
            self._settings,
            self._listener,
            self._clock,
            publisher,
            link,
            request_reload=self._request_reload,
            records=RecordsLink(link),
        )
        worker.app.share_limits(link, store)
        worker.app.share_requests(link)
        if self._settings.state_file:
            worker.app.record_in(link.rows)
        await link.start()
        receiving = asyncio.create_task(receive(end, worker.reload))
        await worker.serve(stop, lambda: os.write(self._report_ready, b"."))
        receiving.cancel()
        publisher.close()
        await link.close()

    def _request_reload(self) -> None:
        """In a worker: have the parent read the settings again."""
        if os.getppid() == self._pid:  # else it has ended, and the worker drains
            os.kill(self._pid, signal.SIGHUP)

    async def _run_hub(self, end: socket.socket) -> None:
        """The hub; `end` is where its settings arrive."""
        self._listener.close()
        await run_hub(self._settings, self._clock, self._folder.socket, process.Stop(self._alive), end)
