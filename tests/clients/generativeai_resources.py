"""Resources of one key's project with Google's legacy SDK, over REST."""

import google.generativeai as genai
import httpx2
from google.generativeai import caching

from tests.clients.cases import CLIENT_KEY, MODEL, PROMPT, PROXY_URL, run

genai.configure(api_key=CLIENT_KEY, transport="rest", client_options={"api_endpoint": PROXY_URL})


def uploaded() -> str:
    """The name of a file. This SDK always uploads to Google's own host, so another client does it."""
    started = httpx2.post(
        f"{PROXY_URL}/upload/v1beta/files",
        headers={
            "x-goog-api-key": CLIENT_KEY,
            "x-goog-upload-protocol": "resumable",
            "x-goog-upload-command": "start",
            "x-goog-upload-header-content-type": "text/plain",
        },
    )
    answer = httpx2.post(
        started.headers["x-goog-upload-url"],
        headers={"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "0"},
        content=b"a" * 1000,
    )
    return str(answer.json()["file"]["name"])


def files() -> None:
    file = genai.get_file(uploaded())
    assert file.size_bytes == 1000
    assert PROMPT in genai.GenerativeModel(MODEL).generate_content([file, PROMPT]).text
    assert file.name in [each.name for each in genai.list_files(page_size=2)]
    genai.delete_file(file)
    assert file.name not in [each.name for each in genai.list_files()]


def caches() -> None:
    cache = caching.CachedContent.create(MODEL, contents=[PROMPT])
    assert caching.CachedContent.get(cache.name).name == cache.name
    assert PROMPT in genai.GenerativeModel.from_cached_content(cache).generate_content(PROMPT).text
    assert cache.name in [each.name for each in caching.CachedContent.list(page_size=2)]
    cache.delete()


run(files, caches)
