"""`serve` and `open_server`: what they take, where they listen, what they own, and what comes out of them.

Whole servers, in memory with a mock clock where a time matters, and on real sockets where the kernel does. What happens
while they run is `test_run.py`'s.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from hello import ECHO, GET, BadListener, Log, chat, connect, hello

from trio_bunws import Server, WebSocketHandler, open_server, serve
from trio_bunws.testing import MemoryListener, RawPeer

if TYPE_CHECKING:
    from pathlib import Path

settled = trio.testing.wait_all_tasks_blocked


# Listening


async def test_serve_returns_its_server_once_it_listens_and_runs_until_stop(nursery: trio.Nursery) -> None:
    server: Server[Any] = await nursery.start(lambda task_status: serve(hello, ECHO, port=0, task_status=task_status))
    assert server.port
    assert (server.hostname, server.url) == ("127.0.0.1", f"http://127.0.0.1:{server.port}/")
    assert type(server.hostname) is str
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    await stream.send_all(GET)
    assert (await stream.receive_some()).endswith(b"\r\n\r\nhello")
    await stream.aclose()
    await server.stop()
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream("127.0.0.1", server.port)


async def test_without_fetch_handshakes_are_upgraded_and_the_rest_gets_426() -> None:
    async with open_server(websocket=ECHO, port=0) as server:
        assert server.port is not None
        await chat(await trio.open_tcp_stream("127.0.0.1", server.port))
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        await stream.send_all(GET)
        assert b" 426 " in await stream.receive_some()
        await stream.aclose()


async def test_a_unix_socket_is_made_served_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with open_server(hello, ECHO, unix=path) as server:
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert (server.url, server.hostname, server.port) == (f"unix://{path}", None, None)
        await chat(await trio.open_unix_socket(str(path)))
    assert not path.exists()


async def test_with_reuse_port_two_servers_share_a_port() -> None:
    async with (
        open_server(hello, ECHO, port=0, reuse_port=True) as one,
        open_server(hello, ECHO, port=one.port or 0, reuse_port=True) as other,
    ):
        assert one.port == other.port
        for _ in range(10):
            await chat(await trio.open_tcp_stream("127.0.0.1", one.port or 0))
    async with open_server(hello, port=0) as one:
        with pytest.raises(OSError, match="in use"):
            await serve(hello, port=one.port or 0)


async def test_listeners_are_served_and_owned() -> None:
    class Listener(MemoryListener):
        closed = 0

        async def aclose(self) -> None:
            self.closed += 1
            await super().aclose()

    listeners = [Listener(), Listener()]
    async with open_server(hello, ECHO, listeners=iter(listeners)) as server:
        assert (server.url, server.hostname, server.port) == ("http://localhost/", None, None)
        for listener in listeners:
            await chat(await listener.connect())
        assert [listener.closed for listener in listeners] == [0, 0]
    assert all(listener.closed for listener in listeners)
    with pytest.raises(trio.BrokenResourceError):
        await listeners[0].connect()


async def test_a_ready_made_tcp_listener_gives_the_address() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with open_server(hello, ECHO, listeners=[listener]) as server:
        assert server.port
        assert server.url == f"http://127.0.0.1:{server.port}/"
        await chat(await trio.open_tcp_stream("127.0.0.1", server.port))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, TypeError, "serve expects fetch, websocket or both"),
        ({"fetch": 1}, TypeError, "serve expects fetch to be a function"),
        ({"fetch": hello, "error": "x"}, TypeError, "serve expects error to be a function"),
        ({"websocket": hello}, TypeError, "serve expects websocket to be a WebSocketHandler"),
        ({"fetch": hello, "hostname": 1}, TypeError, "serve expects hostname to be a string"),
        ({"fetch": hello, "hostname": None}, TypeError, "serve expects hostname to be a string"),
        ({"fetch": hello, "port": "80"}, TypeError, "serve expects port to be an integer"),
        ({"fetch": hello, "port": True}, TypeError, "serve expects port to be an integer"),
        ({"fetch": hello, "port": -1}, ValueError, "serve expects port"),
        ({"fetch": hello, "port": 65536}, ValueError, "serve expects port to be at most 65535"),
        ({"fetch": hello, "unix": 1}, TypeError, "serve expects unix to be a path"),
        ({"fetch": hello, "unix": ""}, ValueError, "serve expects unix to be a non-empty path"),
        ({"fetch": hello, "unix": "x", "port": 3000}, TypeError, "unix or port, not both"),
        ({"fetch": hello, "unix": "x", "hostname": "127.0.0.1"}, TypeError, "unix or hostname, not both"),
        ({"fetch": hello, "reuse_port": 1}, TypeError, "serve expects reuse_port to be a boolean"),
        ({"fetch": hello, "tls": True}, TypeError, "serve expects tls to be an ssl.SSLContext"),
        ({"fetch": hello, "limits": {}}, TypeError, "serve expects limits to be a Limits"),
        ({"fetch": hello, "broker": "redis://x"}, TypeError, "serve expects broker to be a Broker"),
        ({"fetch": hello, "max_request_body_size": -1}, ValueError, "serve expects max_request_body_size"),
        ({"fetch": hello, "idle_timeout": -1}, ValueError, "serve expects idle_timeout"),
        ({"fetch": hello, "idle_timeout": None}, TypeError, "serve expects idle_timeout"),
        ({"fetch": hello, "listeners": []}, ValueError, "at least one listener"),
        ({"fetch": hello, "listeners": 1}, TypeError, "serve expects listeners"),
        ({"fetch": hello, "listeners": ["x"]}, TypeError, "trio.abc.Listener"),
        ({"fetch": hello, "listeners": [], "port": 3000}, TypeError, "listeners or port, not both"),
        ({"fetch": hello, "listeners": [], "unix": "x"}, TypeError, "listeners or unix, not both"),
        ({"fetch": hello, "listeners": [], "hostname": "x", "port": 1}, TypeError, "listeners or hostname and port"),
    ],
)
async def test_a_wrong_argument_raises_and_names_itself(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        await serve(**arguments)
    with pytest.raises(error, match=words):
        async with open_server(**arguments):
            raise AssertionError


# The end


async def test_leaving_the_block_closes_with_1001_and_waits_for_the_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log = Log()
    listener = MemoryListener()

    async def answer(peer: RawPeer) -> None:
        assert await peer.receive_close() == (1001, "Server closed")
        await trio.sleep(3)
        await peer.send_close(1001)

    async with trio.open_nursery() as nursery:
        async with open_server(hello, WebSocketHandler(close=log.close), listeners=[listener]):
            nursery.start_soon(answer, await connect(listener))
        assert log == [(1001, "Server closed")]
        assert autojump_clock.current_time() == 3


async def test_leaving_by_an_exception_closes_too_and_the_exception_comes_out_as_it_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log = Log()
    listener = MemoryListener()
    peers: list[RawPeer] = []
    with pytest.raises(KeyError) as caught:  # noqa: PT012 - the server's end is meant
        async with open_server(hello, WebSocketHandler(close=log.close), listeners=[listener]):
            peers.append(await connect(listener))
            raise KeyError("mine") from ValueError("cause")
    assert isinstance(caught.value.__cause__, ValueError)
    assert await peers[0].receive_close() == (1001, "Server closed")
    assert log == [(1001, "Server closed")]
    assert autojump_clock.current_time() == 10


async def test_a_group_of_the_block_stays_a_group() -> None:
    inner = ExceptionGroup("mine", [KeyError()])
    with pytest.raises(ExceptionGroup) as caught:
        async with open_server(hello, listeners=[MemoryListener()]):
            raise inner
    assert (caught.value.message, caught.value.exceptions) == (inner.message, inner.exceptions)


async def test_a_serve_that_was_cancelled_before_it_began_listens_nowhere() -> None:
    listener = MemoryListener()
    with trio.CancelScope() as scope:
        scope.cancel()
        await serve(hello, listeners=[listener])
    assert scope.cancelled_caught
    with pytest.raises(trio.BrokenResourceError):
        await listener.connect()


async def test_several_failures_come_out_as_a_group() -> None:
    one, other = BadListener(), BadListener()
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the server's end is meant
        async with open_server(hello, listeners=[one, other]):
            await settled()  # both accept, so that neither is cancelled before it fails
            one.fail.set()
            other.fail.set()
            await trio.sleep_forever()
    assert [type(exc) for exc in caught.value.exceptions] == [KeyError, KeyError]
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the server's end is meant
        async with open_server(hello, listeners=[one]):
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("mine")
    assert sorted(type(exc).__name__ for exc in caught.value.exceptions) == ["KeyError", "ValueError"]
