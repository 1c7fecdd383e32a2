"""The kinds of binary messages: their names, and what a message becomes."""

from __future__ import annotations

import pytest

from trio_bunws._binary_type import BINARY_TYPES, check_binary_type, convert


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bytes", "bytes"),
        ("bytearray", "bytearray"),
        ("memoryview", "memoryview"),
        ("nodebuffer", "bytes"),
        ("uint8array", "bytearray"),
        ("arraybuffer", "memoryview"),
    ],
)
def test_names_are_ours_or_buns(name: str, kind: str) -> None:
    assert check_binary_type(name) == kind


@pytest.mark.parametrize("value", ["blob", "", None, 7])
def test_another_name_is_refused_with_a_list_of_those_there_are(value: object) -> None:
    with pytest.raises(ValueError, match="binary_type expects one of 'bytes', 'bytearray', 'memoryview'"):
        check_binary_type(value)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_binary_messages_are_converted_and_text_is_not(kind: type) -> None:
    name = BINARY_TYPES[kind.__name__]
    message = convert(b"x", name)
    assert type(message) is kind
    assert message == b"x"
    assert convert("x", name) == "x"
