"""A mock of the Gemini API: a real server that official SDKs cannot tell from Google in what it covers.

It lets anyone without a key see the proxy work (``--demo``), and is the upstream of the tests. It covers
models, generation (unary, SSE, JSON array), token counts, embeddings, the OpenAI surface, Live, and all that
a project can own: files, cached content, batches, operations, interactions, file search stores. `mock_server`
is the server, `state` what its handlers share, and `handler` what all of them do. `asked` is a request as the
rules about keys see it, `health` has the states of keys, and `keys` those of ``--demo``. `refusal` is an
error; `denials`, `quotas`, `tiers` and `server_errors` have the errors by subject. `model` has the answers,
`store` the resources, `content` what is uploaded, and each of the others one family of requests.
"""

from proxycore.demo.asked import Asked
from proxycore.demo.health import Health
from proxycore.demo.keys import demo_keys
from proxycore.demo.mock_server import MockServer
from proxycore.demo.quotas import Wording
from proxycore.demo.refusal import Refusal
from proxycore.demo.server_errors import Gateway
from proxycore.demo.state import Call

__all__ = ["Asked", "Call", "Gateway", "Health", "MockServer", "Refusal", "Wording", "demo_keys"]
