"""Uploads to the mock, by every protocol that Google has for them.

The most important one is resumable: a start with a credential, then chunks to the URL in its response, which
need none. A chunk counts once it is complete, so that an interrupted one can be repeated.
"""

from __future__ import annotations

import secrets

from tornado.http1connection import HTTP1Connection

from proxycore.demo import refusal as refusals
from proxycore.demo.content import Content, Multipart, Upload
from proxycore.demo.handler import COLON, Handler
from proxycore.demo.model import parse
from proxycore.demo.refusal import Json, Refusal, RefusedError

GRANULARITY = 8 * 2**20  # bytes: the size of every chunk but the last is a multiple of it
_LONGEST = 2**32  # bytes of content; Google takes 2 GB
_ONE_SHOT = {"start", "upload", "finalize"}


class _Uploads(Handler):
    """Any request of any protocol, for a file or for a document in a store to search in."""

    upload: Upload | None = None
    content: Content | None = None  # None when there is nothing in the body but JSON

    async def prepare(self) -> None:
        connection = self.request.connection
        if isinstance(connection, HTTP1Connection):
            connection.set_max_body_size(_LONGEST)
            connection.stream.set_close_callback(self.gone.set)  # Tornado does once the body has come
        commands = self.request.headers.get("X-Goog-Upload-Command", "").lower()
        self.commands = {command.strip() for command in commands.split(",")}
        if number := self.get_query_argument("upload_id", ""):
            self.resume(number)
        else:
            await self.begin()

    async def begin(self) -> None:
        """Find out which protocol this is, and refuse content before it arrives."""
        headers, kind = self.request.headers, self.get_query_argument("uploadType", "")
        protocol = headers.get("X-Goog-Upload-Protocol", "raw" if kind == "media" else kind)
        mime_type = headers.get("X-Goog-Upload-Header-Content-Type", "")
        if protocol == "resumable" and self.commands == {"start"}:
            self.upload = Upload("", Content(mime_type))
            return
        await self.permit()
        if protocol == "multipart":
            self.content = Multipart(headers.get("Content-Type", ""))
        elif protocol == "raw" or (protocol == "resumable" and self.commands == _ONE_SHOT):
            self.content = Content(mime_type or headers.get("Content-Type", ""))
        else:
            raise RefusedError(refusals.INVALID_ARGUMENT)

    async def permit(self) -> None:
        """Refuse what Google refuses; a store has to be the project's own."""
        await self.admit()
        for store in self.path_args[1:]:
            self.owned(store)

    def resume(self, number: str) -> None:
        """Find the upload that a chunk belongs to; its id is the only credential."""
        keys, tokens = self.credentials()
        if len(keys) + len(tokens) > 1:
            raise RefusedError(refusals.TWO_CREDENTIALS)
        self.call.key = "".join(keys + tokens)
        self.upload = self.mock.uploads.get(number)
        if self.upload is None:
            raise RefusedError(refusals.NOT_FOUND)
        if not self.commands <= {"upload", "finalize", "query", "cancel"}:
            raise RefusedError(refusals.INVALID_ARGUMENT)
        if not self.commands & {"upload", "finalize"}:
            return
        size = self.upload.content.size
        offset = self.request.headers.get(
            "X-Goog-Upload-Offset", "" if "upload" in self.commands else str(size)
        )
        if self.upload.status != "active" or offset != str(size):
            raise _wrong(f"The upload is {self.upload.status} and has {size} bytes, so none follow {offset}.")
        self.content = self.upload.content.copy()

    async def data_received(self, chunk: bytes) -> None:
        if self.content is None:
            super().data_received(chunk)
        else:
            await self.wait(self.mock.upload_delay)
            self.content.add(chunk)

    async def post(self, _version: str, _store: str = "") -> None:
        if self.upload is None:
            return await self.finalize(self.call.key)
        if not self.upload.key:
            return await self.start(self.upload)
        if "cancel" in self.commands:
            self.upload.status = "cancelled"
            del self.mock.uploads[self.get_query_argument("upload_id")]
        if self.content:
            chunk = self.content.size - self.upload.content.size
            if "finalize" not in self.commands and chunk % GRANULARITY:
                raise _wrong(f"Only the last chunk may be {chunk} bytes, no multiple of {GRANULARITY}.")
            self.upload.content = self.content
        if "finalize" not in self.commands:
            return self.report()
        self.upload.status = "final"
        return await self.finalize(self.upload.key)

    async def start(self, upload: Upload) -> None:
        """Answer with the URL that the content has to go to."""
        await self.permit()
        upload.key = self.call.key
        upload.content.about = parse(self.call.body) if self.call.body else {}
        number = secrets.token_urlsafe(48)
        self.mock.uploads[number] = upload
        address = f"{self.request.protocol}://{self.request.host}{self.request.path}?upload_id={number}"
        echo = f"&key={upload.key}" if self.mock.echo_key else ""
        for name in ("X-Goog-Upload-URL", "X-Goog-Upload-Control-URL"):
            self.set_header(name, f"{address}{echo}&upload_protocol=resumable")
        self.report()

    def report(self) -> None:
        """Answer with the upload's progress alone."""
        self.set_progress()
        self.head("text/plain; charset=utf-8")
        self.finish()

    def set_progress(self) -> None:
        """Put the upload's progress into the head, if it has begun."""
        if self.upload and self.upload.key:
            self.set_header("X-Goog-Upload-Status", self.upload.status)
            self.set_header("X-Goog-Upload-Chunk-Granularity", str(GRANULARITY))
            self.set_header("X-Goog-Upload-Size-Received", str(self.upload.content.size))

    async def finalize(self, key: str) -> None:
        """Make what the content was for, and answer with it."""
        content = self.content or Content()
        file = content.file(self.mock.clock())
        answer: Json = {"file": file.document}
        if len(self.path_args) > 1:
            answer = self.mock.store.add_document(key, self.path_args[1], file)
        else:
            self.mock.store.put(key, file)
        self.set_progress()
        self.set_header("X-Goog-Upload-Status", "final")
        await self.answer(answer)

    def write_error(self, status_code: int, **kwargs: object) -> None:
        self.set_progress()
        super().write_error(status_code, **kwargs)


def _wrong(text: str) -> RefusedError:
    return RefusedError(Refusal(400, text))


_STORE = "(fileSearchStores/[^/:]+)"
ROUTES: list[tuple[str, type[Handler]]] = [  # after /upload and the version
    ("/files", _Uploads),
    (rf"/{_STORE}{COLON}uploadToFileSearchStore", _Uploads),
]
