"""What a request is about: the model it names, and resources that belong to one key's project.

Quotas are kept per model, so benches are too. Files, cached contents, operations and the like can only
be seen with a key of the project that made them, so an answer about them says nothing about the key.
"""

import json
import re
from dataclasses import dataclass
from urllib.parse import unquote

_MODEL_IN_PATH = re.compile(r"/(models|tunedModels)/([^/:?]+)")
_MODEL_IN_BODY = re.compile(rb'"(?:model|agent)"\s*:\s*"([^"\\]{1,256})"')
_PARSED_WHOLE = 1024 * 1024  # bytes; parsing more would hold up the loop for tens of milliseconds
_LONGEST_NAME = 128  # characters: longer than any model's name, and a bound for what is remembered

# Collections whose members belong to the project that made them.
_OWNED = (
    "files|cachedContents|batches|operations|tunedModels|fileSearchStores|corpora|generatedFiles|interactions"
    "|agents|webhooks|triggers|environments|credentials|voices|decisions"
)
_RESOURCE_IN_PATH = re.compile(rf"/(?:{_OWNED})/[^/?]")
_RESOURCE_IN_BODY = re.compile(
    rb'"(?:fileUri|file_uri|cachedContent|cached_content|previous_interaction_id|previousInteractionId|fileName'
    rb'|file_name|fileSearchStoreNames|file_search_store_names)"\s*:\s*[\["]'
)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a request is about: `model` is empty when it names none."""

    model: str
    names_resource: bool

    def __str__(self) -> str:
        return self.model or "no model"


def scope_of(path: str, body: bytes) -> Scope:
    """The scope of a request, from its path (without query) and body."""
    match = _MODEL_IN_PATH.search(path)
    if match:
        name = unquote(match[2])
        model = f"tunedModels/{name}" if match[1] == "tunedModels" else name
    else:
        model = _model_in_body(body)
    owned = _RESOURCE_IN_PATH.search(path) is not None or _RESOURCE_IN_BODY.search(body) is not None
    return Scope(model[:_LONGEST_NAME], owned)


def _model_in_body(body: bytes) -> str:
    if len(body) > _PARSED_WHOLE:
        match = _MODEL_IN_BODY.search(body)
        return match[1].decode(errors="replace").removeprefix("models/") if match else ""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return ""
    model = document.get("model") or document.get("agent")
    return model.removeprefix("models/") if isinstance(model, str) else ""
