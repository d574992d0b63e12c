"""The handlers of what the state file has: the request log, the events and the usage."""

from collections.abc import Awaitable

from proxycore.admin.handlers import AdminHandler
from proxycore.admin.parameters import ParameterError
from proxycore.storage.records import StateFileOffError
from proxycore.storage.rows import NoStateFileError, QueryError

_JSON = "application/json; charset=UTF-8"


class RecordsHandler(AdminHandler):
    """A handler that responds with records."""

    async def _reply_with(self, text: Awaitable[str], content_type: str) -> None:
        """Respond with what is awaited, or with why there is none."""
        try:
            self.reply(await text, content_type=content_type)
        except ParameterError as error:
            self._refuse(400, str(error))
        except QueryError as error:
            self._refuse(400, f"That asks for too much: {error}.")
        except StateFileOffError as error:
            self._refuse(404, str(error))
        except NoStateFileError as error:
            self._refuse(503, f"The state file can't be used now: {error}.")

    def _refuse(self, code: int, message: str) -> None:
        if self.finish_body():
            self.refuse(code, message)


class RequestsHandler(RecordsHandler):
    """`/requests.json`: the request log, by page."""

    async def get(self) -> None:
        """Respond with a page of the requests that match the parameters."""
        page = self._parts.records.requests(self.request.query, self.context.admin.is_key)
        await self._reply_with(page, _JSON)

    head = get


class EventsHandler(RecordsHandler):
    """`/events.json`: what has happened to the keys and to the pool, by page."""

    async def get(self) -> None:
        """Respond with a page of the events that match the parameters."""
        page = self._parts.records.events(self.request.query, self.context.admin.is_key)
        await self._reply_with(page, _JSON)

    head = get


class UsageJsonHandler(RecordsHandler):
    """`/usage.json`: sums over requests."""

    async def get(self) -> None:
        """Respond with the sums that the parameters ask for."""
        usage = self._parts.records.usage_json(self.request.query, self.context.admin.is_key)
        await self._reply_with(usage, _JSON)

    head = get


class UsageCsvHandler(RecordsHandler):
    """`/usage.csv`: sums over requests, for spreadsheets."""

    async def get(self) -> None:
        """Respond with the sums that the parameters ask for."""
        usage = self._parts.records.usage_csv(self.request.query, self.context.admin.is_key)
        await self._reply_with(usage, "text/csv; charset=UTF-8; header=present")

    head = get


class HistoryHandler(RecordsHandler):
    """`/history.json`: what became of requests, slot by slot."""

    async def get(self) -> None:
        """Respond with the range that the parameters ask for."""
        history = self._parts.history.json(self.request.query, self.context.admin.is_key)
        await self._reply_with(history, _JSON)

    head = get
