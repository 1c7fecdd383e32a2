"""The values that come out of the codec: which are equal, and that nobody can change them."""

from __future__ import annotations

import attrs
import pytest

from trio_bunws._wire.events import Close, Failure, Ping, Pong


@pytest.mark.parametrize(
    ("event", "same", "other"),
    [
        (Ping(b"a"), Ping(b"a"), Ping(b"b")),
        (Pong(b"a"), Pong(b"a"), Pong(b"b")),
        (Close(1000, "bye"), Close(1000, "bye"), Close(1001, "bye")),
        (Failure(1002, "why"), Failure(1002, "why"), Failure(1002, "")),
    ],
)
def test_events_of_one_kind_are_equal_by_value(event: object, same: object, other: object) -> None:
    assert event == same
    assert hash(event) == hash(same)
    assert event != other


def test_events_of_two_kinds_are_never_equal() -> None:
    events: list[object] = [Ping(b""), Pong(b""), Close(1002, ""), Failure(1002, "")]
    assert [[one == two for two in events] for one in events] == [
        [True, False, False, False],
        [False, True, False, False],
        [False, False, True, False],
        [False, False, False, True],
    ]


@pytest.mark.parametrize("event", [Ping(b""), Pong(b""), Close(1000, ""), Failure(1002, "")])
def test_events_cannot_be_changed(event: Ping | Pong | Close | Failure) -> None:
    name = attrs.fields(type(event))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(event, name, None)


@pytest.mark.parametrize("event", [Ping(b""), Pong(b""), Close(1000, ""), Failure(1002, "")])
def test_events_have_no_dictionary(event: object) -> None:
    assert not hasattr(event, "__dict__")
