"""The extension in C by itself: what it makes of wrong arguments, and that it keeps nothing.

That it does what plain Python does is tested where that is: those tests run on both.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest

_speed: Any = pytest.importorskip("trio_bunws._speed", reason="the extension was not built")
binary_frame: Any = _speed.binary_frame
mask_frame: Any = _speed.mask_frame
ready_messages: Any = _speed.ready_messages
text_frame: Any = _speed.text_frame
unmask: Any = _speed.unmask
send_all: Any = _speed.send_all


def plain_xor(data: bytes, key: bytes, offset: int) -> bytes:
    return bytes(byte ^ key[(offset + index) % 4] for index, byte in enumerate(data))


@pytest.mark.parametrize("length", [*range(40), 1000])
@pytest.mark.parametrize("offset", [0, 1, 2, 3, 4, 1001, -1])
def test_unmask_is_xor_with_the_repeated_key_from_the_offset_on(length: int, offset: int) -> None:
    data = bytes(index * 7 % 256 for index in range(length))
    assert unmask(data, b"\x01\xf2\x33\x84", offset) == plain_xor(data, b"\x01\xf2\x33\x84", offset)


@pytest.mark.parametrize("key", [b"", b"abc", b"abcde"])
def test_a_key_is_four_bytes(key: bytes) -> None:
    with pytest.raises(ValueError, match=f"key to be 4 bytes, not {len(key)}"):
        unmask(b"data", key, 0)


@pytest.mark.parametrize(
    "arguments",
    [(), (b"data",), (b"data", b"abcd"), (b"data", b"abcd", 0, 0), ("data", b"abcd", 0), (b"data", "abcd", 0)],
)
def test_arguments_of_other_kinds_are_refused(arguments: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        unmask(*arguments)


@pytest.mark.parametrize("offset", [None, 1.0, "1"])
def test_an_offset_is_an_int(offset: object) -> None:
    with pytest.raises(TypeError):
        unmask(b"data", b"abcd", offset)


def test_an_offset_beyond_all_payloads_is_refused() -> None:
    with pytest.raises(OverflowError):
        unmask(b"data", b"abcd", 1 << 64)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (b"data", 0, 1),
        (b"data", 0, 1, True, 0),
        ("data", 0, 1, True),
        (b"data", "0", 1, True),
        (b"", 0, None, True),
    ],
)
def test_messages_are_read_from_bytes_by_ints(arguments: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        ready_messages(*arguments)


class Undecided:
    def __bool__(self) -> bool:
        raise ZeroDivisionError


def test_messages_have_a_mask_or_have_not() -> None:
    with pytest.raises(ZeroDivisionError):
        ready_messages(b"", 0, 1, Undecided())


def test_no_message_begins_before_the_data() -> None:
    with pytest.raises(ValueError, match="pos not to be negative"):
        ready_messages(b"data", -1, 1, False)


@pytest.mark.parametrize("pos", [4, 5, 1 << 62])
def test_none_begins_behind_it_either(pos: int) -> None:
    ready = ready_messages(b"data", pos, 1, False)
    assert (list(ready), ready.pos, ready.stop()) == ([], pos, pos)


def test_a_limit_may_be_beyond_all_payloads() -> None:
    assert list(ready_messages(b"\x81\x01a", 0, 1 << 64, False)) == ["a"]


def test_an_iterator_is_made_by_the_function_only() -> None:
    kind = type(ready_messages(b"", 0, 1, False))
    with pytest.raises(TypeError, match="cannot create"):
        kind()


def test_nothing_is_kept() -> None:
    data, key = b"\x81\x03abc\x82\x03abc\x81\x01\xff" + bytes(1000), b"\x01\x02\x03\x04"
    ready = ready_messages(data, 0, 1 << 24, False)
    kind = type(ready)
    list(ready)
    before = [sys.getrefcount(value) for value in (data, key, kind)]
    for _ in range(100):
        unmask(data, key, 0)
        mask_frame(binary_frame(data), key)
        text_frame(data)
        with pytest.raises(ValueError, match="4 bytes"):
            unmask(data, b"", 0)
        with pytest.raises(ValueError, match="4 bytes"):
            mask_frame(data, b"")
        list(ready_messages(data, 0, 1 << 24, False))
        with pytest.raises(TypeError):
            ready_messages(data, 0, None, False)
    assert [sys.getrefcount(value) for value in (data, key, kind)] == before


@pytest.mark.parametrize("arguments", [(), ([],), ([], b"", b""), ([], "data"), ([], bytearray()), ([None], b"data")])
def test_sending_wants_sockets_and_bytes(arguments: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        send_all(*arguments)


def test_sending_wants_a_list_of_sockets() -> None:
    with pytest.raises(SystemError):
        send_all((), b"data")


class Shortening(socket.socket):
    """A socket that empties the list in which it stands when its descriptor is asked for."""

    among: list[Shortening]

    def fileno(self) -> int:
        self.among.clear()
        return -1


def test_a_list_of_sockets_that_becomes_shorter_meanwhile_is_an_error() -> None:
    with Shortening() as sock:
        sock.among = [sock, sock]
        with pytest.raises(IndexError):
            send_all(sock.among, b"data")
        socket.socket.close(sock)


class Failing(socket.socket):
    def fileno(self) -> int:
        raise RuntimeError("no descriptor")


def test_a_socket_s_own_failure_is_raised() -> None:
    with Failing() as sock, pytest.raises(RuntimeError, match="no descriptor"):
        send_all([sock], b"data")
