"""Events and the table of listeners alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from trio_bunws import CloseEvent, ErrorEvent, MessageEvent, OpenEvent, WebSocket
from trio_bunws._client_events import EVENT_TYPES, Listeners

if TYPE_CHECKING:
    from trio_bunws._client_events import ClientEvent

WS = WebSocket("ws://h/")


def plain(event: object) -> None: ...


async def waiting(event: object) -> None: ...


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (OpenEvent(WS), "open"),
        (MessageEvent(WS, "x"), "message"),
        (MessageEvent(WS, b"x", "ping"), "ping"),
        (CloseEvent(WS, 1000, "bye", was_clean=True), "close"),
        (ErrorEvent(WS, OSError("gone")), "error"),
    ],
)
def test_an_event_knows_its_type_and_its_socket_and_cannot_be_changed(event: ClientEvent, name: str) -> None:
    assert (event.type, event.target) == (name, WS)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.type = "other"  # type: ignore[misc, assignment]


def test_events_carry_what_bun_s_do() -> None:
    message = MessageEvent(WS, "hello", type="message")
    assert (message.type, message.target, message.data) == ("message", WS, "hello")
    close = CloseEvent(WS, 1000, "bye", was_clean=True)
    assert (close.type, close.target, close.code, close.reason, close.was_clean) == ("close", WS, 1000, "bye", True)
    failure = OSError("gone")
    error = ErrorEvent(WS, failure)
    assert (error.type, error.target, error.error, error.message) == ("error", WS, failure, "gone")


def test_the_message_of_an_error_is_never_empty() -> None:
    assert ErrorEvent(WS, OSError("gone")).message == "gone"
    assert ErrorEvent(WS, OSError()).message == "OSError"


def test_listeners_are_kept_in_order_and_once() -> None:
    listeners = Listeners()
    assert not listeners.has("open")
    for listener in (plain, waiting, plain):
        listeners.add("open", listener)
    assert listeners.of("open") == (plain, waiting)
    assert listeners.has("open")
    assert listeners.of("close") == ()
    listeners.remove("open", plain)
    listeners.remove("open", plain)
    assert listeners.of("open") == (waiting,)


def test_one_async_listener_is_enough_to_need_a_task() -> None:
    listeners = Listeners()
    listeners.add("message", plain)
    assert not listeners.any_async("message")
    listeners.add("message", waiting)
    assert listeners.any_async("message")
    assert not listeners.any_async("open")


@pytest.mark.parametrize("name", ["drain", "", "onopen", None, 7])
def test_an_unknown_event_is_named_with_those_that_there_are(name: str) -> None:
    listeners = Listeners()
    with pytest.raises(ValueError, match=r"add_event_listener expects .* 'open', .*'pong', not"):
        listeners.add(name, plain)
    with pytest.raises(ValueError, match="remove_event_listener expects"):
        listeners.remove(name, plain)


def test_a_listener_is_callable() -> None:
    with pytest.raises(TypeError, match="listener to be callable, not 'plain'"):
        Listeners().add("open", "plain")


def test_the_events_are_bun_s() -> None:
    assert EVENT_TYPES == ("open", "message", "close", "error", "ping", "pong")
