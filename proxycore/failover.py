"""How far one request may go: which answers lead to another attempt, and how many. Pure."""

from dataclasses import dataclass, field

from proxycore.key import Key
from proxycore.verdict import Then, Verdict

FEW = 3
"""Attempts in all that Google's trouble, or a refusal that may be our address's, can cost a request."""

# Methods that may be sent twice (RFC 9110 §9.2.2), and the calls that only compute an answer: to repeat
# one costs tokens, but makes nothing twice. Any other POST may create something.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
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
    # Its answer may be stored (`store`), and that of a call that failed on the way then is twice: no harm.
    "/openai/responses",
)
# They have quotas of their own, or none.
_FREE = (":countTokens", ":computeTokens", ":countTextTokens", ":countMessageTokens")


def repeatable(method: str, path: str) -> bool:
    """Whether a request may be sent again when it is not known what became of it."""
    return method in _IDEMPOTENT or (method == "POST" and computes(path))


def spends(method: str, path: str) -> bool:
    """Whether a request asks a model for something, and so spends its quota of requests."""
    return method == "POST" and not path.endswith(_FREE)


def computes(path: str) -> bool:
    """Whether a path is that of a call that computes an answer and makes nothing."""
    return path.endswith(_COMPUTES)


@dataclass(slots=True)
class Failover:
    """The attempts of one request. `max_attempts` 0 sets no limit beyond those of the verdicts."""

    max_attempts: int
    repeatable: bool
    attempts: int = 0
    troubles: int = 0
    refusals: int = 0
    used: set[Key] = field(default_factory=set)
    strangers: set[Key] = field(default_factory=set)

    @property
    def spent(self) -> bool:
        """Whether the request has had all the attempts that it may cost."""
        return 0 < self.max_attempts <= self.attempts

    def note(self, key: Key, verdict: Verdict, *, sent: bool = True, outage: bool = False) -> bool:
        """Counts an attempt and returns whether another may follow.

        `sent` is False when nothing of the request reached the upstream, `outage` is whether the upstream is
        known to be in trouble.
        """
        self.attempts += 1
        self.used.add(key)
        match verdict.then:
            case Then.RELAY:
                return False
            case Then.RETRY:
                self.troubles += 1
                wanted = self.troubles < FEW and not outage and (self.repeatable or not sent)
            case Then.ADDRESS:
                self.refusals += 1
                wanted = self.refusals < FEW
            case Then.OWNER:
                self.strangers.add(key)
                wanted = True
            case Then.FAILOVER:
                wanted = True
        return wanted and not self.spent
