"""A `SendStatus` is the number it is in Bun, and one of three classes that a match goes through completely.

Read by type checkers only, through tests/test_typing.py; nothing here is run.
"""

from __future__ import annotations

from typing import assert_never, assert_type

from trio_bunws import (
    MessageBackpressured,
    MessageDropped,
    MessageSent,
    ReadyState,
    SendStatus,
    Server,
    ServerWebSocket,
)


def in_words(status: SendStatus) -> str:
    match status:
        case MessageSent(size):
            assert_type(size, int)
            return f"{size} bytes"
        case MessageBackpressured():
            assert_type(status, MessageBackpressured)
            return "queued"
        case MessageDropped():
            return "dropped"
        case _:
            assert_never(status)


def by_class(status: SendStatus) -> int:
    if isinstance(status, MessageSent):
        assert_type(status, MessageSent)
        return status.bytes_sent
    if isinstance(status, MessageBackpressured):
        return 0
    assert_type(status, MessageDropped)
    return status


def as_in_bun(ws: ServerWebSocket[None], server: Server[None]) -> bool:
    status = ws.send("hello")
    assert_type(status, SendStatus)
    if status == -1:
        return False
    if status == 0:
        return False
    total: int = status + server.publish("room", "hello")
    return total > 1 and status > 0


def state(ws: ServerWebSocket[None]) -> str:
    ready_state = ws.ready_state
    match ready_state:
        case ReadyState.CONNECTING | ReadyState.OPEN:
            return "begins"
        case ReadyState.CLOSING | ReadyState.CLOSED as ending:
            return ending.name
        case _:
            assert_never(ready_state)
