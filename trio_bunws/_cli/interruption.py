"""SIGINT and SIGTERM as the end of what a command does, by cancelling it, and not as an exception anywhere in it.

`connect` and `bench` run inside this; `serve` ends in steps of its own.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._cli.arguments import BY_SIGNAL
from trio_bunws._cli.racing import until_first_ends

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ENDING: Final = (signal.SIGINT, signal.SIGTERM)


async def until_interrupted(work: Callable[[], Awaitable[int]]) -> int:
    """Run it, and return its exit code, or 128 and the number of the signal by which it was cancelled."""
    code = 0

    async def run() -> None:
        nonlocal code
        code = await work()

    with trio.open_signal_receiver(*ENDING) as signals:

        async def wait() -> None:
            nonlocal code
            code = BY_SIGNAL + await anext(signals)

        await until_first_ends(run, wait)
    return code
