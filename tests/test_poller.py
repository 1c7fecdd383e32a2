"""Reading by one epoll object: who is handed what, when the reading task is resumed, and how everything ends.

Covers `trio_bunws._poller` alone, with pairs of kernel sockets. What a kernel does only by chance is a fake of it.
"""

# ruff: noqa: ARG001 - a clock is asked for so that no turn is over by chance

from __future__ import annotations

import select
import socket
from contextlib import asynccontextmanager
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, cast

import pytest
import trio
from kernel_pairs import tcp_pair
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_bunws._poller import READ_SIZE, TURN, Poller, make_poller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from pathlib import Path

who: ContextVar[str] = ContextVar("who", default="nobody")


class Reader:
    """Writes down what it is handed, as ``name:data``, and when it is flushed; takes part in a shared log."""

    def __init__(self, name: str, log: list[str], on_data: Callable[[bytes], bool] = lambda _: True) -> None:
        self.name = name
        self.log = log
        self.on_data = on_data

    def absorb(self, data: bytes) -> bool:
        self.log.append(f"{self.name}:{data.decode() if len(data) < 100 else len(data)}")
        return self.on_data(data)

    def flush(self) -> None:
        self.log.append(f"{self.name} flushed")


class Holding:
    """Writes down when it is to hold and to settle, by the length of a log."""

    def __init__(self, log: list[str]) -> None:
        self._log = log
        self.holds = False
        self.turns: list[tuple[int, int]] = []
        """From where to where in the log something was held."""

    def hold(self) -> None:
        assert not self.holds
        self.holds = True
        self._begin = len(self._log)

    def settle(self) -> None:
        if self.holds:
            self.turns.append((self._begin, len(self._log)))
        self.holds = False


class Pair:
    """A socket that a poller watches, and its peer."""

    def __init__(self, poller: Poller, ends: tuple[socket.socket, socket.socket]) -> None:
        self.socket, self.peer = ends
        self.socket.setblocking(False)
        self.peer.setblocking(False)
        self.watch = poller.watch(self.socket)

    def close(self) -> None:
        self.watch.forget()
        self.socket.close()
        self.peer.close()


class Pairs:
    """Pairs of one running poller, closed at the end of the test."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.holding = Holding(self.log)
        self.poller = Poller(self.holding)
        self.pairs: list[Pair] = []
        self.scope = trio.CancelScope()

    def new(self, ends: tuple[socket.socket, socket.socket] | None = None) -> Pair:
        pair = Pair(self.poller, ends or socket.socketpair())
        self.pairs.append(pair)
        return pair

    async def run(self) -> None:
        with self.scope:
            await self.poller.run()

    async def run_until(self, kind: type[BaseException]) -> None:
        with pytest.raises(kind):
            await self.poller.run()


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    made = Pairs()
    yield made
    for pair in made.pairs:
        pair.close()


@asynccontextmanager
async def running(pairs: Pairs) -> AsyncGenerator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pairs.run)
        await wait_all_tasks_blocked()
        yield nursery
        nursery.cancel_scope.cancel()


class Waiting:
    """A task that waits once, and what came of it."""

    def __init__(self, pair: Pair, reader: Reader | None = None) -> None:
        self.pair = pair
        self.reader = reader
        self.scope = trio.CancelScope()
        self.outcome: bool | BaseException | None = None

    async def run(self) -> None:
        with self.scope:
            try:
                self.outcome = await self.pair.watch.wait(self.reader)
            except (ValueError, KeyboardInterrupt, trio.BrokenResourceError) as exc:
                self.outcome = exc


async def wait(nursery: trio.Nursery, pair: Pair, reader: Reader | None = None) -> Waiting:
    waiting = Waiting(pair, reader)
    nursery.start_soon(waiting.run)
    await wait_all_tasks_blocked()
    return waiting


async def test_a_reader_is_handed_what_arrives_and_its_task_sleeps_on(pairs: Pairs) -> None:
    async with running(pairs) as nursery:
        pair = pairs.new()
        waiting = await wait(nursery, pair, Reader("a", pairs.log))
        for data in (b"one", b"two"):
            pair.peer.send(data)
            await wait_all_tasks_blocked()
        assert pairs.log == ["a:one", "a flushed", "a:two", "a flushed"]
        assert waiting.outcome is None


async def test_everybody_is_flushed_after_the_last_one_was_read(pairs: Pairs, mock_clock: MockClock) -> None:
    async with running(pairs) as nursery:
        both = [pairs.new(), pairs.new()]
        for name, pair in zip("ab", both, strict=True):
            await wait(nursery, pair, Reader(name, pairs.log))
        for pair in both:
            pair.peer.send(b"x")
        await wait_all_tasks_blocked()
        assert sorted(pairs.log[:2]) == ["a:x", "b:x"]
        assert sorted(pairs.log[2:]) == ["a flushed", "b flushed"]
        assert pairs.holding.turns[-1] == (0, 4)


async def test_a_task_without_a_reader_is_woken_to_read_by_itself(pairs: Pairs) -> None:
    async with running(pairs) as nursery:
        pair = pairs.new()
        waiting = await wait(nursery, pair)
        pair.peer.send(b"x")
        await wait_all_tasks_blocked()
        assert waiting.outcome is False
        assert pair.socket.recv(10) == b"x"


async def test_what_came_before_the_wait_is_not_waited_for(pairs: Pairs) -> None:
    async with running(pairs) as nursery:
        pair = pairs.new()
        pair.peer.send(b"x")
        await wait_all_tasks_blocked()
        waiting = await wait(nursery, pair, Reader("a", pairs.log))
        assert waiting.outcome is False
        assert pairs.log == []


async def test_a_refusal_wakes_the_readers_task(pairs: Pairs) -> None:
    async with running(pairs) as nursery:
        pair = pairs.new()
        waiting = await wait(nursery, pair, Reader("a", pairs.log, lambda _: False))
        pair.peer.send(b"x")
        await wait_all_tasks_blocked()
        assert waiting.outcome is True
        assert pairs.log == ["a:x", "a flushed"]
        again = await wait(nursery, pair)
        assert again.outcome is None


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
async def test_what_a_reader_raises_comes_out_of_its_own_task_and_harms_nobody_else(
    pairs: Pairs, error: BaseException
) -> None:
    def fail(_: bytes) -> bool:
        raise error

    async with running(pairs) as nursery:
        pair, other = pairs.new(), pairs.new()
        waiting = await wait(nursery, pair, Reader("a", pairs.log, fail))
        await wait(nursery, other, Reader("b", pairs.log))
        pair.peer.send(b"x")
        other.peer.send(b"y")
        await wait_all_tasks_blocked()
        assert waiting.outcome is error
        assert "b:y" in pairs.log
        assert "a flushed" in pairs.log


async def test_what_a_reader_raises_is_not_lost_when_it_cancels_its_task_too(pairs: Pairs) -> None:
    def fail(_: bytes) -> bool:
        waiting.scope.cancel()
        raise KeyboardInterrupt

    async with running(pairs) as nursery:
        pair = pairs.new()
        waiting = await wait(nursery, pair, Reader("a", pairs.log, fail))
        pair.peer.send(b"x")
        await wait_all_tasks_blocked()
        assert isinstance(waiting.outcome, KeyboardInterrupt)


async def test_a_reader_runs_in_its_tasks_context(pairs: Pairs) -> None:
    seen: list[str] = []

    def look(_: bytes) -> bool:
        seen.append(who.get())
        return True

    async with running(pairs) as nursery:
        pair = pairs.new()
        who.set("the connection")
        await wait(nursery, pair, Reader("a", pairs.log, look))
        pair.peer.send(b"x")
        await wait_all_tasks_blocked()
        assert seen == ["the connection"]


async def test_the_end_of_the_stream_is_for_the_task_to_read(pairs: Pairs) -> None:
    async with running(pairs) as nursery:
        pair = pairs.new()
        waiting = await wait(nursery, pair, Reader("a", pairs.log))
        pair.peer.send(b"last")
        pair.peer.close()
        await wait_all_tasks_blocked()
        assert (waiting.outcome, pair.watch.ended, pairs.log) == (False, True, [])
        assert (pair.socket.recv(10), pair.socket.recv(10)) == (b"last", b"")


class OddSocket:
    """A socket whose reads are made up; everything else is a real one's."""

    def __init__(self, real: socket.socket, *reads: bytes | OSError) -> None:
        self._real = real
        self._reads = list(reads)

    def fileno(self) -> int:
        return self._real.fileno()

    def recv_into(self, buffer: memoryview, size: int) -> int:
        self._real.recv_into(buffer, size)
        read = self._reads.pop(0)
        if isinstance(read, OSError):
            raise read
        buffer[: len(read)] = read
        return len(read)


def odd(pair: Pair, poller: Poller, *reads: bytes | OSError) -> None:
    pair.watch.forget()
    pair.watch = poller.watch(cast("socket.socket", OddSocket(pair.socket, *reads)))


async def test_an_end_that_came_after_the_poll_is_for_the_task_to_read(pairs: Pairs) -> None:
    async with running(pairs) as nursery:
        pair = pairs.new()
        odd(pair, pairs.poller, b"")
        waiting = await wait(nursery, pair, Reader("a", pairs.log))
        pair.peer.send(b"x")
        await wait_all_tasks_blocked()
        assert (waiting.outcome, pair.watch.ended, pairs.log) == (False, True, [])


async def test_readiness_with_nothing_to_read_is_waited_out(pairs: Pairs) -> None:
    async with running(pairs) as nursery:
        pair = pairs.new()
        odd(pair, pairs.poller, BlockingIOError(), b"y")
        waiting = await wait(nursery, pair, Reader("a", pairs.log))
        for _ in range(2):
            pair.peer.send(b"x")
            await wait_all_tasks_blocked()
        assert [entry for entry in pairs.log if "flushed" not in entry] == ["a:y"]
        assert waiting.outcome is None


async def test_a_lost_connection_is_the_tasks_to_know(pairs: Pairs) -> None:
    async with running(pairs) as nursery:
        pair = pairs.new()
        odd(pair, pairs.poller, ConnectionResetError("reset"))
        waiting = await wait(nursery, pair, Reader("a", pairs.log))
        pair.peer.send(b"x")
        await wait_all_tasks_blocked()
        assert isinstance(waiting.outcome, trio.BrokenResourceError)
        assert str(waiting.outcome) == "reset"


def lines(peer: socket.socket, count: int) -> None:
    """Send so many full reads."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * READ_SIZE)
    for _ in range(count):
        assert peer.send(bytes(READ_SIZE)) == READ_SIZE


async def test_a_flood_is_read_once_a_turn_so_that_others_have_theirs(pairs: Pairs, mock_clock: MockClock) -> None:
    async with running(pairs) as nursery:
        flood, other = pairs.new(), pairs.new()

        def answer(_: bytes) -> bool:
            if len(pairs.log) == 1:
                other.peer.send(b"y")
            return True

        await wait(nursery, flood, Reader("a", pairs.log, answer))
        await wait(nursery, other, Reader("b", pairs.log))
        lines(flood.peer, 2)
        flood.peer.send(b"rest")
        await wait_all_tasks_blocked()
        reads = [entry for entry in pairs.log if "flushed" not in entry]
        assert reads[0] == f"a:{READ_SIZE}"
        assert sorted(reads[1:3]) == [f"a:{READ_SIZE}", "b:y"]
        assert reads[3:] == ["a:rest"]


async def test_what_follows_urgent_data_is_handed_over_without_waiting_for_more(pairs: Pairs) -> None:
    done = trio.Event()

    def note(_: bytes) -> bool:
        if "a:after" in pairs.log:
            done.set()
        return True

    async with running(pairs) as nursery:
        pair = pairs.new(tcp_pair())
        waiting = await wait(nursery, pair, Reader("a", pairs.log, note))
        pair.peer.send(b"before")
        pair.peer.send(b"!", socket.MSG_OOB)
        pair.peer.send(b"after")
        with trio.fail_after(10):
            await done.wait()
        assert [entry for entry in pairs.log if "flushed" not in entry] == ["a:before", "a:after"]
        assert (waiting.outcome, pair.watch.ended) == (None, False)


async def test_others_run_after_a_millisecond_of_reading(pairs: Pairs, mock_clock: MockClock) -> None:
    async def other() -> None:
        assert not pairs.holding.holds
        pairs.log.append("another task")

    async with running(pairs) as nursery:

        def slow(_: bytes) -> bool:
            if len(pairs.log) == 1:
                nursery.start_soon(other)
            mock_clock.jump(2 * TURN)
            return True

        for name in "abc":
            pair = pairs.new()
            await wait(nursery, pair, Reader(name, pairs.log, slow))
        for pair in pairs.pairs:
            pair.peer.send(b"x")
        await wait_all_tasks_blocked()
        # Each answer left at once, and before the last one was read, the other task had run.
        for name in "abc":
            assert pairs.log[pairs.log.index(f"{name}:x") + 1] == f"{name} flushed"
        assert pairs.log.index("another task") < max(pairs.log.index(f"{name}:x") for name in "abc")
        # What each has sent to others had left too.
        turns = [pairs.log[begin:end] for begin, end in pairs.holding.turns if begin != end]
        assert sorted(turns) == [[f"{name}:x", f"{name} flushed"] for name in "abc"]


async def test_what_was_held_is_settled_also_when_a_flush_fails(pairs: Pairs) -> None:
    class Failing(Reader):
        def flush(self) -> None:
            raise KeyboardInterrupt

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pairs.run_until, KeyboardInterrupt)
        pair = pairs.new()
        await wait(nursery, pair, Failing("a", pairs.log))
        pair.peer.send(b"x")
    assert (pairs.holding.holds, pairs.holding.turns[-1]) == (False, (0, 1))
    assert pairs.poller.served == []


async def test_what_was_held_is_settled_also_when_no_task_can_be_started(pairs: Pairs) -> None:
    def fail() -> None:
        raise RuntimeError("the nursery is closed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pairs.run_until, RuntimeError)
        pair = pairs.new()
        reader = Reader("a", pairs.log, lambda _: False)
        assert pair.watch.attend(reader, copy_context(), fail)
        pair.peer.send(b"x")
    # What was read before has its answer.
    assert (pairs.holding.holds, pairs.log) == (False, ["a:x", "a flushed"])


async def test_a_cancelled_wait_gets_nothing_any_more_and_loses_nothing(pairs: Pairs) -> None:
    async with running(pairs) as nursery:
        pair = pairs.new()
        waiting = await wait(nursery, pair, Reader("a", pairs.log))
        waiting.scope.cancel()
        await wait_all_tasks_blocked()
        pair.peer.send(b"x")
        await wait_all_tasks_blocked()
        assert (waiting.scope.cancelled_caught, pairs.log) == (True, [])
        assert await pair.watch.wait() is False
        assert pair.socket.recv(10) == b"x"


async def test_a_wait_without_waiting_is_a_checkpoint_too(pairs: Pairs) -> None:
    async with running(pairs):
        pair = pairs.new()
        pair.peer.send(b"x")
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await pair.watch.wait()
        assert scope.cancelled_caught


async def test_forgetting_a_socket_wakes_who_waits_for_it(pairs: Pairs) -> None:
    async with running(pairs) as nursery:
        pair = pairs.new()
        waiting = await wait(nursery, pair, Reader("a", pairs.log))
        pair.watch.forget()
        pair.watch.forget()
        await wait_all_tasks_blocked()
        assert waiting.outcome is False


async def test_a_socket_forgotten_by_its_own_reader_is_not_served_again(pairs: Pairs) -> None:
    async with running(pairs) as nursery:
        pair = pairs.new()

        def forget(_: bytes) -> bool:
            pair.watch.forget()
            return True

        waiting = await wait(nursery, pair, Reader("a", pairs.log, forget))
        lines(pair.peer, 2)
        await wait_all_tasks_blocked()
        assert pairs.log == [f"a:{READ_SIZE}", "a flushed"]
        assert waiting.outcome is False


async def test_without_its_poller_a_socket_is_waited_for_by_trio(pairs: Pairs) -> None:
    async with running(pairs) as nursery:
        pair = pairs.new()
        waiting = await wait(nursery, pair, Reader("a", pairs.log))
        pairs.scope.cancel()
        await wait_all_tasks_blocked()
        assert waiting.outcome is False
        late = pairs.new()
        for one in (pair, late):
            by_trio = await wait(nursery, one, Reader("a", pairs.log))
            assert by_trio.outcome is None
            one.peer.send(b"x")
            await wait_all_tasks_blocked()
            assert by_trio.outcome is False
        assert pairs.log == []


class Attended:
    """A reader without a task, until it is roused."""

    def __init__(self, pair: Pair, reader: Reader) -> None:
        self.pair = pair
        self.reader = reader
        self.roused: list[str] = []
        self.accepted = self.attend()

    def attend(self) -> bool:
        context = copy_context()
        context.run(who.set, self.reader.name)
        return self.pair.watch.attend(self.reader, context, lambda: self.roused.append(who.get()))


async def test_a_reader_without_a_task_is_handed_what_arrives_in_its_context(pairs: Pairs) -> None:
    seen: list[str] = []

    def look(_: bytes) -> bool:
        seen.append(who.get())
        return True

    async with running(pairs):
        attended = Attended(pairs.new(), Reader("a", pairs.log, look))
        for data in (b"one", b"two"):
            attended.pair.peer.send(data)
            await wait_all_tasks_blocked()
        assert pairs.log == ["a:one", "a flushed", "a:two", "a flushed"]
        assert seen == ["a", "a"]
        assert attended.roused == []


async def test_what_is_more_than_one_read_is_handed_to_a_reader_without_a_task(pairs: Pairs) -> None:
    async with running(pairs):
        attended = Attended(pairs.new(), Reader("a", pairs.log))
        lines(attended.pair.peer, 1)
        attended.pair.peer.send(b"rest")
        await wait_all_tasks_blocked()
        assert [entry for entry in pairs.log if "flushed" not in entry] == [f"a:{READ_SIZE}", "a:rest"]


async def test_a_refusal_rouses_a_reader_once_in_its_context(pairs: Pairs) -> None:
    async with running(pairs) as nursery:
        attended = Attended(pairs.new(), Reader("a", pairs.log, lambda _: False))
        for _ in range(2):
            attended.pair.peer.send(b"x")
            await wait_all_tasks_blocked()
        assert attended.roused == ["a"]
        assert pairs.log == ["a:x", "a flushed"]
        assert attended.pair.watch.outcome() is True
        assert attended.pair.watch.outcome() is False
        # What came since is for its task, which waits by itself now.
        waiting = await wait(nursery, attended.pair)
        assert waiting.outcome is False
        assert attended.pair.socket.recv(10) == b"x"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
async def test_what_a_reader_without_a_task_raises_is_its_outcome(pairs: Pairs, error: BaseException) -> None:
    def fail(_: bytes) -> bool:
        attended.pair.watch.rouse()  # within the reader, as when it aborts its connection
        raise error

    async with running(pairs):
        attended = Attended(pairs.new(), Reader("a", pairs.log, fail))
        attended.pair.peer.send(b"x")
        await wait_all_tasks_blocked()
        assert attended.roused == ["a"]
        with pytest.raises(type(error)):
            attended.pair.watch.outcome()
        assert attended.pair.watch.outcome() is False


async def test_a_reader_may_give_its_place_to_another(pairs: Pairs) -> None:
    second = Reader("b", pairs.log)

    def give(_: bytes) -> bool:
        attended.reader = second
        return attended.attend()

    async with running(pairs):
        attended = Attended(pairs.new(), Reader("a", pairs.log, give))
        for data in (b"one", b"two"):
            attended.pair.peer.send(data)
            await wait_all_tasks_blocked()
        assert pairs.log == ["a:one", "a flushed", "b:two", "b flushed"]
        attended.pair.watch.forget()
        assert attended.roused == ["b"]


async def test_the_end_of_the_stream_rouses_a_reader(pairs: Pairs) -> None:
    async with running(pairs):
        attended = Attended(pairs.new(), Reader("a", pairs.log))
        attended.pair.peer.send(b"last")
        attended.pair.peer.close()
        await wait_all_tasks_blocked()
        assert (attended.roused, attended.pair.watch.ended, pairs.log) == (["a"], True, [])


async def test_a_lost_connection_rouses_a_reader_which_finds_out_by_itself(pairs: Pairs) -> None:
    async with running(pairs):
        pair = pairs.new()
        odd(pair, pairs.poller, ConnectionResetError("reset"))
        attended = Attended(pair, Reader("a", pairs.log))
        pair.peer.send(b"x")
        await wait_all_tasks_blocked()
        assert attended.roused == ["a"]
        assert pair.watch.outcome() is False


async def test_the_end_of_the_poller_rouses_all_readers(pairs: Pairs) -> None:
    async with running(pairs):
        attended = Attended(pairs.new(), Reader("a", pairs.log))
        pairs.scope.cancel()
        await wait_all_tasks_blocked()
        assert (attended.accepted, attended.roused) == (True, ["a"])
        late = Attended(pairs.new(), Reader("b", pairs.log))
        assert (late.accepted, late.roused) == (False, [])


async def test_where_there_is_something_to_read_a_reader_needs_its_task(pairs: Pairs) -> None:
    async with running(pairs):
        pair = pairs.new()
        pair.peer.send(b"x")
        await wait_all_tasks_blocked()
        attended = Attended(pair, Reader("a", pairs.log))
        pair.peer.send(b"y")
        await wait_all_tasks_blocked()
        assert (attended.accepted, attended.roused, pairs.log) == (False, [], [])
        assert await pair.watch.wait() is False
        assert pair.socket.recv(10) == b"xy"


async def test_what_epoll_does_not_take_is_waited_for_by_trio(pairs: Pairs, tmp_path: Path) -> None:
    async with running(pairs):
        with (tmp_path / "file").open("wb") as file:
            watch = pairs.poller.watch(cast("socket.socket", file))
            assert not watch.attend(Reader("a", pairs.log), copy_context(), lambda: None)
            watch.forget()


def test_where_there_is_no_epoll_there_is_no_poller(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_poller(Holding([])), Poller)
    monkeypatch.delattr(select, "epoll")
    assert make_poller(Holding([])) is None
