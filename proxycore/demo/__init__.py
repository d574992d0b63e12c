"""A stand-in for the Gemini API: a real server that official SDKs cannot tell from Google in what it covers.

That is models, generation (unary, SSE, JSON array), token counts, embeddings, the OpenAI surface, Live, and
all that a project can own: files, cached content, batches, operations, interactions, stores to search in.
It lets anyone without a key see the proxy work (``--demo``), and is the upstream of the tests. `standin` is
the server; `handler` has the rules about credentials, `health` the keys, `refusal` the errors, `model` the
answers, `store` the resources, and each of the others one family of requests.
"""

from proxycore.demo.handler import Call
from proxycore.demo.health import Health, demo_keys
from proxycore.demo.refusal import Refusal
from proxycore.demo.standin import StandIn

__all__ = ["Call", "Health", "Refusal", "StandIn", "demo_keys"]
