"""Collecting a message that arrives in parts, alone: the payload, what is left, and text that cannot become UTF-8."""

from __future__ import annotations

import pytest

from trio_bunws._wire.frames import BINARY, CONTINUATION, FIN, NO_MASK, TEXT, unmask
from trio_bunws._wire.messages import FragmentedMessage, Violation, WholeMessage

KEY = b"\x9a\x01\xfe\x42"
keys = pytest.mark.parametrize("key", [NO_MASK, KEY])


def begin(message: FragmentedMessage, opcode: int, length: int, key: bytes, *, final: bool = False) -> None:
    """Begin a fragment, from a client if it is masked."""
    masked = key != NO_MASK
    header = bytes([opcode | FIN * final, length | 0x80 * masked]) + (key if masked else b"")
    message.begin(opcode, length, header, key)


def fragmented(key: bytes) -> FragmentedMessage:
    return FragmentedMessage(client=key == NO_MASK)


@keys
@pytest.mark.parametrize(("opcode", "expected"), [(TEXT, "grün"), (BINARY, "grün".encode())])
def test_a_whole_message_is_complete_with_its_last_byte(opcode: int, expected: str | bytes, key: bytes) -> None:
    sent = unmask("grün".encode(), key)
    message = WholeMessage(opcode, len(sent), key)
    for at in range(len(sent) - 1):
        assert (message.held, message.left) == (at, len(sent) - at)
        assert message.take(sent[at : at + 1]) is None
    assert message.take(sent[-1:]) == expected


@keys
@pytest.mark.parametrize("bad", [b"\xff", b"a\xc0", b"\xf5"])
def test_whole_text_fails_at_the_first_bad_byte(bad: bytes, key: bytes) -> None:
    message = WholeMessage(TEXT, 100, key)
    with pytest.raises(UnicodeDecodeError):
        message.take(unmask(bad, key))


@keys
def test_half_a_surrogate_in_whole_text_fails_at_its_second_byte(key: bytes) -> None:
    message = WholeMessage(TEXT, 100, key)
    assert message.take(unmask(b"\xed", key)) is None
    with pytest.raises(Violation) as caught:
        message.take(unmask(b"\xa0", key, 1))
    assert caught.value.code == 1007


@keys
@pytest.mark.parametrize(("opcode", "expected"), [(TEXT, "grün"), (BINARY, "grün".encode())])
def test_fragments_are_joined_and_the_next_message_begins_anew(opcode: int, expected: str | bytes, key: bytes) -> None:
    message = fragmented(key)
    for _ in range(2):
        begin(message, opcode, 3, key)
        assert message.take(unmask(b"gr\xc3", key)) is None
        assert (message.count, message.total, message.left) == (1, 3, 0)
        begin(message, CONTINUATION, 2, key, final=True)
        assert message.take(unmask(b"\xbc", key)) is None
        assert message.left == 1
        assert message.take(unmask(b"n", key, 1)) == expected
        assert (message.count, message.total, message.held) == (0, 0, 0)


@keys
def test_bytes_of_a_fragmented_message_that_have_arrived_are_held(key: bytes) -> None:
    message = fragmented(key)
    begin(message, BINARY, 9, key)
    assert message.take(unmask(b"12345", key)) is None
    assert message.held == 5


@keys
def test_bad_text_in_fragments_is_a_violation(key: bytes) -> None:
    message = fragmented(key)
    begin(message, TEXT, 2, key)
    with pytest.raises(Violation) as caught:
        message.take(unmask(b"a\xff", key))
    assert (caught.value.code, caught.value.reason) == (1007, "Text message that is not UTF-8")


@keys
def test_half_a_surrogate_across_fragments_fails_at_its_second_byte(key: bytes) -> None:
    message = fragmented(key)
    begin(message, TEXT, 1, key)
    assert message.take(unmask(b"\xed", key)) is None
    begin(message, CONTINUATION, 9, key)
    with pytest.raises(Violation) as caught:
        message.take(unmask(b"\xa0", key))
    assert caught.value.code == 1007
