"""The states of a request's handler, and the transitions between them. Pure.

    PENDING      no response yet; any is possible
    STREAMING    the response has begun: it can only be completed or cut
    LINGERING    the response is complete; the rest of the request's body is read and dropped
    UPGRADED     the connection is a WebSocket now
    FINISHED     the response was written, or the WebSocket was closed
    LEFT         the client closed the connection before that
    CUT          the proxy closed the connection before that

The request's body may arrive in any of them (`incoming_body`).
"""

from enum import Enum


class HandlerState(Enum):
    """The state of a handler. `over` is whether it is final."""

    over: bool

    PENDING = "pending", False
    STREAMING = "streaming", False
    LINGERING = "lingering", False
    UPGRADED = "upgraded", False
    FINISHED = "finished", True
    LEFT = "left", True
    CUT = "cut", True

    def __init__(self, word: str, over: bool) -> None:
        self.word = word
        self.over = over

    __hash__ = object.__hash__  # Enum's own is a Python function, called several times a request


_S = HandlerState
_ENDS = frozenset({_S.FINISHED, _S.LEFT, _S.CUT})

TRANSITIONS: dict[HandlerState, frozenset[HandlerState]] = {
    _S.PENDING: frozenset({_S.STREAMING, _S.LINGERING, _S.UPGRADED}) | _ENDS,
    _S.STREAMING: frozenset({_S.LINGERING}) | _ENDS,
    _S.LINGERING: _ENDS,
    _S.UPGRADED: frozenset({_S.FINISHED, _S.LEFT}),  # a WebSocket is closed with a code, never cut
    _S.FINISHED: frozenset(),
    _S.LEFT: frozenset(),
    _S.CUT: frozenset(),
}
"""The states that may follow each state."""


class TransitionError(RuntimeError):
    """A handler was about to enter a state that can't follow its present one: a bug."""


def advance(current: HandlerState, following: HandlerState) -> HandlerState:
    """Return `following`; raise TransitionError if it may not follow `current`."""
    if following not in TRANSITIONS[current]:
        raise TransitionError(f"A handler that is {current.word} can't become {following.word}.")
    return following
