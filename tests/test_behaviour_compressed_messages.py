"""BEHAVIOUR.md, 33, sentence by sentence, and what 1 to 3, 5, 6 and 15 say of messages that are compressed.

A test's name begins with the number of its sentence. The client's compression is `zlib`'s, with exactly the windows
that were agreed on, so that nothing of ours can forgive itself.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

import json
import random
import zlib
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import trio
from compressed_links import RSV1, WORDS, Link, handler_with, linked
from deflate_fakes import Deflating
from links import BIG, congest, kernel, lockstep, served
from playground import settled
from recorder import Recorder

from trio_bunws import (
    Compressor,
    MessageBackpressured,
    MessageDropped,
    MessageSent,
    PerMessageDeflate,
)
from trio_bunws._wire.deflate import Deflater
from trio_bunws.testing import Frame, RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
LINES = WORDS * 10


# 33: which messages are compressed


@pytest.mark.parametrize(
    ("send", "opcode"),
    [
        (lambda ws, **options: ws.send(LINES.decode(), **options), TEXT),
        (lambda ws, **options: ws.send(LINES, **options), BINARY),
        (lambda ws, **options: ws.send_text(LINES.decode(), **options), TEXT),
        (lambda ws, **options: ws.send_binary(bytearray(LINES), **options), BINARY),
    ],
)
async def test_33_each_message_says_whether_it_is_compressed(send: Callable[..., object], opcode: int) -> None:
    async with served(handler_with()) as place:
        link = await linked(place)
        assert send(link.ws) == send(link.ws, compress=False) == send(link.ws, compress=True) == len(LINES)
        frames = [await link.peer.receive() for _ in range(3)]
        assert frames[:2] == [Frame(opcode, LINES)] * 2
        assert frames[2] == Frame(opcode, frames[2].payload, rsv=RSV1)
        assert link.deflating.inflate(frames[2].payload) == LINES
        assert len(frames[2].payload) < len(LINES)


async def test_33_an_empty_payload_is_not_compressed() -> None:
    async with served(handler_with(PerMessageDeflate(compress="dedicated"))) as place:
        link = await linked(place)
        status = link.ws.send("", compress=True)
        assert (type(status), status) == (MessageSent, 0)
        assert await link.peer.receive() == Frame(TEXT, b"")


@pytest.mark.parametrize("name", ["shared", "dedicated"])
async def test_33_below_min_size_nothing_is_compressed(name: Compressor) -> None:
    async with served(handler_with(PerMessageDeflate(compress=name, min_size=20))) as place:
        link = await linked(place)
        link.ws.subscribe("room")
        for size in (19, 20, 1, 21):
            message = b"x" * size
            assert link.ws.send(message, compress=True) == place.server.publish("room", message) == size
            assert [await link.receive(compressed=size >= 20) for _ in range(2)] == [message] * 2


async def test_33_by_default_every_size_is_compressed() -> None:
    async with served(handler_with()) as place:
        link = await linked(place)
        link.ws.send("x", compress=True)
        assert await link.receive(compressed=True) == b"x"


async def test_33_control_frames_are_never_compressed() -> None:
    async with served(handler_with()) as place:
        link = await linked(place)
        link.ws.ping(b"x" * 125)
        link.ws.pong(b"x" * 125)
        await link.peer.send(RawPeer.frame(PING, b"y" * 125))
        link.ws.close(4000, "z" * 100)
        frames = [await link.peer.receive() for _ in range(3)]
        assert {frame.rsv for frame in frames} == {0}


# 33: what comes in


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
async def test_33_rsv1_on_a_control_frame_is_1002(opcode: int) -> None:
    async with served(handler_with()) as place:
        link = await linked(place)
        await link.peer.send(RawPeer.frame(opcode, rsv=RSV1))
        assert (await link.peer.receive_close())[0] == 1002


async def test_33_rsv1_on_a_continuation_frame_is_1002() -> None:
    async with served(handler_with()) as place:
        link = await linked(place)
        await link.peer.send(RawPeer.frame(TEXT, b"", fin=False, rsv=RSV1))
        await link.peer.send(RawPeer.frame(CONTINUATION, b"", rsv=RSV1))
        assert (await link.peer.receive_close())[0] == 1002


@pytest.mark.parametrize("rsv", [1, 2, 3, 5, 6, 7])
async def test_33_the_other_reserved_bits_are_1002_all_the_same(rsv: int) -> None:
    async with served(handler_with()) as place:
        link = await linked(place)
        await link.peer.send(RawPeer.frame(TEXT, link.deflating.deflate(WORDS), rsv=rsv))
        assert (await link.peer.receive_close())[0] == 1002


@pytest.mark.parametrize("deflate", [False, True])
async def test_33_rsv1_without_the_extension_is_1002(deflate: bool) -> None:
    async with served(handler_with(deflate)) as place:
        _, peer = await place.pair()
        await peer.send(RawPeer.frame(TEXT, Deflating().deflate(WORDS), rsv=RSV1))
        assert (await peer.receive_close())[0] == 1002


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x07", b"\x00\x01\x00\x00\x00"])
@pytest.mark.parametrize("name", ["shared", "dedicated"])
@pytest.mark.parametrize("fragmented", [False, True])
async def test_33_broken_data_is_1007(data: bytes, name: Compressor, fragmented: bool) -> None:
    recorder = Recorder()
    options = PerMessageDeflate(decompress=name)
    async with served(recorder.handler(per_message_deflate=options)) as place:
        link = await linked(place)
        if fragmented:
            await link.peer.send(RawPeer.frame(BINARY, b"", fin=False, rsv=RSV1))
            await link.peer.send(RawPeer.frame(CONTINUATION, data))
        else:
            await link.peer.send(RawPeer.frame(BINARY, data, rsv=RSV1))
        code, reason = await link.peer.receive_close()
        assert (code, bool(reason)) == (1007, True)
        await settled()
        assert recorder.closes == [(code, reason)]
        assert recorder.messages == []


async def test_33_compressed_text_that_is_not_utf_8_is_1007() -> None:
    async with served(handler_with()) as place:
        link = await linked(place)
        await link.send(b"\xff" * 9)
        assert (await link.peer.receive_close())[0] == 1007


@pytest.mark.parametrize("name", ["shared", "dedicated"])
async def test_33_what_inflates_to_the_limit_is_a_message_and_to_more_is_1009(name: Compressor) -> None:
    recorder = Recorder()
    options = PerMessageDeflate(decompress=name)
    async with served(recorder.handler(per_message_deflate=options, max_payload_length=10_000)) as place:
        link = await linked(place)
        await link.send(b"x" * 10_000, BINARY)
        await link.send(b"x" * 10_001, BINARY)
        code, reason = await link.peer.receive_close()
        assert (code, bool(reason)) == (1009, True)
        await settled()
        assert recorder.closes == [(code, reason)]
        assert recorder.messages == [b"x" * 10_000]


async def test_33_fragments_that_inflate_to_more_than_the_limit_together_are_1009() -> None:
    async with served(handler_with(max_payload_length=10_000)) as place:
        link = await linked(place)
        data = link.deflating.deflate(random.Random(4).randbytes(9_000) + b"x" * 2_000)
        await link.peer.send(RawPeer.frame(BINARY, data[:4_000], fin=False, rsv=RSV1))
        await link.peer.send(RawPeer.frame(CONTINUATION, data[4_000:]))
        code, reason = await link.peer.receive_close()
        assert (code, bool(reason)) == (1009, True)


async def test_33_many_messages_at_the_limit_are_each_within_it() -> None:
    recorder = Recorder()
    options = PerMessageDeflate(decompress="dedicated")
    async with served(recorder.handler(per_message_deflate=options, max_payload_length=10_000)) as place:
        link = await linked(place)
        for _ in range(20):
            await link.send(b"\x00" * 10_000, BINARY)
        await settled()
        assert recorder.messages == [b"\x00" * 10_000] * 20


@pytest.mark.parametrize("name", ["shared", "dedicated"])
async def test_33_a_ping_between_compressed_fragments_is_answered_and_harms_nothing(name: Compressor) -> None:
    recorder = Recorder()
    async with served(recorder.handler(per_message_deflate=PerMessageDeflate(decompress=name))) as place:
        link = await linked(place)
        for _ in range(2):
            data = link.deflating.deflate(WORDS)
            await link.peer.send(RawPeer.frame(TEXT, data[:5], fin=False, rsv=RSV1))
            await link.peer.send(RawPeer.frame(PING, b"between"))
            assert await link.peer.receive() == Frame(PONG, b"between")
            await link.peer.send(RawPeer.frame(CONTINUATION, data[5:]))
        await link.peer.send_text("plain")
        await settled()
        assert recorder.messages == [WORDS.decode()] * 2 + ["plain"]


@pytest.mark.parametrize("name", ["shared", "dedicated"])
@pytest.mark.parametrize("rest", [b"", b"\x00"])
async def test_33_a_message_that_ends_with_a_final_block_is_taken_and_the_next_one_too(
    name: Compressor, rest: bytes
) -> None:
    recorder = Recorder()
    async with served(recorder.handler(per_message_deflate=PerMessageDeflate(decompress=name))) as place:
        link = await linked(place)
        for message in (b"one " * 9, b"two " * 9):
            final = zlib.compressobj(wbits=-15)
            await link.peer.send(RawPeer.frame(TEXT, final.compress(message) + final.flush() + rest, rsv=RSV1))
        await Link(link.ws, link.peer, Deflating()).send(b"three")
        await settled()
        assert recorder.messages == ["one " * 9, "two " * 9, "three"]


@pytest.mark.parametrize("name", ["shared", "dedicated"])
async def test_33_a_compressed_message_may_be_split_anywhere(name: Compressor) -> None:
    recorder = Recorder()
    message = json.dumps({"text": "gr\u00fcn \u20ac", "list": list(range(40))}).encode()
    async with served(recorder.handler(per_message_deflate=PerMessageDeflate(decompress=name))) as place:
        link = await linked(place)
        for cut in range(0, 60, 3):
            data = link.deflating.deflate(message)
            first = RawPeer.frame(TEXT, data[:cut], fin=False, rsv=RSV1)
            frames = first + RawPeer.frame(CONTINUATION, b"", fin=False) + RawPeer.frame(CONTINUATION, data[cut:])
            for at in range(0, len(frames), 7):  # and the reads are cut too
                await link.peer.send(frames[at : at + 7])
        for byte in RawPeer.frame(TEXT, link.deflating.deflate(message), rsv=RSV1):
            await link.peer.send(bytes([byte]))
        await settled()
        assert recorder.messages == [message.decode()] * 21


async def test_33_an_empty_compressed_message_is_an_empty_message() -> None:
    recorder = Recorder()
    async with served(recorder.handler(per_message_deflate=True)) as place:
        link = await linked(place)
        await link.send(b"")
        await link.peer.send(RawPeer.frame(TEXT, b"", rsv=RSV1))
        await link.send(b"after")
        await settled()
        assert recorder.messages == ["", "", "after"]


# 33: publishing


async def test_33_a_publish_is_compressed_once_for_all_with_equal_parameters() -> None:
    real = Deflater.compress
    with mock.patch.object(Deflater, "compress", autospec=True, side_effect=real) as compress:
        async with served(handler_with()) as place:
            links = [await linked(place) for _ in range(20)]
            plain, peer = await place.pair()
            for ws in place.sockets:
                ws.subscribe("room")
            for number in range(5):
                place.server.publish("room", WORDS + b"%d" % number)
            plain.publish("room", WORDS, compress=True)
            received = [[await link.peer.receive() for _ in range(6)] for link in links]
            assert [await peer.receive() for _ in range(5)] == [Frame(BINARY, WORDS + b"%d" % n) for n in range(5)]
    assert compress.call_count == 6
    assert all(frames == received[0] for frames in received)
    inflated = [links[0].deflating.inflate(frame.payload) for frame in received[0]]
    assert inflated == [WORDS + b"%d" % number for number in range(5)] + [WORDS]


async def test_33_a_publish_is_compressed_for_each_with_a_context_of_its_own() -> None:
    async with served(handler_with(PerMessageDeflate(compress="dedicated"))) as place:
        own = [await linked(place) for _ in range(3)]
        without = await linked(place, "permessage-deflate; server_no_context_takeover")
        small = await linked(place, "permessage-deflate; server_max_window_bits=9")
        everybody = [*own, without, small]
        for link in everybody:
            link.ws.subscribe("room")
        own[1].ws.send("something of its own", compress=True)
        assert await own[1].receive(compressed=True) == b"something of its own"
        for number in range(5):
            sender = everybody[number]
            sender.ws.publish("room", WORDS * 300 + b"%d" % number, compress=True)
        for index, link in enumerate(everybody):
            due = [WORDS * 300 + b"%d" % number for number in range(5) if number != index]
            assert [await link.receive(compressed=True) for _ in due] == due


async def test_33_a_drop_does_not_spoil_what_follows(autojump_clock: MockClock) -> None:
    options = handler_with(PerMessageDeflate(compress="dedicated"), backpressure_limit=1000)
    async with served(options, kernel) as place:
        link = await linked(place)
        link.ws.subscribe("room")
        congest(link.ws)
        assert link.ws.send("dropped " * 20, compress=True) == 0
        assert place.server.publish("room", "dropped too " * 20) == 0
        await settled()
        assert link.ws.statistics().drops == 2
        assert await link.receive() == BIG
        await settled()
        assert link.ws.send("not dropped " * 20, compress=True) == 240
        assert place.server.publish("room", "not dropped " * 20) == 240
        assert [await link.receive(compressed=True) for _ in range(2)] == [b"not dropped " * 20] * 2


async def test_33_idle_sockets_own_no_compressor() -> None:
    made: list[tuple[object, ...]] = []
    real = zlib.compressobj

    def counted(*args: Any, **options: Any) -> object:
        made.append(args)
        return real(*args, **options)

    async with served(handler_with(PerMessageDeflate(compress="dedicated", decompress="dedicated"))) as place:
        links = [await linked(place) for _ in range(5)]
        with mock.patch("zlib.compressobj", counted):
            links[0].ws.send("plain")
            await links[0].receive()
            assert made == []
            for _ in range(3):
                links[1].ws.send("compressed", compress=True)
                assert await links[1].receive() == b"compressed"
            assert len(made) == 1


# 1 to 3, 5, 6 and 15


async def test_01_the_value_is_the_uncompressed_length() -> None:
    async with served(handler_with()) as place:
        link = await linked(place)
        link.ws.subscribe("room")
        assert link.ws.send("gr\u00fcn" * 1000, compress=True) == 5000
        await settled()
        assert await link.ws.send_wait(WORDS * 10, compress=True) == 10 * len(WORDS)
        assert place.server.publish("room", WORDS * 10) == 10 * len(WORDS)
        assert type(link.ws.send("x", compress=True)) is MessageSent


async def test_02_and_03_backpressure_is_counted_in_what_is_written(autojump_clock: MockClock) -> None:
    async with served(handler_with(backpressure_limit=100), lockstep) as place:
        link = await linked(place)
        link.ws.send("first", compress=True)
        await settled()  # in flight
        assert type(link.ws.send(b"x" * 10_000, compress=True)) is MessageBackpressured
        assert 0 < link.ws.get_buffered_amount() < 100  # so it is within the limit
        while link.ws.get_buffered_amount() <= 100:
            assert link.ws.send(b"x" * 10_000, compress=True) == -1
        assert type(link.ws.send(b"x", compress=True)) is MessageDropped


@pytest.mark.parametrize("value", [1, None, "yes"])
async def test_05_compress_must_be_a_boolean(value: bool) -> None:
    words = "expects compress to be a boolean"
    async with served(handler_with()) as place:
        link = await linked(place)
        ws, server = link.ws, place.server
        calls: dict[str, Callable[[], object]] = {
            "send": lambda: ws.send("x", compress=value),
            "send_text": lambda: ws.send_text("x", compress=value),
            "send_binary": lambda: ws.send_binary(b"x", compress=value),
            "publish": lambda: ws.publish("room", "x", compress=value),
            "publish_text": lambda: ws.publish_text("room", "x", compress=value),
            "publish_binary": lambda: ws.publish_binary("room", b"x", compress=value),
        }
        for method, call in calls.items():
            with pytest.raises(TypeError, match=f"{method} {words}"):
                call()
        with pytest.raises(TypeError, match=f"publish {words}"):
            server.publish("room", "x", compress=value)
        with pytest.raises(TypeError, match=f"send_wait {words}"):
            await ws.send_wait("x", compress=value)


async def test_05_a_closed_socket_drops_what_is_to_be_compressed() -> None:
    async with served(handler_with(PerMessageDeflate(compress="dedicated"))) as place:
        link = await linked(place)
        link.ws.close()
        assert type(link.ws.send(WORDS, compress=True)) is MessageDropped
        link.ws.terminate()
        assert type(link.ws.send(WORDS, compress=True)) is MessageDropped


async def test_05_a_buffer_may_be_changed_after_a_compressed_send() -> None:
    async with served(handler_with()) as place:
        link = await linked(place)
        link.ws.subscribe("room")
        data = bytearray(b"before" * 9)
        link.ws.send(data, compress=True)
        place.server.publish("room", data)
        data[:] = b"after!" * 9
        assert [await link.receive(compressed=True) for _ in range(2)] == [b"before" * 9] * 2


@pytest.mark.parametrize("name", ["shared", "dedicated", "3KB"])
async def test_06_compressed_and_plain_sent_and_published_arrive_in_call_order(name: Compressor) -> None:
    async with served(handler_with(PerMessageDeflate(compress=name))) as place:
        one, two = await linked(place), await linked(place)
        for link in (one, two):
            link.ws.subscribe("room")
        calls: list[Callable[[bytes, bool], object]] = [
            lambda m, c: one.ws.send(m, compress=c),
            lambda m, c: place.server.publish("room", m, compress=c),
            lambda m, c: two.ws.publish("room", m, compress=c),
        ]
        due: list[tuple[bytes, bool]] = []
        chance = random.Random(5)
        for number in range(200):
            message = WORDS + b"%d" % number
            compress = chance.random() < 0.5
            chance.choice(calls)(message, compress)
            due.append((message, compress))
            if chance.random() < 0.05:
                await trio.lowlevel.checkpoint()
        for message, compress in due:
            assert await one.receive(compressed=compress) == message


async def test_15_a_servers_publish_compresses_by_default_and_a_sockets_publish_and_send_do_not() -> None:
    async with served(handler_with()) as place:
        one, two = await linked(place), await linked(place)
        one.ws.subscribe("room")
        place.server.publish("room", WORDS)
        assert await one.receive(compressed=True) == WORDS
        place.server.publish("room", WORDS, compress=False)
        assert await one.receive(compressed=False) == WORDS
        for publish in (two.ws.publish, two.ws.publish_binary):
            publish("room", WORDS)
            assert await one.receive(compressed=False) == WORDS
            publish("room", WORDS, compress=True)
            assert await one.receive(compressed=True) == WORDS
        two.ws.publish_text("room", "text")
        assert await one.receive(compressed=False) == b"text"
        one.ws.send(WORDS)
        assert await one.receive(compressed=False) == WORDS
