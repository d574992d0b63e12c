"""A handler's life: which state may follow which."""

import itertools

import pytest

from proxycore.http.handler_state import TRANSITIONS, HandlerState, TransitionError, advance


def test_every_state_has_its_row_and_only_the_ends_have_nothing_after_them() -> None:
    assert set(TRANSITIONS) == set(HandlerState)
    assert {state for state, following in TRANSITIONS.items() if not following} == {
        state for state in HandlerState if state.over
    }


@pytest.mark.parametrize(("current", "following"), list(itertools.product(HandlerState, repeat=2)))
def test_only_what_the_table_allows_follows(current: HandlerState, following: HandlerState) -> None:
    if following in TRANSITIONS[current]:
        assert advance(current, following) is following
    else:
        with pytest.raises(TransitionError, match=f"is {current.word} can't become {following.word}"):
            advance(current, following)


def test_a_response_that_began_never_becomes_another_kind_of_response() -> None:
    begun = {HandlerState.STREAMING, HandlerState.LINGERING, HandlerState.UPGRADED}
    assert all(HandlerState.PENDING not in TRANSITIONS[state] for state in HandlerState)
    assert all(HandlerState.UPGRADED not in TRANSITIONS[state] for state in begun)
    assert all(HandlerState.STREAMING not in TRANSITIONS[state] for state in begun)
