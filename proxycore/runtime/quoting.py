"""Values of variables as people write them: with quotes, with a comment, several in one."""

import re

# python-dotenv removes comments from unquoted values in `.env`; `docker run --env-file` passes them on.
_COMMENT = re.compile(r"\s+#.*")
_COMMENT_IN_LIST = re.compile(r"(?m)(?:^|\s)#.*$")
_BETWEEN = re.compile(r"[\s,;]+")


def unquoted(value: str) -> str:
    """The value without white space around it, and without one pair of matching quotes."""
    value = value.strip()
    quote = value[:1]
    if len(value) > 1 and quote in "'\"" and value[-1] == quote and quote not in value[1:-1]:
        return value[1:-1].strip()
    return value


def without_comment(value: str) -> str:
    """The value without quotes and without a comment after it; a `#` inside quotes is no comment."""
    plain = unquoted(value)
    return plain if plain != value.strip() else unquoted(_COMMENT.sub("", value))


def has_comment(value: str) -> bool:
    """Whether a list of keys has a comment in one of its lines."""
    return _COMMENT_IN_LIST.search(value) is not None


def has_lone_quote(value: str) -> bool:
    """Whether a value without its matching quotes still begins or ends with a quotation mark."""
    return bool({value[:1], value[-1:]} & {"'", '"'})


def listed(value: str) -> list[str]:
    """The items of a list: separated by commas, semicolons or white space, or as JSON and Python write it."""
    text = _COMMENT_IN_LIST.sub("", value).strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return [word for part in _BETWEEN.split(text) if (word := unquoted(part))]
