"""LangChain's client for Gemini."""

from langchain_google_genai import ChatGoogleGenerativeAI, GoogleGenerativeAIEmbeddings

from tests.clients.cases import CLIENT_KEY, EMBEDDER, MODEL, PROMPT, PROXY_URL, run


def client(name: str) -> ChatGoogleGenerativeAI:
    # Its own further attempts would hide what the proxy leaves to do.
    return ChatGoogleGenerativeAI(model=name, google_api_key=CLIENT_KEY, base_url=PROXY_URL, max_retries=1)


chat = client(MODEL)
embedder = GoogleGenerativeAIEmbeddings(model=EMBEDDER, google_api_key=CLIENT_KEY, base_url=PROXY_URL)


def invoke() -> None:
    answer = chat.invoke(PROMPT)
    assert PROMPT in str(answer.content)
    assert answer.usage_metadata
    assert answer.usage_metadata["total_tokens"]


def stream() -> None:
    pieces = [str(piece.content) for piece in chat.stream(PROMPT)]
    assert len(pieces) > 1
    assert PROMPT in "".join(pieces)


def embed() -> None:
    assert len(embedder.embed_query("a")) == 3072
    assert len(embedder.embed_documents(["a", "b"])) == 2


def unknown_model() -> None:
    try:
        client("gemini-unheard-of").invoke(PROMPT)
    except Exception as problem:  # noqa: BLE001 - the class has changed between releases
        assert "NOT_FOUND" in str(problem)  # noqa: PT017 - pytest is not in this venv
    else:
        raise AssertionError("it was answered")


run(invoke, stream, embed, unknown_model)
