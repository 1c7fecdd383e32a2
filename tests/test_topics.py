"""The index of topics, and its counters of members that are behind, compared with a scan of the members.

Covers `trio_bunws._topics` alone; members are plain strings.
"""

from __future__ import annotations

from hypothesis import given, strategies as st

from trio_bunws._topics import CLEAR, CONGESTED, OVER, Topic, TopicIndex


def test_a_topic_is_there_while_it_has_a_member() -> None:
    index: TopicIndex[str] = TopicIndex()
    assert index.get("room") is None
    assert index.members("room") == ()
    room = index.join("room", "ann", CLEAR)
    assert index.get("room") is room
    assert index.join("room", "bob", CLEAR) is room
    assert (index.members("room"), index.names(), len(index)) == (("ann", "bob"), ("room",), 1)
    index.leave(room, "ann", CLEAR)
    assert index.get("room") is room
    index.leave(room, "bob", CLEAR)
    assert index.get("room") is None
    assert (index.members("room"), index.names(), len(index)) == ((), (), 0)


def test_a_topic_that_is_made_anew_is_another_one() -> None:
    index: TopicIndex[str] = TopicIndex()
    first = index.join("room", "ann", CLEAR)
    index.leave(first, "ann", CLEAR)
    second = index.join("room", "ann", CLEAR)
    assert second is not first
    assert (list(first.members), list(second.members)) == ([], ["ann"])


def test_members_are_a_snapshot_in_order_of_subscription() -> None:
    index: TopicIndex[str] = TopicIndex()
    room = index.join("room", "bob", CLEAR)
    index.join("room", "ann", CLEAR)
    before = index.members("room")
    index.leave(room, "bob", CLEAR)
    index.join("room", "bob", CLEAR)
    assert before == ("bob", "ann")
    assert index.members("room") == ("ann", "bob")


def test_a_member_joins_with_its_pressure_and_takes_it_away() -> None:
    index: TopicIndex[str] = TopicIndex()
    room = index.join("room", "stuck", OVER)
    index.join("room", "slow", CONGESTED)
    index.join("room", "quick", CLEAR)
    assert (room.behind, room.over) == (2, 1)
    index.leave(room, "stuck", OVER)
    assert (room.behind, room.over) == (1, 0)
    index.leave(room, "slow", CONGESTED)
    assert (room.behind, room.over) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([CLEAR, CONGESTED, OVER])), max_size=30))
def test_the_counters_are_those_of_a_scan(moves: list[tuple[int, int]]) -> None:
    topic: Topic[int] = Topic("room")
    pressures = dict.fromkeys(range(5), CLEAR)
    for member, new in moves:
        topic.pressure_changed(pressures[member], new)
        pressures[member] = new
    assert topic.behind == sum(pressure != CLEAR for pressure in pressures.values())
    assert topic.over == sum(pressure == OVER for pressure in pressures.values())
