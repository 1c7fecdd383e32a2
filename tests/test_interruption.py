"""SIGINT and SIGTERM cancel a command's work and become its exit code."""

from __future__ import annotations

import signal

import pytest
import trio

from trio_bunws._cli.interruption import until_interrupted


async def test_without_a_signal_it_is_the_exit_code_of_the_work() -> None:
    async def work() -> int:
        await trio.lowlevel.checkpoint()
        return 7

    assert await until_interrupted(work) == 7


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_cancels_the_work(number: signal.Signals, code: int) -> None:
    cancelled: list[bool] = []

    async def work() -> int:
        signal.raise_signal(number)
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(True)

    assert await until_interrupted(work) == code
    assert cancelled == [True]


async def test_an_exception_of_the_work_comes_out_as_it_is() -> None:
    async def work() -> int:
        await trio.lowlevel.checkpoint()
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await until_interrupted(work)
