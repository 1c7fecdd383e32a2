"""BEHAVIOUR.md, 18, sentence by sentence: what a peer may not send, and what it and the close handler are told.

A test's name begins with the number of its sentence. The peer is a client that chooses every byte.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from certificates import certified
from closes import INVALID_CODES, closes_at_the_end, open_over_tcp
from playground import Socket, playground, settled, texts
from recorder import Recorder

from trio_bunws import Limits, WebSocketHandler, open_server
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from trio.testing import MockClock

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


BAD_UTF8 = b"\xff"
VIOLATIONS = {
    "unmasked": (RawPeer.frame(TEXT, b"x", mask=None), 1002),
    "rsv1": (RawPeer.frame(TEXT, b"x", rsv=4), 1002),
    "rsv2": (RawPeer.frame(TEXT, b"x", rsv=2), 1002),
    "rsv3 of a ping": (RawPeer.frame(PING, rsv=1), 1002),
    "unknown data opcode": (RawPeer.frame(3), 1002),
    "unknown control opcode": (RawPeer.frame(11), 1002),
    "continuation of nothing": (RawPeer.frame(0, b"x"), 1002),
    "message within a message": (RawPeer.frame(TEXT, b"x", fin=False) + RawPeer.frame(TEXT, b"x"), 1002),
    "fragmented ping": (RawPeer.frame(PING, fin=False), 1002),
    "long ping": (RawPeer.frame(PING, b"x" * 126), 1002),
    "length in two bytes for no need": (b"\x81\xfe\x00\x7d", 1002),
    "length in eight bytes for no need": (b"\x82\xff" + (65535).to_bytes(8), 1002),
    "length with the high bit": (b"\x82\xff" + (1 << 63).to_bytes(8), 1002),
    "close of one byte": (RawPeer.frame(CLOSE, b"\x03"), 1002),
    "close with a reason that is not UTF-8": (RawPeer.frame(CLOSE, b"\x03\xe8" + BAD_UTF8), 1007),
    "text that is not UTF-8": (RawPeer.frame(TEXT, BAD_UTF8), 1007),
    "text that ends within a character": (RawPeer.frame(TEXT, "☃".encode()[:2]), 1007),
    "a surrogate": (RawPeer.frame(TEXT, b"\xed\xa0\x80"), 1007),
    "fragments that are not UTF-8": (RawPeer.frame(TEXT, b"ok", fin=False) + RawPeer.frame(0, BAD_UTF8), 1007),
    "too long": (RawPeer.frame(BINARY, b"x" * 1001), 1009),
    "too long in fragments": (
        RawPeer.frame(BINARY, b"x" * 600, fin=False) + RawPeer.frame(0, b"x" * 401, fin=False),
        1009,
    ),
    "too many fragments": (RawPeer.frame(TEXT, b"", fin=False) + RawPeer.frame(0, b"", fin=False) * 8, 1009),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
async def test_18_the_wire_and_the_handler_get_one_code_and_words(violation: str, autojump_clock: MockClock) -> None:
    frames, code = VIOLATIONS[violation]
    record = Recorder()
    async with playground(record.handler(max_payload_length=1000), limits=Limits(max_fragments=8)) as play:
        peer = await play.open()
        await peer.send(texts("before") + frames + texts("after"))
        closed = await peer.receive_close()
        await peer.receive_eof()
        await settled()
        assert closed[0] == code
        assert len(closed[1]) > 5
        assert record.calls == [("open",), ("message", "before"), ("close", *closed)]


@pytest.mark.parametrize("violation", ["unmasked", "text that is not UTF-8", "too long"])
async def test_18_what_was_sent_before_leaves_before_the_close(violation: str, autojump_clock: MockClock) -> None:
    frames, code = VIOLATIONS[violation]

    def message(ws: Socket, message: str | bytes) -> None:
        ws.send(message)

    async with playground(WebSocketHandler(message=message, max_payload_length=1000)) as play:
        peer = await play.open()
        await peer.send(texts("one", "two") + frames)
        assert await peer.receive_text() == "one"
        assert await peer.receive_text() == "two"
        assert (await peer.receive_close())[0] == code
        await peer.receive_eof()


async def test_18_for_1009_the_declared_length_is_enough(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(max_payload_length=1000)) as play:
        peer = await play.open()
        await peer.send(RawPeer.frame(BINARY, b"x" * 1000))
        await settled()
        assert record.messages == [b"x" * 1000]
        await peer.send(b"\x82\xff" + (1 << 40).to_bytes(8) + b"mask")
        closed = await peer.receive_close()
        assert closed[0] == 1009
        assert await closes_at_the_end(peer, record) == [closed]


async def test_18_who_sends_a_message_over_the_default_limit_whole_reads_why_it_failed(mock_clock: MockClock) -> None:
    record = Recorder()
    async with open_server(None, record.handler(), port=0) as server:
        peer = await open_over_tcp(server.port)
        size = 16 * 2**20 + 1
        await peer.send(b"\x82\xff" + size.to_bytes(8) + bytes(4 + size))
        assert (await peer.receive_close())[0] == 1009
        await peer.receive_eof()
        await peer.stream.aclose()


async def test_18_for_1009_the_total_of_fragments_counts(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(max_payload_length=1000)) as play:
        peer = await play.open()
        await peer.send(RawPeer.frame(BINARY, b"x" * 600, fin=False) + RawPeer.frame(0, b"x" * 400))
        await settled()
        assert record.messages == [b"x" * 1000]
        await peer.send(RawPeer.frame(BINARY, b"x" * 600, fin=False) + b"\x00\xfe\x01")
        await settled()
        assert record.closes == []  # the length has not arrived
        await peer.send(b"\x91")
        assert (await peer.receive_close())[0] == 1009


async def test_18_as_many_fragments_as_allowed_are_one_message(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(), limits=Limits(max_fragments=3)) as play:
        peer = await play.open()
        fragments = [RawPeer.frame(TEXT, b"a", fin=False), RawPeer.frame(0, b"b", fin=False), RawPeer.frame(0, b"c")]
        await peer.send(b"".join(fragments) * 2)
        await settled()
        assert record.messages == ["abc", "abc"]


@pytest.mark.parametrize("code", INVALID_CODES)
async def test_18_an_invalid_incoming_code_is_1002(code: int, autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        await peer.send_close(code, "why")
        closed = await peer.receive_close()
        await peer.receive_eof()
        await settled()
        assert closed[0] == 1002
        assert record.closes == [closed]


@pytest.mark.parametrize(
    "begun",
    [
        b"\x81\xfe\x40\x00" + RawPeer.frame(TEXT, b"good \xff")[2:],
        b"\x01\x85" + RawPeer.frame(TEXT, b"go\xf5")[2:],
        RawPeer.frame(TEXT, "☃".encode()[:1], fin=False) + b"\x80\x85" + RawPeer.frame(TEXT, b"x")[2:],
        b"\x81\x85" + RawPeer.frame(TEXT, b"\xed\xa0")[2:],
    ],
    ids=["one frame", "first fragment", "across fragments", "half a surrogate"],
)
async def test_18_text_fails_as_soon_as_it_cannot_become_utf8(begun: bytes, autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        await peer.send(begun)  # more of the frame is to come
        assert (await peer.receive_close())[0] == 1007
        await peer.receive_eof()
        assert trio.current_time() == 0


async def test_18_a_violation_after_our_close_changes_nothing(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        record.ws.close(4000, "ours")
        await peer.send(RawPeer.frame(3))
        assert await peer.receive_close() == (4000, "ours")
        assert await closes_at_the_end(peer, record) == [(4000, "ours")]
        assert trio.current_time() == 0


async def test_18_through_the_kernel_the_close_arrives_though_more_input_was_unread() -> None:
    record = Recorder()
    async with (
        open_server(None, record.handler(max_payload_length=1000), port=0) as server,
        await open_over_tcp(server.port) as peer,
    ):
        await peer.send(RawPeer.frame(BINARY, b"x" * 300_000))
        assert (await peer.receive_close())[0] == 1009
        await peer.receive_eof()
    assert [code for code, _ in record.closes] == [1009]


async def test_18_through_tls_the_close_arrives_though_more_input_was_unread() -> None:
    record = Recorder()
    tls = certified("localhost")
    handler = record.handler(max_payload_length=1000)
    async with open_server(None, handler, port=0, tls=tls.server) as server:
        assert server.port is not None
        tcp = await trio.open_tcp_stream("127.0.0.1", server.port)
        stream = trio.SSLStream(tcp, tls.client, server_hostname="localhost", https_compatible=True)
        async with RawPeer(stream) as peer:
            await peer.upgrade()
            await peer.send(RawPeer.frame(BINARY, b"x" * 300_000))
            assert (await peer.receive_close())[0] == 1009
            await peer.receive_eof()
    assert [code for code, _ in record.closes] == [1009]
