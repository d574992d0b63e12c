"""The limits of clients between a worker and the hub of its host: the hub keeps the ledger."""

import asyncio
from collections.abc import Callable

from proxycore.peers.link_messages import LimitAnswer, LimitNews, LimitQuestion, Message
from proxycore.stats.limits.account import Grant
from proxycore.stats.limits.client_limits import ClientLimits
from proxycore.stats.limits.ledger import Ledger
from proxycore.stats.limits.lender import Lender
from proxycore.stats.limits.remote_lender import LedgerAwayError, News

Send = Callable[[Message], None]


class LimitLink:
    """A worker's end: asks the hub for requests, and tells it what became of them.

    `send` is set while the hub can be reached.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._send: Send | None = None
        self._questions: dict[int, asyncio.Future[Grant]] = {}
        self._number = 0

    async def lend(self, client: str, limits: ClientLimits, needed: int, ahead: int) -> Grant:  # noqa: ARG002 - of the connection to Redis
        """Ask for requests. Raises LedgerAwayError."""
        if not self._send:
            raise LedgerAwayError
        self._number += 1
        question: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self._questions[self._number] = question
        self._send(LimitQuestion(self._number, client, needed, ahead))
        return await question

    def tell(self, client: str, limits: ClientLimits, news: News) -> None:
        """Tell what became of requests, unless there is nothing to be counted."""
        ended = news.ended if limits.concurrent is not None else 0
        if self._send and (news.unused or ended or news.tokens):
            self._send(LimitNews(client, news.at, news.unused, ended, news.tokens))

    def answered(self, answer: LimitAnswer) -> None:
        """Pass the hub's answer on to the request that waits for it."""
        question = self._questions.pop(answer.number, None)
        if question and not question.done():
            question.set_result(Grant(answer.count, answer.at, answer.limit, answer.opens))

    def connected(self, send: Send) -> None:
        """Begin to use a new connection: tell what is in progress, since the hub may be a new one."""
        self._send = send
        for client, account in self._ledger:
            self.tell(client, account.limits, News(0.0, ended=-account.in_progress))

    def disconnected(self) -> None:
        """End all questions: there will be no answer."""
        self._send = None
        for question in self._questions.values():
            if not question.done():
                question.set_exception(LedgerAwayError())
        self._questions.clear()


class LimitServer:
    """The hub's end: answers workers with what `lender` grants now; a worker's channel is the holder."""

    def __init__(self, lender: Callable[[], Lender]) -> None:
        self._lender = lender
        self._answers: set[asyncio.Future[None]] = set()

    def handle(self, holder: object, send: Send, message: LimitQuestion | LimitNews) -> None:
        """Answer a question, or count what became of requests."""
        if isinstance(message, LimitNews):
            self._count(holder, message)
            return
        asked = self._lender().ask(holder, message.client, message.needed, message.ahead)
        if isinstance(asked, Grant):
            send(_answer(message.number, asked))
            return

        async def reply() -> None:
            send(_answer(message.number, await asked))

        answer = asyncio.ensure_future(reply())
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)

    def _count(self, holder: object, news: LimitNews) -> None:
        lender = self._lender()
        if news.unused:
            lender.take_back(news.client, news.unused, news.at)
        if news.ended:
            lender.release(holder, news.client, news.ended)
        if news.tokens:
            lender.spend(news.client, news.tokens)


def _answer(number: int, grant: Grant) -> LimitAnswer:
    return LimitAnswer(number, grant.count, grant.at, grant.limit, grant.opens)
