"""What Close frames of every kind say. Covers `trio_bunws._wire.closing` alone."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from trio_bunws._wire.closing import read_close
from trio_bunws._wire.events import Close, Failure
from trio_bunws._wire.frames import close_frame

VALID = [*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)]


def body(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2) + reason


def test_an_empty_body_has_the_code_that_stands_for_none() -> None:
    assert read_close(b"") == Close(1005, "")


def test_half_a_code_breaks_the_protocol() -> None:
    assert read_close(b"\x03") == Failure(1002, "Close frame with a body of one byte")


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_a_code_that_nobody_may_send_breaks_the_protocol(code: int) -> None:
    assert read_close(body(code, b"why")) == Failure(1002, f"Close frame with invalid code {code}")


def test_a_reason_must_be_utf_8() -> None:
    assert read_close(body(1000, b"\xff")) == Failure(1007, "Close frame with a reason that is not UTF-8")


@given(st.sampled_from(VALID), st.text(max_size=30))
def test_what_is_sent_is_read(code: int, reason: str) -> None:
    assert read_close(close_frame(code, reason)[2:]) == Close(code, reason)
