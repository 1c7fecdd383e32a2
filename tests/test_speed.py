"""The extension in C by itself: what it makes of wrong arguments, and that it keeps nothing.

That it does what plain Python does is tested where that is: those tests run on both.
"""

from __future__ import annotations

from typing import Any

import pytest

_speed: Any = pytest.importorskip("trio_bunws._speed", reason="the extension was not built")
unmask: Any = _speed.unmask


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
