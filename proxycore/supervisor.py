"""Several workers on one host: a parent that starts them, passes signals on, and replaces those that crash.

The parent has no event loop and serves nothing. It binds the sockets, so that the port stays and no
connection is lost while a worker is replaced, and forks the hall, where the board hangs, and the workers.

    SIGTERM, SIGINT   all workers drain; a second one cuts; then the hall ends, and the parent with status 0
    SIGHUP, `.env`    the parent reads the settings, workers and hall get them from it, and nobody else reads;
                      there may be more or less workers
    a worker ends     a new one takes its place, at once the first time, then with growing pauses
    the parent ends   the workers notice, and drain
"""

import asyncio
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from proxycore import life, log
from proxycore.board import Board
from proxycore.bulletin import Bulletin, HostLink
from proxycore.census import CensusHall, HostCensus
from proxycore.clock import Clock
from proxycore.hall import keep_hall
from proxycore.log import logger
from proxycore.replicas import Replicas
from proxycore.settings import Settings, SettingsError
from proxycore.settings_channel import SettingsChannel, receive
from proxycore.settings_source import SettingsSource
from proxycore.socket_folder import SocketFolder

_HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0  # seconds
_CALM = 60.0  # seconds of life after which a crash counts as the first again
_GRACE = 10.0  # seconds beyond DRAIN_TIMEOUT, after which what still runs is killed

RunLoop = Callable[[Coroutine[Any, Any, None]], None]


@dataclass(slots=True)
class _Child:
    """A process: `number` is a worker's place, 0 the hall's."""

    number: int
    pid: int
    channel: SettingsChannel
    begun: float = field(default_factory=time.monotonic)
    dismissed: bool = False

    @property
    def name(self) -> str:
        return f"worker {self.number}" if self.number else "the hall"


class Supervisor:
    """The parent. `run_loop` runs a coroutine in a child.

    Raises SettingsError when the address can't be listened on.
    """

    def __init__(self, source: SettingsSource, run_loop: RunLoop) -> None:
        self._source = source
        self._settings = source.settings
        self._former: Settings | None = None  # those before a reload that is not told yet
        self._run_loop = run_loop
        self._listener = life.listen(self._settings)
        self._clock = Clock()  # before any child, so that all mean the same by a moment
        self._children: dict[int, _Child] = {}
        self._due: dict[int, float] = {}  # number -> when it is to be started again
        self._pauses: dict[int, float] = {}
        self._signals = 0  # how many said to stop
        self._stop_by = float("inf")
        self._alive, self._held = os.pipe()  # its end tells the children that the parent is gone
        self._ready, self._say_ready = os.pipe()
        self._count = 0  # of workers that are ready
        self._said_ready = False
        self._woken, self._wake = socket.socketpair()

    def run(self) -> None:
        """Supervises until all is over. Raises SettingsError when there is no folder for sockets."""
        for end in (self._woken, self._wake):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for heard in _HEARD:
            signal.signal(heard, lambda *_: None)
        with SocketFolder("board", "census") as self._folder:
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
        self._wait(max(0.0, min((*self._due.values(), now + life.WATCH)) - now))
        self._reap()
        if not self._signals:
            self._reload()

    def _wait(self, seconds: float) -> None:
        """Waits until a signal or a child says something, and hears it."""
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
                for heard in self._woken.recv(4096):
                    self._heard(signal.Signals(heard))
            elif event & select.POLLOUT:
                channels[number].push()
            else:
                channels[number].hear()

    def _heard(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP and not self._signals:
            self._source.request()
        elif number in {signal.SIGTERM, signal.SIGINT}:
            self._signals += 1
            self._due.clear()
            if self._signals == 1:
                self._stop_by = time.monotonic() + self._settings.drain_timeout + _GRACE
                self._listener.close()
                logger.info(
                    "stopping: the workers have up to %g s to finish their requests; %s",
                    self._settings.drain_timeout,
                    life.SECOND_SIGNAL,
                )
            self._pass_on(signal.SIGTERM)
            self._end_hall()

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
        if self._signals or child.dismissed:
            self._end_hall()
            return
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        logger.error("%s (pid %d) %s; a new one takes its place", child.name, child.pid, how)
        now = time.monotonic()
        pause = 0.0 if now - child.begun > _CALM else self._pauses.get(child.number, 0.0)
        self._pauses[child.number] = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
        self._due[child.number] = now + pause

    def _end_hall(self) -> None:
        """The hall ends last: workers tell until they are gone."""
        workers = [child for child in self._children.values() if child.number]
        for child in self._children.values():
            if not child.number and self._signals and not workers:
                os.kill(child.pid, signal.SIGTERM)

    def _reload(self) -> None:
        if settings := life.look(self._source):
            self._former = self._former or self._settings
            self._settings = settings
            life.configure_log(settings)
            self._pass_settings_on()
        staying = [child for child in self._children.values() if not child.dismissed]
        if self._former and all(child.channel.is_confirmed for child in staying):
            life.say_reloaded(self._former, self._settings)
            self._former = None

    def _pass_settings_on(self) -> None:
        there = set()
        for child in self._children.values():
            if child.number > self._settings.workers and not child.dismissed:
                child.dismissed = True
                os.kill(child.pid, signal.SIGTERM)
            elif not child.dismissed:
                child.channel.send(self._settings)
                there.add(child.number)
        for number in range(1, self._settings.workers + 1):
            if number not in there and number not in self._due:
                self._start(number)

    def _count_ready(self) -> None:
        self._count += len(os.read(self._ready, 4096))
        if self._count >= self._settings.workers and not self._said_ready:
            self._said_ready = True
            life.say_ready(self._settings, self._listener.port)

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
            for heard in _HEARD:
                signal.signal(heard, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the parent hears it, and sends what it reads
            os.close(self._held)
            for one in (channel, *(child.channel for child in self._children.values())):
                one.close()
            end = channel.child_end
            self._run_loop(self._serve(end) if number else self._keep_hall(end))
            status = 0
        except SettingsError as error:
            log.write(str(error))
        except BaseException:  # noqa: BLE001 - a child must not run the parent's code after this
            logger.exception("internal error that ends this process")
        finally:
            log.flush()
            os._exit(status)

    async def _serve(self, end: socket.socket) -> None:
        stop, path, census_path = life.Stop(self._alive), *self._folder.paths
        worker = life.Life(self._settings, self._listener, self._clock)
        board, link = Board(self._clock), HostLink(path)
        await link.start(board)
        bulletin = Bulletin(board)
        worker.app.join(bulletin)
        census = worker.app.census = HostCensus(worker.app.meter, census_path)
        receiving = asyncio.create_task(receive(end, worker.take))
        await worker.serve(stop, lambda: os.write(self._say_ready, b"."))
        receiving.cancel()
        bulletin.close()
        await census.close()
        await link.close()

    async def _keep_hall(self, end: socket.socket) -> None:
        self._listener.close()
        reload = asyncio.Event()

        def go_by(settings: Settings) -> None:
            life.configure_log(settings)
            self._settings = settings
            reload.set()

        receiving = asyncio.create_task(receive(end, go_by))
        stop = life.Stop(self._alive)
        board, counted = self._folder.sockets
        census = CensusHall(self._clock)
        await census.serve(counted)
        await keep_hall(board, self._link, stop.first, reload, clock=self._clock)
        receiving.cancel()
        await census.close()

    def _link(self) -> Replicas | None:
        settings = self._settings
        if settings.redis_url is None:
            return None
        return Replicas(settings.redis_url, settings.google_keys.values(), self._clock)
