"""Close codes and reasons at their edges.

Covers `trio_bunws._close` alone.
"""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, strategies as st

from trio_bunws._close import (
    MAX_REASON_BYTES,
    CloseFrame,
    CloseInfo,
    check_close_code,
    closed_error,
    cut_reason,
    is_valid_close_code,
)

GOOD = [1000, 1001, 1002, 1003, 1007, 1008, 1011, 1014, 3000, 3999, 4000, 4999]
BAD = [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535, 70000]


@pytest.mark.parametrize("code", GOOD)
def test_a_good_code_is_sent_and_received(code: int) -> None:
    assert is_valid_close_code(code)
    assert check_close_code(code) == code


@pytest.mark.parametrize("code", BAD)
def test_a_bad_code_is_neither_sent_nor_received(code: int) -> None:
    assert not is_valid_close_code(code)
    with pytest.raises(ValueError, match=rf"1000-1003, 1007-1014 or 3000-4999, not {code}$"):
        check_close_code(code)


@pytest.mark.parametrize("code", [None, "1000", 1000.0, True])
def test_a_code_that_is_no_int_is_a_type_error(code: object) -> None:
    with pytest.raises(TypeError, match=f"code to be an integer, not {type(code).__name__}"):
        check_close_code(code)


@pytest.mark.parametrize(
    ("reason", "cut"),
    [
        ("", ""),
        ("x" * 123, "x" * 123),
        ("x" * 124, "x" * 123),
        ("é" * 61 + "x", "é" * 61 + "x"),
        ("é" * 62, "é" * 61),
        ("x" * 120 + "😀", "x" * 120),
        ("x" * 119 + "😀", "x" * 119 + "😀"),
    ],
)
def test_a_long_reason_is_cut_at_a_character(reason: str, cut: str) -> None:
    assert cut_reason(reason) == cut


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_a_cut_reason_is_the_longest_beginning_that_fits(reason: str) -> None:
    cut = cut_reason(reason)
    assert reason.startswith(cut)
    assert len(cut.encode()) <= MAX_REASON_BYTES
    assert cut == reason or len(reason[: len(cut) + 1].encode()) > MAX_REASON_BYTES


def test_a_reason_must_be_a_str_that_utf_8_can_hold() -> None:
    with pytest.raises(TypeError, match="reason to be a string, not bytes"):
        cut_reason(b"bye")
    with pytest.raises(ValueError, match="surrogates not allowed"):
        cut_reason("\ud800")


def test_what_is_wrong_is_said_of_the_method_that_was_called() -> None:
    for code in (999, "1000"):
        with pytest.raises((TypeError, ValueError), match=r"^stop expects code"):
            check_close_code(code, "stop")
    with pytest.raises(TypeError, match=r"^stop expects reason"):
        cut_reason(1000, "stop")


def test_a_close_frame_is_a_pair_and_close_info_is_frozen() -> None:
    code, reason = CloseFrame(1000, "bye")
    info = CloseInfo(code, reason, sent=None, received=CloseFrame(1000, "bye"))
    assert info == CloseInfo(1000, "bye", None, CloseFrame(1000, "bye"))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        info.code = 1001  # type: ignore[misc]  # what is tested


def test_the_error_of_an_end_carries_all_that_is_known_of_it() -> None:
    sent, received = CloseFrame(1000, "bye"), CloseFrame(1000, "")
    error = closed_error(CloseInfo(1000, "bye", sent, received))
    assert (error.code, error.reason, error.sent, error.received) == (1000, "bye", sent, received)
    error = closed_error(CloseInfo(1006, "", None, None))
    assert (error.code, error.reason, error.sent, error.received) == (1006, "", None, None)
