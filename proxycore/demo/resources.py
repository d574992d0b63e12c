"""Resources of the mock's projects that are little more than their documents, and operations on them."""

from __future__ import annotations

from proxycore.demo import model as models
from proxycore.demo import store as stores
from proxycore.demo.asked import CACHING
from proxycore.demo.files import Collection
from proxycore.demo.handler import COLON, Handler
from proxycore.demo.refusal import SERVICE, Json
from proxycore.demo.store import identifier, stamp

_CACHED = 3600.0  # seconds that cached content is kept, unless the body says otherwise


class _Caches(Collection):
    """Content that is cached for one model."""

    kind = "cachedContents"

    async def post(self, version: str) -> None:
        self.credential()  # Google checks it before the body
        model = str(models.parse(self.call.body).get("model")).removeprefix("models/")
        await self.admit(model, CACHING)
        body = self.document()
        models.find(model, "generateContent", version)
        now = stamp(self.mock.clock())
        cache = {"name": f"{self.kind}/{identifier(40)}", "model": body["model"], "createTime": now}
        cache |= {"updateTime": now, "expireTime": _expiry(body, self.mock.clock())}
        cache |= {"displayName": body["displayName"]} if "displayName" in body else {}
        await self.answer(self.keep(cache | {"usageMetadata": {"totalTokenCount": 4096}}))


class _Cache(Collection):
    """One cached content, whose lifetime can be extended."""

    async def patch(self, _version: str, name: str) -> None:
        await self.admit()
        cache, now = self.owned(name).document, self.mock.clock()
        cache |= {"expireTime": _expiry(self.document(), now), "updateTime": stamp(now)}
        await self.answer(cache)


def _expiry(body: Json, now: float) -> str:
    """Return when cached content expires, by the body's ``ttl`` or ``expireTime``."""
    ttl = str(body.get("ttl") or f"{_CACHED}s").removesuffix("s")
    return str(body.get("expireTime") or stamp(now + float(ttl)))


class _TunedModels(Collection):
    """Models that a project has tuned; a test gives it some."""

    kind = "tunedModels"


class _Tokens(Handler):
    """Ephemeral credentials for Live."""

    async def post(self, _version: str) -> None:
        await self.admit()
        self.document(b"{}")
        await self.answer(self.keep({"name": f"auth_tokens/{identifier(64)}"}))


class _SearchStores(Collection):
    """Stores of documents to search in."""

    kind = "fileSearchStores"

    async def post(self, _version: str) -> None:
        await self.admit()
        body, now = self.document(b"{}"), stamp(self.mock.clock())
        store = {"name": f"{self.kind}/{identifier()}", "createTime": now, "updateTime": now}
        await self.answer(self.keep(store | {"displayName": body.get("displayName", "")}))


class _Documents(Collection):
    """The documents in one store."""

    async def get(self, _version: str, name: str = "") -> None:
        store, _, number = name.partition("/documents")
        await self.admit()
        self.owned(store)
        if number:
            return await super().get(_version, name)
        mine = self.mock.store.collection(self.call.key, name)
        return self.page("documents", mine, 10, self.call.key)


class _Import(Handler):
    """A file's import into a store: an operation that is done at the first poll."""

    async def post(self, _version: str, store: str) -> None:
        await self.admit()
        self.owned(store)
        file = self.owned(stores.file_name(self.document().get("fileName")))
        operation = self.mock.store.add_document(self.call.key, store, file, path="")
        await self.answer({"name": operation["name"]})


class _Video(Handler):
    """A video's generation: an operation that is done at the first poll."""

    async def post(self, version: str, model: str) -> None:
        await self.admit(model, "predictLongRunning")
        models.find(model, "predictLongRunning", version)
        self.document()
        video = stores.generated(f"files/{identifier()}", "video/mp4", self.mock.clock())
        self.mock.store.put(self.call.key, video)
        sample = {"video": {"uri": video.document["downloadUri"]}}
        kind = f"type.googleapis.com/{SERVICE}.v1main.PredictLongRunningResponse"
        response = {"@type": kind, "generateVideoResponse": {"generatedSamples": [sample]}}
        name = f"models/{model}/operations/{identifier()}"
        self.keep({"name": name, "done": True, "response": response})
        await self.answer({"name": name})


ROUTES: list[tuple[str, type[Handler]]] = [  # after the version
    ("/cachedContents", _Caches),
    ("/(cachedContents/[^/:]+)", _Cache),
    ("/tunedModels", _TunedModels),
    ("/(tunedModels/[^/:]+)", Collection),
    ("/auth_tokens", _Tokens),
    ("/fileSearchStores", _SearchStores),
    ("/(fileSearchStores/[^/:]+)", Collection),
    (rf"/(fileSearchStores/[^/:]+){COLON}importFile", _Import),
    ("/(fileSearchStores/[^/:]+/documents(?:/[^/:]+)?)", _Documents),
    (rf"/models/([^/:]+){COLON}predictLongRunning", _Video),
    ("/((?:.+/)?operations/[^/:]+)", Collection),
]
