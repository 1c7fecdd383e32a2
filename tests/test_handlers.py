"""The handler class: everything documented is accepted, everything else is refused by name, types are inferred.

Covers `trio_bunws._handlers` alone; nothing here calls a handler.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, assert_type

import attrs
import pytest

from trio_bunws._handlers import UNSET, HandlerSlot, WebSocketHandler, check_handlers, is_async_callable
from trio_bunws._options import PerMessageDeflate

if TYPE_CHECKING:
    from trio_bunws._websocket import ServerWebSocket

    Socket = ServerWebSocket[dict[str, str]]

Options = dict[str, Any]

HANDLERS = ["open", "message", "text", "binary", "drain", "close", "ping", "pong", "error"]
DEFAULTS = {
    "max_payload_length": 16 * 1024 * 1024,
    "backpressure_limit": 16 * 1024 * 1024,
    "close_on_backpressure_limit": False,
    "idle_timeout": 120,
    "publish_to_self": False,
    "send_pings": True,
    "per_message_deflate": False,
    "max_inbox": 16,
}


def plain(*args: object) -> None:
    """Be a handler of any kind."""


async def coroutine(*args: object) -> None:
    """Be an async handler of any kind."""


class CallsPlainly:
    """Its instances are plain callables."""

    def __call__(self, *args: object) -> None:
        """Be called."""

    async def method(self, *args: object) -> None:
        """Be an async method."""


class CallsAsync:
    """Its instances are async callables; the class itself is not."""

    async def __call__(self, *args: object) -> None:
        """Be called."""


def opened(_ws: Socket) -> None:
    """Be an `open` handler for sockets with a dict."""


async def message(_ws: Socket, _message: str | bytes) -> None:
    """Be a `message` handler for sockets with a dict."""


def binary(_ws: Socket, _message: bytes) -> None:
    """Be a `binary` handler for sockets with a dict."""


def number(_ws: ServerWebSocket[int]) -> None:
    """Be an `open` handler for sockets with an int."""


@pytest.mark.parametrize(
    "function",
    [coroutine, partial(coroutine, 1), partial(partial(coroutine, 1), 2), CallsAsync(), partial(CallsAsync(), 1)],
)
def test_an_async_callable_is_known_through_partial_and_call(function: object) -> None:
    assert is_async_callable(function)


def test_an_async_method_is_async() -> None:
    assert is_async_callable(CallsPlainly().method)


@pytest.mark.parametrize("function", [plain, partial(plain, 1), CallsPlainly(), CallsAsync, print, None])
def test_a_plain_callable_is_not_async(function: object) -> None:
    assert not is_async_callable(function)


def test_everything_is_optional_and_has_its_documented_default() -> None:
    handler = WebSocketHandler()
    assert all(getattr(handler, name) is None for name in [*HANDLERS, "session"])
    assert {name: getattr(handler, name) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("name", HANDLERS)
@pytest.mark.parametrize("function", [plain, coroutine, partial(plain, 1), CallsAsync()])
def test_a_handler_is_any_callable(name: str, function: object) -> None:
    options: Options = {name: function}
    assert getattr(WebSocketHandler(**options), name) is function


@pytest.mark.parametrize("name", HANDLERS)
@pytest.mark.parametrize("value", [7, "open", False, object()])
def test_a_handler_that_cannot_be_called_is_refused(name: str, value: object) -> None:
    options: Options = {name: value}
    with pytest.raises(TypeError) as raised:
        WebSocketHandler(**options)
    assert str(raised.value) == f"WebSocketHandler expects a function for {name}, not {value!r}"


@pytest.mark.parametrize("value", [plain, 7, CallsAsync, "session"])
def test_a_session_must_be_async(value: object) -> None:
    options: Options = {"session": value}
    with pytest.raises(TypeError, match="expects an async function for session, not"):
        WebSocketHandler(**options)


@pytest.mark.parametrize("name", ["message", "text", "binary"])
def test_a_session_excludes_the_handlers_of_messages(name: str) -> None:
    options: Options = {name: plain}
    with pytest.raises(TypeError, match=f"expects session or {name}, not both"):
        WebSocketHandler(session=coroutine, **options)
    with pytest.raises(TypeError, match=f"expects session or {name}, not both"):
        WebSocketHandler(**options).on_session(coroutine)


def test_a_session_goes_with_the_other_handlers() -> None:
    options: Options = dict.fromkeys(["open", "drain", "close", "ping", "pong", "error"], plain)
    assert WebSocketHandler(session=coroutine, **options).session is coroutine


@pytest.mark.parametrize("arguments", [{"opened": plain}, {"idleTimeout": 1}])
def test_an_unknown_name_is_refused(arguments: Options) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        WebSocketHandler(**arguments)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_payload_length", 1),
        ("backpressure_limit", 0),
        ("close_on_backpressure_limit", True),
        ("idle_timeout", 0),
        ("idle_timeout", 0.25),
        ("idle_timeout", 960),
        ("publish_to_self", True),
        ("send_pings", False),
        ("per_message_deflate", True),
        ("per_message_deflate", PerMessageDeflate(compress="dedicated")),
        ("max_inbox", 1),
    ],
)
def test_an_option_is_taken_by_name_and_by_its_with_method(name: str, value: object) -> None:
    options: Options = {name: value}
    handler = WebSocketHandler(**options)
    assert getattr(handler, name) == value
    assert getattr(WebSocketHandler(), f"with_{name}")(value) == handler


@pytest.mark.parametrize(
    ("name", "value", "error", "allowed"),
    [
        ("max_payload_length", 0, ValueError, "an integer of at least 1"),
        ("max_payload_length", 1.0, TypeError, "an integer of at least 1"),
        ("max_payload_length", True, TypeError, "an integer of at least 1"),
        ("backpressure_limit", -1, ValueError, "an integer of at least 0"),
        ("backpressure_limit", None, TypeError, "an integer of at least 0"),
        ("close_on_backpressure_limit", 1, TypeError, "a boolean"),
        ("idle_timeout", -1, ValueError, "0 (off) or a number of seconds above 0 and at most 960"),
        ("idle_timeout", 961, ValueError, "0 (off) or a number of seconds above 0 and at most 960"),
        ("idle_timeout", math.nan, ValueError, "0 (off) or a number of seconds above 0 and at most 960"),
        ("idle_timeout", False, TypeError, "0 (off) or a number of seconds above 0 and at most 960"),
        ("idle_timeout", "120", TypeError, "0 (off) or a number of seconds above 0 and at most 960"),
        ("publish_to_self", None, TypeError, "a boolean"),
        ("send_pings", 0, TypeError, "a boolean"),
        ("per_message_deflate", 7, TypeError, "a boolean or a PerMessageDeflate"),
        ("per_message_deflate", "shared", TypeError, "a boolean or a PerMessageDeflate"),
        ("max_inbox", 0, ValueError, "an integer of at least 1"),
        ("max_inbox", math.inf, TypeError, "an integer of at least 1"),
    ],
)
def test_an_option_out_of_range_is_refused_with_what_is_allowed(
    name: str, value: object, error: type[Exception], allowed: str
) -> None:
    options: Options = {name: value}
    words = f"WebSocketHandler expects {name} to be {allowed}, not {value!r}"
    for make in (lambda: WebSocketHandler(**options), lambda: getattr(WebSocketHandler(), f"with_{name}")(value)):
        with pytest.raises(error) as raised:
            make()
        assert str(raised.value) == words


@pytest.mark.parametrize("name", [*HANDLERS, "session"])
def test_each_handler_has_an_on_method_that_returns_a_new_handler(name: str) -> None:
    options: Options = {name: coroutine}
    bare = WebSocketHandler()
    changed = getattr(bare, f"on_{name}")(coroutine)
    assert changed == WebSocketHandler(**options)
    assert getattr(bare, name) is None


def test_on_bytes_is_another_name_for_on_binary() -> None:
    assert WebSocketHandler().on_bytes(binary).binary is binary


def test_the_fluent_form_keeps_what_was_set_before() -> None:
    handler = WebSocketHandler().on_open(opened).on_binary(binary).with_idle_timeout(60)
    assert handler == WebSocketHandler(open=opened, binary=binary, idle_timeout=60)
    assert hash(handler) == hash(WebSocketHandler(open=opened, binary=binary, idle_timeout=60))


def test_a_handler_cannot_be_changed() -> None:
    handler = WebSocketHandler(open=opened)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        handler.open = opened  # type: ignore[misc]  # what is tested


def test_the_type_of_the_data_is_inferred_from_the_handlers() -> None:
    # `assert_type` is a fact for mypy and pyright, which check this file.
    assert_type(WebSocketHandler(), WebSocketHandler[None])
    assert_type(WebSocketHandler(open=opened, message=message), WebSocketHandler[dict[str, str]])
    assert_type(WebSocketHandler().on_open(opened).on_bytes(binary), WebSocketHandler[dict[str, str]])
    assert_type(WebSocketHandler().with_max_inbox(3).on_message(message), WebSocketHandler[dict[str, str]])
    # Handlers that disagree about the data are a type error: --strict reports an ignore that hides nothing.
    WebSocketHandler(message=message).on_open(number)  # type: ignore[arg-type]  # what is tested


def test_message_stands_in_for_text_and_binary() -> None:
    calls = WebSocketHandler(message=plain)._calls
    assert (calls.text, calls.binary) == (plain, plain)


def test_text_and_binary_are_used_instead_of_message() -> None:
    calls = WebSocketHandler(message=plain, text=print, binary=coroutine)._calls
    assert (calls.text, calls.text_async) == (print, False)
    assert (calls.binary, calls.binary_async) == (coroutine, True)


def test_the_resolved_table_holds_every_handler_and_whether_it_is_async() -> None:
    functions: Options = dict.fromkeys(["open", "drain", "close", "ping", "pong", "error"], coroutine)
    waiting = WebSocketHandler(session=coroutine, **functions)._calls
    for name in functions:
        assert getattr(waiting, name) is coroutine
        assert getattr(waiting, f"{name}_async") is True
    assert waiting.session is coroutine
    empty = WebSocketHandler()._calls
    for name in [*functions, "text", "binary"]:
        assert getattr(empty, name) is None
        assert getattr(empty, f"{name}_async") is False


def test_a_slot_swaps_handler_and_table_together() -> None:
    first, second = WebSocketHandler(open=plain), WebSocketHandler(open=print)
    slot = HandlerSlot(first)
    assert (slot.handler, slot.calls) == (first, first._calls)
    slot.swap(second)
    assert (slot.handler, slot.calls) == (second, second._calls)
    assert slot.calls.open is print


@pytest.mark.parametrize(
    ("fetch", "websocket", "error"),
    [(plain, WebSocketHandler(), coroutine), (None, UNSET, None), (UNSET, UNSET, UNSET)],
)
def test_what_serve_and_reload_take_is_a_function_a_handler_or_nothing(
    fetch: object, websocket: object, error: object
) -> None:
    check_handlers("serve", fetch, websocket, error)


@pytest.mark.parametrize(
    ("fetch", "websocket", "error", "words"),
    [
        (1, UNSET, None, "reload expects fetch to be a function or None, not 1"),
        (None, UNSET, "x", "reload expects error to be a function or None, not 'x'"),
        (None, None, None, "reload expects websocket to be a WebSocketHandler, not None"),
        (None, WebSocketHandler, None, "reload expects websocket to be a WebSocketHandler, not <class"),
    ],
)
def test_anything_else_is_refused_by_name(fetch: object, websocket: object, error: object, words: str) -> None:
    with pytest.raises(TypeError) as caught:
        check_handlers("reload", fetch, websocket, error)
    assert str(caught.value).startswith(words)
