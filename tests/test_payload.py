"""What may be sent, and the words when it is something else.

Covers `trio_bunws._payload` alone.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from trio_bunws._payload import (
    check_compress,
    check_topic,
    encode_binary,
    encode_control,
    encode_message,
    encode_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class Name(str):
    __slots__ = ()


class Blob(bytes):
    __slots__ = ()


BUFFERS = [
    (b"abcd", b"abcd"),
    (Blob(b"abcd"), b"abcd"),
    (bytearray(b"abcd"), b"abcd"),
    (memoryview(b"abcd"), b"abcd"),
    (memoryview(b"abcdefgh")[::2], b"aceg"),
    (memoryview(b"abcd").cast("B", (2, 2)), b"abcd"),
    (array("H", [1, 256]), array("H", [1, 256]).tobytes()),
    (b"", b""),
]


@pytest.mark.parametrize(("data", "payload"), BUFFERS)
def test_any_buffer_is_taken_as_its_bytes(data: object, payload: bytes) -> None:
    assert encode_binary("send_binary", data) == payload
    assert encode_message("send", data) == (payload, False)
    assert encode_control("ping", data) == payload
    assert type(encode_binary("send_binary", data)) is type(encode_message("send", data)[0]) is bytes


@given(st.text())
def test_a_str_is_taken_as_utf_8(text: str) -> None:
    assert encode_text("send_text", text) == text.encode()
    assert encode_message("send", Name(text)) == (text.encode(), True)


def test_bytes_are_not_copied() -> None:
    data = b"abcd" * 10
    assert encode_binary("send_binary", data) is data
    assert encode_message("send", data)[0] is data


@pytest.mark.parametrize("encode", [encode_binary, lambda method, data: encode_message(method, data)[0]])
def test_a_buffer_may_be_changed_after_the_call(encode: Callable[[str, object], bytes]) -> None:
    data = bytearray(b"before")
    payload = encode("send", data)
    data[:] = b"longer than before"  # also: the buffer is not held
    assert payload == b"before"


@pytest.mark.parametrize("data", [None, 1, 1.5, ["a"], object()])
def test_what_is_neither_str_nor_buffer_is_a_type_error(data: object) -> None:
    kind = type(data).__name__
    with pytest.raises(TypeError, match=rf"^send expects data to be a string or a buffer \(.*\), not {kind}$"):
        encode_message("send", data)
    with pytest.raises(TypeError, match=rf"^send_binary expects data to be a buffer \(.*\), not {kind}$"):
        encode_binary("send_binary", data)
    with pytest.raises(TypeError, match=rf"^send_text expects data to be a string, not {kind}$"):
        encode_text("send_text", data)


def test_the_kinds_are_not_mixed_up() -> None:
    with pytest.raises(TypeError, match=r"^send_binary expects data to be a buffer \(.*\), not str$"):
        encode_binary("send_binary", "text")
    with pytest.raises(TypeError, match=r"^send_text expects data to be a string, not bytes$"):
        encode_text("send_text", b"bytes")


@pytest.mark.parametrize("encode", [encode_text, encode_message, encode_control])
def test_text_that_utf_8_cannot_hold_is_a_value_error(encode: Callable[[str, object], object]) -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        encode("send", "\ud800")


def test_a_control_payload_has_at_most_125_bytes() -> None:
    assert encode_control("ping", "é" * 62 + "x") == ("é" * 62 + "x").encode()
    with pytest.raises(ValueError, match=r"^ping expects data of at most 125 bytes, not 126$"):
        encode_control("ping", "é" * 63)
    with pytest.raises(ValueError, match=r"^pong expects data of at most 125 bytes, not 126$"):
        encode_control("pong", bytearray(126))


@pytest.mark.parametrize("compress", [None, 0, 1, "yes"])
def test_compress_is_a_bool(compress: object) -> None:
    check_compress("send", True)
    check_compress("send", False)
    with pytest.raises(TypeError, match=rf"^send expects compress to be a boolean, not {type(compress).__name__}$"):
        check_compress("send", compress)


@pytest.mark.parametrize("topic", ["x", "x" * 8, "é" * 4, "😀😀", Name("x"), " ", "\ud800" * 2])
def test_a_topic_fits_by_its_bytes(topic: str) -> None:
    check_topic("subscribe", topic, 8)


@pytest.mark.parametrize(("topic", "size"), [("x" * 9, 9), ("é" * 5, 10), ("😀😀x", 9), ("\ud800" * 3, 9)])
def test_a_longer_topic_is_a_value_error(topic: str, size: int) -> None:
    with pytest.raises(ValueError, match=rf"at most 8 bytes \(limits.max_topic_length\), not {size}$"):
        check_topic("subscribe", topic, 8)


def test_an_empty_topic_is_a_value_error_and_another_type_a_type_error() -> None:
    with pytest.raises(ValueError, match=r"^publish expects topic to be a non-empty string$"):
        check_topic("publish", "", 8)
    with pytest.raises(TypeError, match=r"^publish expects topic to be a string, not bytes$"):
        check_topic("publish", b"room", 8)
