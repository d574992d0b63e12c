"""Methods of the Gemini API: which may be repeated, which spend a quota, which create nothing. Pure."""

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})  # RFC 9110 §9.2.2
# Repeating one of these costs tokens, but creates nothing twice. Any other POST may create something.
_COMPUTES = (
    ":generateContent",
    ":streamGenerateContent",
    ":countTokens",
    ":computeTokens",
    ":countTextTokens",
    ":countMessageTokens",
    ":embedContent",
    ":batchEmbedContents",
    ":embedText",
    ":batchEmbedText",
    ":generateText",
    ":generateMessage",
    ":generateAnswer",
    ":predict",
    ":query",
    "/openai/chat/completions",
    "/openai/completions",
    "/openai/embeddings",
    "/openai/images/generations",
    "/openai/images/edits",
    "/openai/images/variations",
    "/openai/audio/speech",
    "/openai/audio/transcriptions",
    "/openai/audio/translations",
    "/openai/moderations",
    # It may store its response (`store`). If a repeated call stored two, that does no harm.
    "/openai/responses",
)
# Counting tokens has a quota of its own, or none.
_FREE = (":countTokens", ":computeTokens", ":countTextTokens", ":countMessageTokens")


def repeatable(method: str, path: str) -> bool:
    """Whether a request may be sent again when it is unknown whether the upstream processed it."""
    return method in _IDEMPOTENT or (method == "POST" and computes(path))


def spends(method: str, path: str) -> bool:
    """Whether a request counts against a model's request quota."""
    return method == "POST" and not path.endswith(_FREE)


def computes(path: str) -> bool:
    """Whether a call to this path only computes a response and creates no resource."""
    return path.endswith(_COMPUTES)
