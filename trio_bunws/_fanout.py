"""The publishes of one scheduler tick, and each subscriber's share of them as one piece of bytes.

Pure data: no task, no socket, no writing; `_hub.py` fills it and hands the shares out. A publish is appended once; what
all subscribers of the same topics get is joined once and shared; a sender's share is cut out of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection

    from trio_bunws._topics import Topic

M = TypeVar("M")


class Share(NamedTuple):
    """What one subscriber gets: the joined frames, and how many they are."""

    frames: bytes
    messages: int


class Run(Generic[M]):
    """Publishes that follow one another, to one topic and with one excluded sender."""

    __slots__ = ("frames", "sender", "start", "topic")

    def __init__(self, topic: Topic[M], sender: M | None, start: int) -> None:
        self.topic: Final = topic
        self.sender: Final = sender
        self.start: Final = start
        """Position in the log of the first frame."""
        self.frames: Final[list[bytes]] = []


class Joined(Generic[M]):
    """The frames of some runs as one piece, from which a sender's own can be cut out."""

    __slots__ = ("_spans", "end", "whole")

    def __init__(self, runs: list[Run[M]], end: int) -> None:
        self.end: Final = end
        """Position in the log up to which this holds."""
        self._spans: dict[M, list[tuple[int, int, int]]] = {}
        pieces: list[bytes] = []
        size = count = 0
        for run in runs:
            piece = b"".join(run.frames)
            pieces.append(piece)
            count += len(run.frames)
            if run.sender is not None:
                self._spans.setdefault(run.sender, []).append((size, size + len(piece), len(run.frames)))
            size += len(piece)
        self.whole: Final = Share(pieces[0] if len(pieces) == 1 else b"".join(pieces), count)

    def without(self, member: M) -> Share:
        """Return the frames that this member did not send itself."""
        spans = self._spans.get(member)
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

    __slots__ = ("_joined", "_names", "_runs", "end", "size", "start")

    def __init__(self) -> None:
        self.start = 0
        """Position of the first publish in the log."""
        self.end = 0
        """Position after the last publish in the log."""
        self.size = 0
        """Bytes in the log."""
        self._runs: list[Run[M]] = []
        self._names: frozenset[str] = frozenset()
        self._joined: dict[frozenset[str], Joined[M]] = {}

    def append(self, topic: Topic[M], frame: bytes, sender: M | None) -> None:
        """Add one publish; `sender`, if given, is not to get it."""
        runs = self._runs
        if not runs or (run := runs[-1]).topic is not topic or run.sender is not sender:
            run = Run(topic, sender, self.end)
            runs.append(run)
            if topic.name not in self._names:
                self._names |= {topic.name}
        run.frames.append(frame)
        self.end += 1
        self.size += len(frame)

    def forget(self, stop: int) -> None:
        """Forget the publishes before `stop`: every subscriber has them."""
        if stop <= self.start:
            return
        later: list[Run[M]] = []
        for run in self._runs if stop < self.end else ():
            frames = run.frames[max(0, stop - run.start) :]
            if frames:
                rest = Run(run.topic, run.sender, max(stop, run.start))
                rest.frames.extend(frames)
                later.append(rest)
        self._runs = later
        self._names = frozenset(run.topic.name for run in later)
        self._joined.clear()
        self.start = stop
        self.size = sum(len(frame) for run in later for frame in run.frames)

    def members(self) -> Collection[M]:
        """Return a snapshot of all members of the topics in the log, each once."""
        topics = dict.fromkeys(run.topic for run in self._runs)
        return dict.fromkeys(member for topic in topics for member in topic.members)

    def share(self, member: M, topics: dict[str, Topic[M]], cursor: int) -> Share:
        """Return what this member, subscribed to `topics`, gets of the publishes from `cursor` on."""
        if cursor > self.start:
            return self._share_from(member, cursor)
        # A topic that was left by all and made anew since is another object of the same name; who joined that has
        # its cursor behind the publishes to the old one. So names are enough here.
        names = self._names
        if not names <= topics.keys():
            names = frozenset(names & topics.keys())
        joined = self._joined.get(names)
        if joined is None or joined.end != self.end:
            joined = Joined([run for run in self._runs if run.topic.name in names], self.end)
            self._joined[names] = joined
        return joined.without(member)

    def _share_from(self, member: M, cursor: int) -> Share:
        """Without sharing the join, for a member that got the beginning of the log already."""
        runs: list[list[bytes]] = []
        for run in reversed(self._runs):
            if run.sender is not member and member in run.topic.members:
                runs.append(run.frames[max(0, cursor - run.start) :])
            if run.start <= cursor:
                break
        frames = [frame for run_frames in reversed(runs) for frame in run_frames]
        return Share(b"".join(frames), len(frames))
