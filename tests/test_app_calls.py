"""What comes of calling the application: awaitables that nobody awaits, and failures beside an interrupt.

Covers `trio_bunws._app_calls` alone; that it is asked is for the tests of those who call the application.
"""

from __future__ import annotations

import inspect

import pytest
import trio

from trio_bunws._app_calls import interruptible, interruptibly, refuse_awaitable, without_failures


async def coroutine() -> None: ...


class Later:
    """An awaitable that needs no closing."""

    def __await__(self) -> None: ...


@pytest.mark.parametrize("result", [None, 0, "text", coroutine])
def test_what_is_no_awaitable_passes(result: object) -> None:
    refuse_awaitable(result)


def test_a_coroutine_is_refused_and_closed() -> None:
    result = coroutine()
    with pytest.raises(TypeError, match=r"returned an awaitable \(coroutine\): define it with async def"):
        refuse_awaitable(result)
    assert inspect.getcoroutinestate(result) == inspect.CORO_CLOSED


def test_another_awaitable_is_refused() -> None:
    with pytest.raises(TypeError, match=r"\(Later\)"):
        refuse_awaitable(Later())


def test_failures_beside_an_interrupt_are_logged_and_the_interrupt_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    group = BaseExceptionGroup("both", [ValueError("lost"), BaseExceptionGroup("inner", [KeyboardInterrupt()])])
    rest = without_failures(group)
    assert isinstance(rest, BaseExceptionGroup)
    assert rest.split(KeyboardInterrupt)[1] is None
    [record] = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ExceptionGroup)


def test_interrupts_alone_go_on_unlogged(caplog: pytest.LogCaptureFixture) -> None:
    assert without_failures(BaseExceptionGroup("all", [KeyboardInterrupt(), SystemExit()])) is not None
    assert not caplog.records


async def test_ctrl_c_is_raised_in_what_the_application_has_written_and_not_around_it() -> None:
    protected = trio.lowlevel.currently_ki_protected

    async def later() -> bool:
        await trio.lowlevel.checkpoint()
        return protected()

    @trio.lowlevel.enable_ki_protection
    async def task() -> list[bool]:
        return [protected(), interruptible(protected), await interruptibly(later), protected()]

    assert await task() == [True, False, False, True]
