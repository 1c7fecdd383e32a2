"""`trio_bunws.testing.RawPeer` alone, against bytes written by hand and frames made by wsproto."""

from __future__ import annotations

import pytest
import trio
import trio.testing
import wsproto.connection
import wsproto.events
from hypothesis import given, strategies as st

from trio_bunws.testing import Frame, RawPeer


def pair() -> tuple[RawPeer, trio.abc.Stream]:
    ours, theirs = trio.testing.memory_stream_pair()
    return RawPeer(ours), theirs


@given(payload=st.binary(max_size=300), mask=st.binary(min_size=4, max_size=4))
def test_a_masked_frame_is_what_wsproto_understands(payload: bytes, mask: bytes) -> None:
    server = wsproto.connection.Connection(wsproto.connection.ConnectionType.SERVER)
    server.receive_data(RawPeer.frame(2, payload, mask=mask))
    assert [event.data for event in server.events() if isinstance(event, wsproto.events.BytesMessage)] == [payload]


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
async def test_frames_of_every_length_form_are_received(size: int) -> None:
    peer, server = pair()
    payload = b"x" * size
    await server.send_all(RawPeer.frame(1, payload, fin=False, rsv=4, mask=None))
    assert await peer.receive() == Frame(1, payload, fin=False, rsv=4)


async def test_a_masked_frame_of_a_server_is_an_error() -> None:
    peer, server = pair()
    await server.send_all(RawPeer.frame(1, b"x"))
    with pytest.raises(AssertionError, match="must not mask"):
        await peer.receive()


async def test_what_is_sent_arrives_as_it_is() -> None:
    peer, server = pair()
    await peer.send(b"raw")
    await peer.send_text("text")
    await peer.send_binary(b"\x00")
    await peer.send_close()
    await peer.send_close(1000, "bye")
    expected = (
        b"raw"
        + RawPeer.frame(1, b"text")
        + RawPeer.frame(2, b"\x00")
        + RawPeer.frame(8)
        + RawPeer.frame(8, b"\x03\xe8bye")
    )
    assert await server.receive_some() == expected


async def test_upgrade_returns_the_headers_of_the_101() -> None:
    peer, server = pair()
    await server.send_all(b"HTTP/1.1 101 Switching Protocols\r\nSet-Cookie: a=1\r\nX: 1\r\nset-cookie: b=2\r\n\r\nrest")
    headers = await peer.upgrade("/path?x=1", [("X-Asked", "yes")])
    assert headers == {"set-cookie": "a=1, b=2", "x": "1"}
    assert await peer.receive_exactly(4) == b"rest"
    request = bytes(await server.receive_some())
    assert request.startswith(b"GET /path?x=1 HTTP/1.1\r\nHost: localhost\r\n")
    assert b"\r\nX-Asked: yes\r\n" in request


async def test_another_answer_than_101_is_an_error_that_shows_it() -> None:
    peer, server = pair()
    await server.send_all(b"HTTP/1.1 404 Not Found\r\n\r\n")
    with pytest.raises(AssertionError, match="404 Not Found"):
        await peer.upgrade()


async def test_texts_and_closes_are_told_from_other_frames() -> None:
    peer, server = pair()
    for frame in [RawPeer.frame(1, b"hi", mask=None), RawPeer.frame(2, b"hi", mask=None)]:
        await server.send_all(frame)
    assert await peer.receive_text() == "hi"
    with pytest.raises(AssertionError, match="opcode=2"):
        await peer.receive_text()
    for payload in [b"", b"\x03\xe8bye"]:
        await server.send_all(RawPeer.frame(8, payload, mask=None))
    assert await peer.receive_close() == (1005, "")
    assert await peer.receive_close() == (1000, "bye")
    await server.send_all(RawPeer.frame(9, b"", mask=None))
    with pytest.raises(AssertionError, match="opcode=9"):
        await peer.receive_close()


async def test_the_end_of_the_stream_is_told_from_bytes() -> None:
    peer, server = pair()
    await server.send_all(b"ab")
    with pytest.raises(AssertionError, match="ab"):
        await peer.receive_eof()
    with pytest.raises(AssertionError, match="ab"):
        await peer.receive_eof()
    assert await peer.receive_exactly(2) == b"ab"
    await server.aclose()
    await peer.receive_eof()
    with pytest.raises(EOFError, match="with these bytes before"):
        await peer.receive()


async def test_leaving_its_block_closes_the_stream() -> None:
    peer, server = pair()
    async with peer as entered:
        assert entered is peer
    assert await server.receive_some() == b""
