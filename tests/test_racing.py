"""Tasks of which the first to end ends the others."""

from __future__ import annotations

import pytest
import trio

from trio_bunws._cli.racing import until_first_ends


async def test_the_first_that_ends_cancels_the_others() -> None:
    ended: list[str] = []

    async def quick() -> None:
        await trio.lowlevel.checkpoint()
        ended.append("quick")

    async def slow() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("slow")

    await until_first_ends(slow, quick, slow)
    assert ended == ["quick", "slow", "slow"]


async def test_an_exception_comes_out_in_no_group() -> None:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("why")

    async def fail_later() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("because of that")

    with pytest.raises(KeyError, match="why"):
        await until_first_ends(fail_later, fail)


async def test_a_cancellation_from_outside_is_not_swallowed() -> None:
    with trio.move_on_after(0) as scope:
        await until_first_ends(trio.sleep_forever)
    assert scope.cancelled_caught
