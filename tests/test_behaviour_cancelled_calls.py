"""BEHAVIOUR.md, 0, 3, 20 and 28 to 30: one call or handler of an application, cancelled at every checkpoint.

The connection is none the worse for it: what was accepted arrives once and in order, and nothing is left waiting.
`test_behaviour_cancellation.py` cancels whole connections and servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from cancelling import Steps, cancel_at_every_step
from links import BIG, kernel, lockstep, memory, served
from playground import Socket, settled
from recorder import Recorder, handler_of

from trio_bunws import Limits, WebSocketHandler
from trio_bunws.testing import RawPeer, open_pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from links import Pair

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
LINKS: dict[str, Callable[[], Pair]] = {"memory": memory, "lockstep": lockstep, "kernel": kernel}
LAST = "last"


async def received(peer: RawPeer) -> list[str]:
    """Return the text messages up to `LAST`; large ones by their first letter."""
    messages = []
    while (message := await peer.receive_text()) != LAST:
        messages.append(message if len(message) < 100 else message[0])
    return messages


@pytest.mark.parametrize("link", LINKS)
def test_03_a_send_wait_cancelled_at_any_step_was_sent_once_or_not_at_all(link: str) -> None:
    async def story(steps: Steps) -> None:
        handler: WebSocketHandler[Any] = WebSocketHandler(backpressure_limit=30_000)
        accepted: list[str] = []

        async def send(ws: Socket) -> None:
            with steps.begin():
                for name in "abcd":
                    ws.send(name + " between")
                    accepted.append(name + " between")
                    await ws.send_wait(name * 20_000)
                    accepted.append(name)
            await ws.drained()
            assert ws.get_buffered_amount() == 0
            assert ws.send(LAST) == len(LAST)

        async with served(handler, LINKS[link]) as place:
            ws, peer = await place.pair()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, ws)
                assert await received(peer) == accepted

    assert cancel_at_every_step(story) > 5


@pytest.mark.parametrize("link", LINKS)
def test_00_a_drained_cancelled_at_any_step_changes_nothing(link: str) -> None:
    async def story(steps: Steps) -> None:
        async def wait(ws: Socket) -> None:
            ws.send("a" * 100_000)
            with steps.begin():
                await ws.drained()
                assert ws.get_buffered_amount() == 0
            ws.send("b")
            await ws.drained()
            ws.send(LAST)

        async with served(None, LINKS[link]) as place:
            ws, peer = await place.pair()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait, ws)
                assert await received(peer) == ["a", "b"]

    assert cancel_at_every_step(story) > 1


@pytest.mark.parametrize("how", ["peer closes", "we close", "lost"])
def test_20_waiting_for_the_end_may_be_cancelled_at_any_step(how: str) -> None:
    async def story(steps: Steps) -> None:
        record = Recorder()

        async def wait(ws: Socket) -> None:
            with steps.begin():
                assert (await ws.closed()).code == code
            assert (await ws.closed()).code == code

        async with served(record.handler()) as place:
            ws, peer = await place.pair()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait, ws)
                if how == "peer closes":
                    await peer.send_close(1000)
                elif how == "we close":
                    ws.close(1000)
                    await peer.receive_close()
                    await peer.send_close(1000)
                else:
                    await peer.stream.aclose()
        assert [code for code, _ in record.closes] == [code]

    code = 1006 if how == "lost" else 1000
    assert cancel_at_every_step(story) > 1


@pytest.mark.parametrize("together", [True, False])
def test_20_a_session_whose_reading_is_cancelled_at_any_step_loses_no_message(together: bool) -> None:
    async def story(steps: Steps) -> None:
        heard: list[object] = []

        async def session(ws: Socket) -> None:
            with steps.begin():
                await listen(ws)
            await listen(ws)

        async def listen(ws: Socket) -> None:
            async for message in ws:
                heard.append(message)  # noqa: PERF401 - what was heard must stay when this is cancelled

        async with served(WebSocketHandler(session=session, max_inbox=2)) as place:
            _, peer = await place.pair()
            data = [RawPeer.frame(TEXT, b"%d" % number) for number in range(6)] + [RawPeer.close_frame(1000)]
            for part in [b"".join(data)] if together else data:
                await peer.send(part)
            assert await peer.receive_close() == (1000, "")
            await peer.receive_eof()
        assert heard == ["0", "1", "2", "3", "4", "5"]

    assert cancel_at_every_step(story) > 5


def test_20_starting_a_task_of_the_socket_may_be_cancelled_at_any_step() -> None:
    async def story(steps: Steps) -> None:
        running = 0

        async def task(*, task_status: trio.TaskStatus[str]) -> None:
            nonlocal running
            running += 1
            try:
                await trio.lowlevel.checkpoint()
                task_status.started("value")
                await trio.sleep_forever()
            finally:
                running -= 1

        async with served() as place:
            ws, peer = await place.pair()
            with steps.begin():
                assert await ws.start(task) == "value"
            assert running == (not steps.scope.cancelled_caught)
            ws.send("still here")
            assert await peer.receive_text() == "still here"
            await peer.send_close(1000)
            assert await peer.receive_close() == (1000, "")
        assert running == 0

    assert cancel_at_every_step(story) > 1


@pytest.mark.parametrize("kind", ["open", "message", "drain", "ping", "pong", "close"])
def test_28_an_async_handler_that_is_cancelled_at_any_step_costs_nobody_anything(kind: str) -> None:
    async def story(steps: Steps) -> None:
        calls: list[str] = []
        record = Recorder()

        async def handle(ws: Socket, *_: object) -> None:
            first = not calls
            calls.append("begin")
            with steps.begin() if first else trio.CancelScope():
                ws.send("from the handler")
                if kind == "close":
                    await trio.lowlevel.checkpoint()
                else:
                    await ws.drained()
                await trio.sleep(1)
            calls.append("end")

        async with served(handler_of(**{"message": echo, "close": record.close} | {kind: handle}), lockstep) as place:
            peer = await place.open()
            frames: list[bytes] = []

            async def read() -> None:
                while (frame := await peer.receive()).opcode != CLOSE:
                    frames.append(frame.payload)

            async with trio.open_nursery() as nursery:
                if kind == "drain":
                    await settled()
                    place.sockets[-1].send(BIG)
                    place.sockets[-1].send(BIG)
                nursery.start_soon(read)
                await peer.send(RawPeer.frame(PONG if kind == "pong" else PING, b"answered"))
                await peer.send_text("first")
                await peer.send_text("second")
                await trio.sleep(5)
                await peer.send_close(1000)
            await trio.sleep(5)
        echoed = [b"first", b"second"] if kind != "message" else []
        assert [payload for payload in frames if payload in {b"first", b"second"}] == echoed
        assert frames.count(b"from the handler") == (calls.count("begin") if kind != "close" else 0)
        assert calls == ["begin", "end"] * (2 if kind == "message" else calls.count("end"))
        assert kind == "close" or record.closes == [(1000, "")]

    assert cancel_at_every_step(story) > 1


def echo(ws: Socket, message: str | bytes) -> None:
    ws.send(message)


@pytest.mark.parametrize("method", ["stop", "stop(True)"])
def test_30_awaiting_stop_may_be_cancelled_at_any_step(method: str) -> None:
    async def story(steps: Steps) -> None:
        record = Recorder()
        async with served(record.handler()) as place:
            _, peer = await place.pair()

            async def answer() -> None:
                if method == "stop(True)":
                    assert await peer.receive_close() == (1001, "Server closed")
                await peer.send_close(1000)
                if method == "stop":
                    assert await peer.receive_close() == (1000, "")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer)
                with steps.begin():
                    await place.server.stop(method == "stop(True)")
            await place.server.stop(method == "stop(True)")
            assert place.server.pending_websockets == 0
        assert len(record.closes) == 1

    assert cancel_at_every_step(story) > 1


def test_a_client_whose_block_is_cancelled_at_any_step_leaves_nothing() -> None:
    async def story(steps: Steps) -> None:
        record = Recorder()
        with steps.begin():
            async with open_pair(record.handler(message=echo), limits=Limits(close_timeout=1)) as (_, client):
                client.send("one")
                assert await client.receive() == "one"
                await client.send_wait("two")
                await client.drained()
                assert await client.receive() == "two"
        assert len(record.closes) == len(record.sockets) <= 1

    assert cancel_at_every_step(story) > 20
