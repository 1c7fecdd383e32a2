"""Send statuses and ready states: Bun's numbers, told apart by class.

Covers `trio_bunws._status` alone.
"""

from __future__ import annotations

import copy
import pickle
from typing import assert_never

import pytest

from trio_bunws._status import (
    BACKPRESSURED,
    DROPPED,
    MessageBackpressured,
    MessageDropped,
    MessageSent,
    ReadyState,
    SendStatus,
    sent,
)


def words(status: SendStatus) -> str:
    """Tell the three cases apart as an application would."""
    match status:
        case MessageSent(bytes_sent):
            return f"sent {bytes_sent}"
        case MessageBackpressured():
            return "backpressured"
        case MessageDropped():
            return "dropped"
    assert_never(status)


@pytest.mark.parametrize("n", [0, 1, 1023, 1024, 1025, 16 * 1024 * 1024])
def test_sent_is_the_number_of_bytes(n: int) -> None:
    status = sent(n)
    assert status == n
    assert type(status) is MessageSent
    assert status.bytes_sent == n
    assert type(status.bytes_sent) is int


def test_a_short_message_costs_no_new_object() -> None:
    assert sent(1023) is sent(1023)
    assert sent(1024) is not sent(1024)


def test_the_singletons_have_the_numbers_of_bun() -> None:
    assert (BACKPRESSURED, DROPPED) == (-1, 0)
    assert MessageBackpressured() is BACKPRESSURED
    assert MessageDropped() is DROPPED


@pytest.mark.parametrize("cls", [MessageSent, MessageBackpressured, MessageDropped])
def test_the_cases_are_final(cls: type) -> None:
    assert issubclass(cls, int)
    assert cls.__dict__["__final__"]


def test_statuses_match_by_class_so_that_an_empty_message_is_not_a_drop() -> None:
    assert [words(status) for status in (sent(5), sent(0), BACKPRESSURED, DROPPED)] == [
        "sent 5",
        "sent 0",
        "backpressured",
        "dropped",
    ]
    assert int(sent(0)) == int(DROPPED) == 0


@pytest.mark.parametrize("status", [sent(3), sent(5000), BACKPRESSURED, DROPPED])
def test_a_status_is_the_same_after_a_copy_and_a_pickle(status: SendStatus) -> None:
    for again in (copy.copy(status), copy.deepcopy(status), pickle.loads(pickle.dumps(status))):
        assert again == status
        assert type(again) is type(status)
    if not isinstance(status, MessageSent):
        assert pickle.loads(pickle.dumps(status)) is status


def test_a_status_is_shown_by_its_name() -> None:
    assert [repr(sent(5)), repr(BACKPRESSURED), repr(DROPPED)] == [
        "MessageSent(5)",
        "MessageBackpressured()",
        "MessageDropped()",
    ]


def test_a_negative_length_is_no_message_sent() -> None:
    with pytest.raises(ValueError, match="bytes_sent to be at least 0, not -1"):
        MessageSent(-1)


def test_ready_states_have_the_numbers_of_the_browser() -> None:
    assert {state.name: int(state) for state in ReadyState} == {
        "CONNECTING": 0,
        "OPEN": 1,
        "CLOSING": 2,
        "CLOSED": 3,
    }
