"""The publishes of one scheduler tick, and each subscriber's share of them as one piece of bytes.

Pure data: no task, no socket, no writing; `_hub.py` fills it and hands the shares out. A publish is appended once; what
all subscribers of the same topics get is joined once and shared; a sender's share is cut out of that. A publish that is
to be compressed is compressed once for all whose frames are interchangeable, when the first of them asks.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from trio_bunws._wire.frames import take_apart

if TYPE_CHECKING:
    from collections.abc import Collection

    from trio_bunws._topics import Topic
    from trio_bunws._wire.compression import Outbound

M = TypeVar("M")
START: Final = attrgetter("start")
JOINED_BYTES: Final = 4 * 1024 * 1024
"""Joined bytes that are kept for further subscribers of the same topics."""


class Share(NamedTuple):
    """What one subscriber gets: the joined frames, and how many they are."""

    frames: bytes
    messages: int


class Run(Generic[M]):
    """Publishes that follow one another, to one topic, with one excluded sender, all to be compressed or none."""

    __slots__ = ("compressed", "frames", "sender", "start", "topic")

    def __init__(self, topic: Topic[M], sender: M | None, start: int, *, compress: bool) -> None:
        self.topic: Final = topic
        self.sender: Final = sender
        self.start: Final = start
        """Position in the log of the first frame."""
        self.frames: Final[list[bytes]] = []
        """The plain frames."""
        self.compressed: Final[dict[Outbound, list[bytes]] | None] = {} if compress else None
        """What was made of the first ones of `frames` by each compressor; `None` if they are to stay plain."""

    def frames_by(self, deflate: Outbound | None) -> list[bytes]:
        """Return the frames for members who share this compressor, if these are to be compressed."""
        if deflate is None or self.compressed is None:
            return self.frames
        made = self.compressed.setdefault(deflate, [])
        made += [deflate.frame(*take_apart(frame)) for frame in self.frames[len(made) :]]
        return made


class Joined(Generic[M]):
    """The frames of some runs as one piece, from which a sender's own can be cut out."""

    __slots__ = ("end", "senders", "whole")

    def __init__(self, start: int) -> None:
        self.end = start
        """Position in the log up to which this holds."""
        self.whole = Share(b"", 0)
        """What everybody gets who is no sender."""
        self.senders: Final[dict[M, list[tuple[int, int, int]]]] = {}
        """Where in `whole` each sender's own frames are, in order: from, to, and how many messages."""

    def extend(self, runs: list[Run[M]], end: int, deflate: Outbound | None) -> None:
        """Add what `runs` have from `self.end` on, compressed by `deflate`; after it this holds up to `end`."""
        begin = self.end
        frames, count = self.whole
        pieces = [frames] if frames else []
        size = len(frames)
        for run in runs:
            own = run.frames_by(deflate)
            if run.start < begin:
                own = own[begin - run.start :]
            piece = b"".join(own)
            pieces.append(piece)
            count += len(own)
            if run.sender is not None:
                self.senders.setdefault(run.sender, []).append((size, size + len(piece), len(own)))
            size += len(piece)
        self.whole = Share(b"".join(pieces), count)
        self.end = end

    def without(self, member: M) -> Share:
        """Return the frames that this member did not send itself."""
        spans = self.senders.get(member)
        if spans is None:
            return self.whole
        frames, count = self.whole
        view = memoryview(frames)
        pieces: list[memoryview] = []
        begin = 0
        for start, stop, own in spans:
            pieces.append(view[begin:start])
            begin = stop
            count -= own
        pieces.append(view[begin:])
        return Share(b"".join(pieces), count)


class TickLog(Generic[M]):
    """The publishes that are not yet with all their subscribers.

    Positions count publishes since the server began. Each member has a cursor, kept by the hub: the position of the
    first publish that it has not been given.
    """

    __slots__ = ("_by_name", "_joined", "_joined_bytes", "_plain", "_runs", "compresses", "end", "size", "start")

    def __init__(self) -> None:
        self.start = 0
        """Position of the first publish in the log."""
        self.end = 0
        """Position after the last publish in the log."""
        self.size = 0
        """Bytes in the log, before compression."""
        self.compresses = False
        """Whether the log has publishes that are to be compressed."""
        self._runs: list[Run[M]] = []
        self._plain: Run[M] | None = None
        """The last run, unless it is to be compressed."""
        self._by_name: dict[str, list[Run[M]]] = {}
        self._joined: Final[dict[object, Joined[M]]] = {}
        """By topics (`_names`); for those whose frames are compressed, with the compressor."""
        self._joined_bytes = 0
        """Bytes in all of these."""

    def append(self, topic: Topic[M], frame: bytes, sender: M | None) -> None:
        """Add one publish; `sender`, if given, is not to get it."""
        run = self._plain
        if run is None or run.topic is not topic or run.sender is not sender:
            run = self._add_run(topic, sender, self.end, compress=False)
        run.frames.append(frame)
        self.end += 1
        self.size += len(frame)

    def append_to_compress(self, topic: Topic[M], frame: bytes, sender: M | None) -> None:
        """Add one publish which those members get compressed that have a compressor; `frame` is plain."""
        runs = self._runs
        if self._plain or not runs or (run := runs[-1]).topic is not topic or run.sender is not sender:
            run = self._add_run(topic, sender, self.end, compress=True)
        run.frames.append(frame)
        self.end += 1
        self.size += len(frame)

    def _add_run(self, topic: Topic[M], sender: M | None, start: int, *, compress: bool) -> Run[M]:
        run = Run(topic, sender, start, compress=compress)
        self._plain = None if compress else run
        self.compresses = self.compresses or compress
        self._runs.append(run)
        named = self._by_name.get(topic.name)
        if named is None:
            self._by_name[topic.name] = [run]
        else:
            named.append(run)
        return run

    def forget(self, stop: int) -> None:
        """Forget the publishes before `stop`: every subscriber has them."""
        if stop <= self.start:
            return
        runs = last_runs(self._runs, stop)
        self._runs = []
        self._plain = None
        self.compresses = False
        self._by_name = {}
        self._joined.clear()
        self._joined_bytes = 0
        self.start = stop
        self.size = 0
        for run in runs:
            made = run.compressed
            rest = self._add_run(run.topic, run.sender, max(stop, run.start), compress=made is not None)
            forgotten = rest.start - run.start
            rest.frames.extend(run.frames[forgotten:])
            if made and rest.compressed is not None:
                rest.compressed.update((deflate, frames[forgotten:]) for deflate, frames in made.items())
            self.size += sum(map(len, rest.frames))

    def whole(self) -> tuple[Share, Collection[M]] | None:
        """Return what everybody gets who is to get all of the log, and who gets only a part of that: senders.

        `None` if there is more than one topic, or something to compress.
        """
        if len(self._by_name) != 1 or self.compresses:
            return None
        joined = self._joined.get(None)
        if joined is None or joined.end != self.end:
            joined = self._joined[None] = self._join(None, joined, None)
        return joined.whole, joined.senders

    def reaches(self, count: int) -> bool:
        """Whether the topics in the log have so many members, or more; who is in several counts several times."""
        for runs in self._by_name.values():
            count -= len(runs[-1].topic.members)
            if count <= 0:
                return True
        return count <= 0

    def members(self) -> Collection[M]:
        """Return a snapshot of all members of the topics in the log, each once."""
        topics = dict.fromkeys(run.topic for run in self._runs)
        if len(topics) == 1:
            return tuple(self._runs[0].topic.members)  # at once, not one by one
        return dict.fromkeys(member for topic in topics for member in topic.members)

    def share(self, member: M, topics: dict[str, Topic[M]], cursor: int, deflate: Outbound | None = None) -> Share:
        """Return what this member, subscribed to `topics`, gets of the publishes from `cursor` on.

        `deflate` compresses those that are to be compressed; it must be one without context takeover.
        """
        if cursor > self.start:
            return self._share_from(member, cursor, deflate)
        names = self._names(topics)
        key = names if deflate is None else (names, deflate)
        joined = self._joined.get(key)
        if joined is None or joined.end != self.end:
            joined = self._joined[key] = self._join(names, joined, deflate)
        return joined.without(member)

    def apart(self, member: M, topics: dict[str, Topic[M]], cursor: int) -> list[tuple[bytes, bool]]:
        """Return the plain frames that `share` joins, each with whether it is to be compressed.

        For a member whose compressor has a context: the frames are for it alone, and made only if they will be sent.
        """
        return [
            (frame, run.compressed is not None)
            for run in self._to(self._names(topics), cursor)
            if run.sender is not member
            for frame in run.frames[max(0, cursor - run.start) :]
        ]

    def _names(self, topics: dict[str, Topic[M]]) -> frozenset[str] | None:
        """Return the names of those of `topics` that something was published to, `None` if they are all there are.

        A topic that was left by all and made anew since is another object of the same name; who joined that has its
        cursor behind the publishes to the old one. So names are enough.
        """
        published = self._by_name.keys()
        return None if published <= topics.keys() else frozenset(published & topics.keys())

    def _to(self, names: frozenset[str] | None, begin: int) -> list[Run[M]]:
        """Return the runs to the topics of these names (`None`: to all) that have a publish from `begin` on."""
        if names is None:
            return last_runs(self._runs, begin)
        runs = [run for name in names for run in last_runs(self._by_name[name], begin)]
        if len(names) > 1:
            runs.sort(key=START)
        return runs

    def _join(self, names: frozenset[str] | None, joined: Joined[M] | None, deflate: Outbound | None) -> Joined[M]:
        """Join the publishes to the topics of these names, beginning with what is joined already."""
        if self._joined_bytes > JOINED_BYTES:
            # Subscribers of many combinations of topics must not cost a copy of the log each.
            self._joined.clear()
            self._joined_bytes = 0
            joined = None
        if joined is None:
            joined = Joined(self.start)
        before = len(joined.whole.frames)
        joined.extend(self._to(names, joined.end), self.end, deflate)
        self._joined_bytes += len(joined.whole.frames) - before
        return joined

    def _share_from(self, member: M, cursor: int, deflate: Outbound | None) -> Share:
        """Without sharing the join, for a member that got the beginning of the log already."""
        frames: list[bytes] = []
        for run in last_runs(self._runs, cursor):
            if run.sender is not member and member in run.topic.members:
                frames += run.frames_by(deflate)[max(0, cursor - run.start) :]
        return Share(b"".join(frames), len(frames))


def last_runs(runs: list[Run[M]], begin: int) -> list[Run[M]]:
    """Return those of `runs`, which are in order, that have a publish at position `begin` or after."""
    first = len(runs)
    while first and (run := runs[first - 1]).start + len(run.frames) > begin:
        first -= 1
    return runs[first:]
