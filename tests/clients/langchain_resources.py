"""Resources of one key's project with LangChain; its uploads are those of google-genai 2."""

import io

from langchain_core.messages import HumanMessage  # type: ignore[import-not-found] # a venv of its own
from langchain_google_genai import ChatGoogleGenerativeAI, create_context_cache

from tests.clients.cases import CLIENT_KEY, MODEL, PROMPT, PROXY_URL, run

chat = ChatGoogleGenerativeAI(model=MODEL, google_api_key=CLIENT_KEY, base_url=PROXY_URL, max_retries=1)


def about_a_file() -> HumanMessage:
    upload = {"file": io.BytesIO(b"a" * 1000), "config": {"mime_type": "text/plain"}}
    file = chat.client.files.upload(**upload)
    media = {"type": "media", "file_uri": file.uri, "mime_type": "text/plain"}
    return HumanMessage(content=[media, {"type": "text", "text": PROMPT}])


def files() -> None:
    assert PROMPT in str(chat.invoke([about_a_file()]).content)


def caches() -> None:
    cache = create_context_cache(chat, messages=[about_a_file()], ttl="600s")
    assert PROMPT in str(chat.invoke(PROMPT, cached_content=cache).content)


run(files, caches)
