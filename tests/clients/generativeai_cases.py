"""Google's legacy SDK for Python, over REST, in its own process because of its deprecation warnings."""

import google.generativeai as genai
import pytest
from google.api_core.exceptions import NotFound

from tests.clients.cases import CLIENT_KEY, EMBEDDER, MODEL, PROMPT, PROXY_URL, run

genai.configure(api_key=CLIENT_KEY, transport="rest", client_options={"api_endpoint": PROXY_URL})
model = genai.GenerativeModel(MODEL)


def generate() -> None:
    assert PROMPT in model.generate_content(PROMPT).text


def stream() -> None:
    pieces = [piece.text for piece in model.generate_content(PROMPT, stream=True)]
    assert len(pieces) > 1
    assert PROMPT in "".join(pieces)


def chat() -> None:
    talk = model.start_chat()
    assert PROMPT in talk.send_message(PROMPT).text
    assert "And then?" in talk.send_message("And then?").text


def count() -> None:
    assert model.count_tokens(PROMPT).total_tokens > 0


def embed() -> None:
    one = genai.embed_content(f"models/{EMBEDDER}", "a")["embedding"]
    two = genai.embed_content(f"models/{EMBEDDER}", ["a", "b"])["embedding"]
    assert (len(one), len(two)) == (3072, 2)


def models() -> None:
    assert f"models/{MODEL}" in [each.name for each in genai.list_models(page_size=2)]
    assert genai.get_model(f"models/{MODEL}").name == f"models/{MODEL}"


def unknown_model() -> None:
    with pytest.raises(NotFound):
        genai.GenerativeModel("gemini-unheard-of").generate_content(PROMPT)


run(generate, stream, chat, count, embed, models, unknown_model)
