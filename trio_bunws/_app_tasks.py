"""The tasks that an application starts on a socket, `ws.start_soon` and `ws.start`: what becomes of their exceptions.

They run in the connection's `TaskGroup`, which cancels them when the connection ends; nothing is started here.
`_server_connection.py` is the only caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from trio_bunws._app_calls import without_failures

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import trio

    from trio_bunws._dispatch import Dispatcher

    AsyncFn = Callable[..., Awaitable[object]]


async def run_task(dispatcher: Dispatcher[Any], async_fn: AsyncFn, args: tuple[object, ...]) -> None:
    """Run `async_fn(*args)`; its exception goes to the `error` handler."""
    try:
        await async_fn(*args)
    except Exception as exc:  # noqa: BLE001  # the application's own, and told to its handler
        await dispatcher.report(exc)
    except BaseExceptionGroup as group:
        raise without_failures(group) from None


async def run_started_task(
    dispatcher: Dispatcher[Any], async_fn: AsyncFn, args: tuple[object, ...], task_status: trio.TaskStatus[object]
) -> None:
    """As `run_task`, with a `task_status`; before that was told of the start, an exception is raised to who waits."""
    status = Started(task_status)
    try:
        await async_fn(*args, task_status=status)
    except Exception as exc:
        if not status.is_started:
            raise
        await dispatcher.report(exc)
    except BaseExceptionGroup as group:
        raise without_failures(group) from None


class Started:
    """A task status that remembers whether it was told."""

    def __init__(self, task_status: trio.TaskStatus[object]) -> None:
        self._task_status: Final = task_status
        self.is_started = False

    def started(self, value: object = None) -> None:
        """Pass it on."""
        self.is_started = True
        self._task_status.started(value)
