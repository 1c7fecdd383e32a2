"""The log of one tick's publishes, compared with handing each publish to each subscriber by itself.

Covers `trio_bunws._fanout` alone: members have a cursor here and perhaps a compressor, and nothing else.
"""

from __future__ import annotations

import tracemalloc

import pytest
from deflate_fakes import Marking
from hypothesis import given, settings, strategies as st
from scripts import scripts

from trio_bunws._fanout import Share, TickLog
from trio_bunws._topics import CLEAR, Topic, TopicIndex
from trio_bunws._wire.frames import binary_frame, take_apart

NOTHING = Share(b"", 0)


class Member:
    """What the hub keeps of a member, and beside it what the member should have got."""

    def __init__(self, deflate: Marking | None = None) -> None:
        self.topics: dict[str, Topic[Member]] = {}
        self.cursor = 0
        self.deflate = deflate
        self.due: list[bytes] = []


class Room:
    """Keeps the cursors as the hub does, and compares every share with what is due."""

    def __init__(self) -> None:
        self.index: TopicIndex[Member] = TopicIndex()
        self.log: TickLog[Member] = TickLog()

    def publish(self, name: str, frame: bytes, sender: Member | None = None) -> None:
        topic = self.index.get(name)
        if topic is not None:
            self.log.append(topic, frame, sender)
            for member in topic.members:
                if member is not sender:
                    member.due.append(frame)

    def publish_to_compress(self, name: str, payload: bytes, sender: Member | None = None) -> None:
        topic = self.index.get(name)
        if topic is not None:
            frame = binary_frame(payload)
            self.log.append_to_compress(topic, frame, sender)
            for member in topic.members:
                if member is not sender:
                    member.due.append(frame if member.deflate is None else member.deflate.mark + payload)

    def subscribe(self, member: Member, *names: str) -> None:
        for name in names:
            if name not in member.topics:
                self.deliver(member)
                member.cursor = self.log.end
                member.topics[name] = self.index.join(name, member, CLEAR)

    def unsubscribe(self, member: Member, name: str) -> None:
        self.deliver(member)
        if name in member.topics:
            self.index.leave(member.topics.pop(name), member, CLEAR)

    def deliver(self, member: Member) -> Share:
        share = NOTHING
        if member.topics:
            share = self._take(member)
            member.cursor = self.log.end
        assert share == (b"".join(member.due), len(member.due))
        member.due.clear()
        return share

    def _take(self, member: Member) -> Share:
        """Take a member's share as the hub does."""
        deflate = member.deflate
        if deflate is None or not self.log.compresses:
            share = self.log.share(member, member.topics, member.cursor)
            whole = self.log.whole()
            if whole is not None and member.cursor <= self.log.start and member in self.log.members():
                assert share == whole[0] or member in whole[1]
            return share
        if not deflate.takeover:
            return self.log.share(member, member.topics, member.cursor, deflate)
        frames = [
            deflate.frame(*take_apart(frame)) if compress else frame
            for frame, compress in self.log.apart(member, member.topics, member.cursor)
        ]
        return Share(b"".join(frames), len(frames))


def members(room: Room, *subscriptions: str) -> list[Member]:
    made = [Member() for _ in subscriptions]
    for member, names in zip(made, subscriptions, strict=True):
        room.subscribe(member, *names.split())
    return made


def test_a_share_is_what_was_published_to_ones_topics_in_order() -> None:
    room = Room()
    ann, bob, cid = members(room, "a b", "b", "c")
    for name, frame in [("a", b"1"), ("b", b"2"), ("b", b"3"), ("a", b"4"), ("b", b"5")]:
        room.publish(name, frame)
    assert room.deliver(ann) == Share(b"12345", 5)
    assert room.deliver(bob) == Share(b"235", 3)
    assert room.deliver(cid) == NOTHING


def test_subscribers_of_the_same_topics_share_one_piece() -> None:
    room = Room()
    ann, bob = members(room, "a b", "b a c")
    room.publish("a", b"some bytes")
    room.publish("b", b"and more")
    assert room.deliver(ann).frames is room.deliver(bob).frames


@pytest.mark.parametrize("sent", ["x", "xy", "xyx", "yxxy", "yxyxy", "xx", "yy"])
def test_a_sender_gets_all_but_its_own(sent: str) -> None:
    room = Room()
    x, y, z = members(room, "a", "a", "a")
    for number, sender in enumerate(sent):
        room.publish("a", b"%d" % number, {"x": x, "y": y}[sender])
    for member in (x, y, z):
        room.deliver(member)


def test_the_log_knows_how_much_it_holds() -> None:
    room = Room()
    (ann,) = members(room, "a b")
    log = room.log
    assert (log.start, log.end, log.size) == (0, 0, 0)
    for name, frame in [("a", b"1"), ("a", b"22"), ("b", b"333"), ("b", b"4444"), ("a", b"55555")]:
        room.publish(name, frame)
    assert (log.start, log.end, log.size) == (0, 5, 15)
    room.deliver(ann)
    log.forget(1)
    assert (log.start, log.end, log.size) == (1, 5, 14)
    log.forget(3)
    log.forget(2)  # earlier than what is forgotten already
    assert (log.start, log.end, log.size) == (3, 5, 9)
    log.forget(5)
    assert (log.start, log.end, log.size) == (5, 5, 0)


def test_the_whole_log_is_for_all_but_its_senders_while_it_is_of_one_topic() -> None:
    room = Room()
    ann, bob, cid = members(room, "a b", "b", "b c")
    for name, frame, sender in [("b", b"1", None), ("b", b"2", ann), ("b", b"3", bob)]:
        room.publish(name, frame, sender)
    whole = room.log.whole()
    assert whole is not None
    share, senders = whole
    assert (share, list(senders)) == (Share(b"123", 3), [ann, bob])
    assert room.deliver(cid).frames is share.frames
    room.publish("b", b"4")
    assert room.log.whole() == (Share(b"1234", 4), senders)
    room.publish("c", b"5")
    assert room.log.whole() is None
    room.log.forget(4)
    assert room.log.whole() == (Share(b"5", 1), {})
    room.publish_to_compress("c", b"6")
    assert room.log.whole() is None


def test_a_snapshot_of_members_has_each_once() -> None:
    room = Room()
    ann, bob, cid, _ = members(room, "a b", "b", "b a", "c")
    for name in "abab":
        room.publish(name, b"x")
    found = room.log.members()
    room.unsubscribe(bob, "b")
    assert list(found) == [ann, cid, bob]
    assert list(room.log.members()) == [ann, cid]


def test_a_snapshot_of_one_topic_s_members_is_no_view_of_them() -> None:
    room = Room()
    ann, bob = members(room, "a", "a b")
    room.publish("a", b"x")
    found = room.log.members()
    room.unsubscribe(bob, "a")
    assert list(found) == [ann, bob]
    assert list(room.log.members()) == [ann]


def test_who_joins_a_topic_made_anew_gets_nothing_of_the_old_one() -> None:
    room = Room()
    ann, bob = members(room, "a", "b")
    room.publish("a", b"old")
    room.publish("b", b"other")
    room.unsubscribe(ann, "a")
    (cid,) = members(room, "a b")
    room.publish("a", b"new")
    assert room.deliver(cid) == Share(b"new", 1)
    room.deliver(bob)


def test_a_run_that_grows_between_two_shares_is_joined_once() -> None:
    room = Room()
    ann, bob, cid = members(room, "a", "a", "a")
    room.publish("a", b"1")
    assert room.deliver(ann) == Share(b"1", 1)
    room.publish("a", b"2")
    assert room.deliver(bob) == Share(b"12", 2)
    room.publish("a", b"3", cid)
    room.publish("a", b"4", cid)
    assert room.deliver(ann) == Share(b"234", 3)
    assert room.deliver(cid) == Share(b"12", 2)
    room.publish("a", b"5", cid)
    room.publish("a", b"6", ann)
    assert room.deliver(cid) == Share(b"6", 1)


class CountingName(str):
    """A topic's name that counts how often it is looked up."""

    __slots__ = ()
    lookups = 0

    def __hash__(self) -> int:
        CountingName.lookups += 1
        return super().__hash__()


def test_handing_out_to_topics_of_one_subscriber_each_does_not_look_at_all_for_each() -> None:
    room = Room()
    users = [Member() for _ in range(500)]
    names = [CountingName(f"user{number}") for number in range(500)]
    for user, name in zip(users, names, strict=True):
        room.subscribe(user, name)
    for name in names:
        room.publish(name, b"hello")
    CountingName.lookups = 0
    for user in users:
        assert room.deliver(user) == Share(b"hello", 1)
    assert CountingName.lookups < 20 * len(users)


class CountingMember(Member):
    """A member that counts how often one of its publishes is looked at."""

    looks = 0

    def __hash__(self) -> int:
        CountingMember.looks += 1
        return super().__hash__()


def test_a_log_that_grows_between_two_shares_is_not_joined_from_its_beginning_again() -> None:
    room = Room()
    chatters = [CountingMember() for _ in range(300)]
    for chatter in chatters:
        room.subscribe(chatter, "a")
    CountingMember.looks = 0
    for chatter in chatters:
        room.publish("a", b"hello", chatter)
        room.deliver(chatter)
    assert CountingMember.looks < 20 * len(chatters)


def test_many_combinations_of_topics_do_not_keep_a_copy_of_the_log_each() -> None:
    room = Room()
    users = members(room, *[f"room user{number}" for number in range(200)])
    frame = bytes(1024)
    for number in range(200):
        room.publish("room", frame)
        room.publish(f"user{number}", b"x")
    tracemalloc.start()
    try:
        for user in users:
            room.deliver(user)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 1024 * 1024 < len(users) * room.log.size


@pytest.mark.parametrize(("count", "reached"), [(0, True), (1, True), (4, True), (5, False)])
def test_the_log_knows_whether_it_reaches_many(count: int, reached: bool) -> None:
    room = Room()
    ann, *_ = members(room, "a b", "b", "b c", "c c")
    assert room.log.reaches(1) is False
    for name in "abb":
        room.publish(name, b"x")
    assert room.log.reaches(count) is reached
    room.unsubscribe(ann, "a")
    assert room.log.reaches(4) is False
    assert room.log.reaches(3) is True


# Compression


def compressing(room: Room, deflate: Marking, *subscriptions: str) -> list[Member]:
    made = [Member(deflate) for _ in subscriptions]
    for member, names in zip(made, subscriptions, strict=True):
        room.subscribe(member, *names.split())
    return made


def test_a_publish_is_compressed_once_for_all_who_share_a_compressor() -> None:
    room = Room()
    shared, other, own = Marking(b"s"), Marking(b"o"), Marking(b"t", takeover=True)
    plain = members(room, "a", "a b")
    same = compressing(room, shared, "a", "a", "a b", "b a c")
    others = compressing(room, other, "a", "a b")
    apart = compressing(room, own, "a", "a b")
    for payload in (b"one", b"two"):
        room.publish_to_compress("a", payload)
    room.publish("a", b"plain")
    room.publish_to_compress("b", b"three", same[0])
    shares = [room.deliver(member) for member in (*plain, *same, *others, *apart)]
    assert shares[2] == Share(b"sonestwoplain", 3)
    assert shares[2].frames is shares[3].frames
    assert shares[4].frames is shares[5].frames
    assert shared.compressed == other.compressed == [b"one", b"two", b"three"]
    assert own.compressed == [b"one", b"two", b"one", b"two", b"three"]


def test_nothing_is_compressed_for_nobody() -> None:
    room = Room()
    (ann,) = members(room, "a")
    shared = Marking(b"s")
    (bob,) = compressing(room, shared, "b")
    room.publish_to_compress("a", b"one")
    room.publish("b", b"two")
    assert room.deliver(ann).messages == room.deliver(bob).messages == 1
    assert shared.compressed == []


def test_the_log_knows_whether_it_compresses() -> None:
    room = Room()
    members(room, "a")
    log = room.log
    room.publish("a", b"x")
    assert not log.compresses
    room.publish_to_compress("a", b"x")
    room.publish("a", b"x")
    assert log.compresses
    log.forget(1)
    assert log.compresses
    log.forget(2)
    assert not log.compresses


def test_publishes_to_one_topic_by_one_sender_are_one_run_if_they_are_compressed_alike() -> None:
    room = Room()
    ann, _ = members(room, "a b", "a")
    for sender in (None, ann):
        for _ in range(2):
            room.publish_to_compress("a", b"x", sender)
    room.publish_to_compress("b", b"x", ann)
    for _ in range(2):
        room.publish("b", b"x", ann)
    for _ in range(2):
        room.publish_to_compress("b", b"x", ann)
    assert [len(run.frames) for run in room.log._runs] == [2, 2, 1, 2, 2]


def test_who_got_the_beginning_of_the_log_has_the_rest_compressed_no_second_time() -> None:
    room = Room()
    shared = Marking(b"s")
    ann, bob, cid = compressing(room, shared, "a", "a", "a")
    room.publish_to_compress("a", b"1")
    room.deliver(ann)
    room.publish_to_compress("a", b"2")
    room.publish_to_compress("a", b"3")
    assert room.deliver(ann) == Share(b"s2s3", 2)
    room.deliver(bob)
    room.log.forget(2)  # a tick that began before the third
    cid.due.clear()
    cid.cursor = 2
    cid.due.append(b"s3")
    room.deliver(cid)
    assert shared.compressed == [b"1", b"2", b"3"]


NAMES = st.sampled_from("aabc")
WHO = st.integers(0, 3)
KINDS = st.sampled_from(["plain", "shared", "other", "own"])
STEPS = st.one_of(
    st.tuples(st.just("publish"), NAMES, st.none()),
    st.tuples(st.just("publish"), NAMES, WHO),
    st.tuples(st.just("publish to compress"), NAMES, st.none()),
    st.tuples(st.just("publish to compress"), NAMES, WHO),
    st.tuples(st.just("subscribe"), NAMES, WHO),
    st.tuples(st.just("unsubscribe"), NAMES, WHO),
    st.tuples(st.just("deliver"), NAMES, WHO),
    st.tuples(st.just("begin tick"), NAMES, st.just(0)),
    st.tuples(st.just("end tick"), NAMES, st.just(0)),
)


@settings(max_examples=300)
@given(
    st.lists(st.sets(NAMES), min_size=4, max_size=4),
    st.lists(KINDS, min_size=4, max_size=4),
    scripts(STEPS, 40),
)
def test_any_sequence_gives_every_subscriber_its_publishes_once_and_in_order(
    subscriptions: list[set[str]], kinds: list[str], steps: list[tuple[str, str, int | None]]
) -> None:
    room = Room()
    everybody = members(room, *(" ".join(sorted(names)) for names in subscriptions))
    groups = {"shared": Marking(b"s"), "other": Marking(b"o")}
    for one, kind in zip(everybody, kinds, strict=True):
        one.deflate = Marking(b"t", takeover=True) if kind == "own" else groups.get(kind)
    half_way: tuple[list[Member], int] | None = None
    for number, (verb, name, who) in enumerate(steps):
        member = None if who is None else everybody[who]
        if verb.startswith("publish"):
            publish = room.publish if verb == "publish" else room.publish_to_compress
            publish(name, bytes([number]) * (number % 3 + 1), member)
        elif verb == "begin tick" and half_way is None:
            half_way = list(room.log.members()), room.log.end
            for one in half_way[0][::2]:
                room.deliver(one)
        elif verb == "end tick" and half_way is not None:
            for one in half_way[0][1::2]:
                room.deliver(one)
            room.log.forget(half_way[1])
            half_way = None
        elif member is not None and verb == "subscribe":
            room.subscribe(member, name)
        elif member is not None and verb == "unsubscribe":
            room.unsubscribe(member, name)
        elif member is not None and verb == "deliver":
            room.deliver(member)
    for member in everybody:
        room.deliver(member)
    for group in groups.values():
        assert len(set(group.compressed)) == len(group.compressed)
    room.log.forget(room.log.end)
    assert room.log.size == 0
    assert list(room.log.members()) == []
