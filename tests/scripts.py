"""Sequences of calls for the tests that compare any of them with a model; only a strategy lives here."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st

Step = TypeVar("Step")


def scripts(steps: st.SearchStrategy[Step], most: int) -> st.SearchStrategy[list[Step]]:
    """Draw lists of steps, half of them long ones.

    By itself `lists` draws five elements on average, whatever the greatest size: too few where something has to be
    subscribed, congested and corked before it can go wrong. The short ones are there to shrink to.
    """
    return st.lists(steps, max_size=most) | st.lists(steps, min_size=most // 2, max_size=most)
