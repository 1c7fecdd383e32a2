"""A user's stream that raises, whatever it likes, from any of its methods, at any call of them.

After each failure the close handler has run once, and neither a topic, a task nor a count is left; nothing comes out of
the server, and what a stream must not raise is logged where it tells of a mistake.
"""

# ruff: noqa: ARG001 - a clock is asked for so that time jumps

from __future__ import annotations

import errno
import logging

import pytest
import trio
from faults import LIMITS, Watch
from playground import settled
from trio.testing import MockClock, memory_stream_pair

from trio_bunws import open_server
from trio_bunws.testing import MemoryListener, RawPeer

TEXT, PING = 1, 9
FAILURES = [
    trio.BrokenResourceError("injected"),
    trio.ClosedResourceError("injected"),
    trio.BusyResourceError("injected"),
    trio.TooSlowError("injected"),
    OSError(errno.ECONNRESET, "injected"),
    OSError(errno.ENOBUFS, "injected"),
    BrokenPipeError(errno.EPIPE, "injected"),
    EOFError("injected"),
    ValueError("injected"),
    RuntimeError("injected"),
    AssertionError("injected"),
    ExceptionGroup("injected", [ValueError("injected")]),
]


class Failing(trio.abc.Stream):
    """A stream in memory, one method of which raises from its so many-th call on."""

    def __init__(self, stream: trio.abc.Stream, method: str, failure: Exception, after: int) -> None:
        self._stream = stream
        self._method = method
        self._failure = failure
        self._after = after
        self.closed = False

    def _called(self, method: str) -> None:
        if method == self._method:
            self._after -= 1
            if self._after < 0:
                raise self._failure

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self._called("send_all")
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        self._called("receive_some")
        data = await self._stream.receive_some(max_bytes)
        self._called("received")  # when it has waited
        return data

    async def aclose(self) -> None:
        self.closed = True
        try:
            self._called("aclose")
        finally:
            await self._stream.aclose()


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: f"{type(failure).__name__} {failure.args[0]}")
@pytest.mark.parametrize("method", ["send_all", "receive_some", "received", "aclose"])
async def test_whatever_a_stream_raises_and_whenever_is_a_lost_connection(
    method: str, failure: Exception, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[Failing] = []
    after = 0

    def link() -> tuple[trio.abc.Stream, trio.abc.Stream]:
        ours, theirs = memory_stream_pair()
        made.append(Failing(theirs, method, failure, after))
        return ours, made[-1]

    watch = Watch()
    listener = MemoryListener(link)
    async with open_server(watch.fetch, watch.handler(), listeners=[listener], limits=LIMITS) as server:
        for after in range(7):  # noqa: B007 - of the next link
            await settled()
            watch.begin()
            peer = RawPeer(await listener.connect())
            for data in (
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                RawPeer.request(),
                RawPeer.frame(TEXT, b"one"),
                RawPeer.frame(TEXT, b"two") + RawPeer.frame(PING),
                RawPeer.close_frame(4000),
            ):
                try:
                    await peer.send(data)
                except trio.BrokenResourceError:
                    break
                await settled()
            await trio.aclose_forcefully(peer.stream)
            await watch.gone(server)
            assert made[-1].closed
    assert len(made) == 7
    assert {code for _, code, _ in watch.closes} <= {1006, 4000}
    assert len(watch.sockets) >= 3
    assert "Traceback" not in "".join(record.getMessage() for record in caplog.records)
    levels = {record.levelno for record in caplog.records if record.name.startswith("trio_bunws")}
    assert (max(levels, default=0) >= logging.ERROR) is (
        method == "aclose" and not isinstance(failure, (trio.BrokenResourceError, trio.ClosedResourceError))
    )
