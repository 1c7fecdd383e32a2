"""`cancelling.py` alone: every step is cancelled once, and a story that breaks or hangs is told with its step."""

from __future__ import annotations

import pytest
import trio
from cancelling import Steps, cancel_at_every_step


def test_every_step_is_cancelled_once() -> None:
    done: list[int] = []

    async def story(steps: Steps) -> None:
        count = 0
        with steps.begin():
            for _ in range(5):
                await trio.lowlevel.checkpoint()
                count += 1
        done.append(count)

    assert cancel_at_every_step(story) == len(done) - 1
    assert done == sorted(done)
    assert set(done) == set(range(6))


def test_a_failure_names_its_step() -> None:
    async def story(steps: Steps) -> None:
        with steps.begin():
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
        assert not steps.scope.cancelled_caught

    with pytest.raises(AssertionError) as caught:
        cancel_at_every_step(story)
    assert caught.value.__notes__ == ["cancelled after 0 steps"]


def test_a_story_that_hangs_is_given_up() -> None:
    async def story(steps: Steps) -> None:
        with steps.begin():
            await trio.lowlevel.checkpoint()
        await trio.sleep_forever()

    with pytest.raises(trio.TooSlowError):
        cancel_at_every_step(story)
