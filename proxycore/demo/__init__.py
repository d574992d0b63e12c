"""A stand-in for the Gemini API: a real server that official SDKs cannot tell from Google in what it covers.

That is models, generation (unary, SSE, JSON array), token counts, embeddings, the OpenAI surface, Live, and
all that a project can own: files, cached content, batches, operations, interactions, stores to search in.
It lets anyone without a key see the proxy work (``--demo``), and is the upstream of the tests. `standin` is
the server; `handler` has the rules about credentials, `asked` is a request as the rules about keys see it,
`health` the states of keys, `keys` those of ``--demo``, `refusal` an error, with `denials`, `quotas`, `tiers`
and `trouble` the errors by subject; `model` has the answers, `store` the resources, and each of the others
one family of requests.
"""

from proxycore.demo.asked import Asked
from proxycore.demo.handler import Call
from proxycore.demo.health import Health
from proxycore.demo.keys import demo_keys
from proxycore.demo.quotas import Wording
from proxycore.demo.refusal import Refusal
from proxycore.demo.standin import StandIn
from proxycore.demo.trouble import Gateway

__all__ = ["Asked", "Call", "Gateway", "Health", "Refusal", "StandIn", "Wording", "demo_keys"]
