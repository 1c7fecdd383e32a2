"""BEHAVIOUR.md, "Compression": 31 to 33, and what 1 to 3, 5, 6 and 15 say of it; the client compresses by itself.

A test's name begins with the number of its sentence. The client's compression is `zlib`'s, with exactly the windows
that were agreed on, so that nothing of ours can forgive itself.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

import json
import random
import zlib
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import pytest
import trio
from deflate_fakes import Deflating
from links import BIG, Place, congest, kernel, lockstep, served
from playground import Socket, settled
from recorder import Recorder

from trio_bunws import (
    Compressor,
    HandshakeError,
    MessageBackpressured,
    MessageDropped,
    MessageSent,
    PerMessageDeflate,
    Request,
    Server,
    WebSocket,
    WebSocketHandler,
)
from trio_bunws._wire.deflate import Deflater
from trio_bunws._wire.upgrade import accept_token
from trio_bunws.testing import Frame, RawPeer, open_pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
RSV1 = 4
BROWSER = "permessage-deflate; client_max_window_bits"
NAMES: tuple[Compressor, ...] = ("shared", "dedicated", "3KB", "4KB", "8KB", "16KB", "32KB", "64KB", "128KB", "256KB")
SERVER_BITS = {"3KB": 9, "4KB": 9, "8KB": 10, "16KB": 11, "32KB": 12, "64KB": 13, "128KB": 14}
CLIENT_BITS = {"3KB": 11, "4KB": 12, "8KB": 13, "16KB": 14}
WORDS = b"somebody has said something to somebody, "
LINES = WORDS * 10


def extension(*offers: str) -> tuple[tuple[str, str], ...]:
    return tuple(("Sec-WebSocket-Extensions", offer) for offer in offers)


def parameters(answer: str | None) -> dict[str, int]:
    """Read an answer, which must be to permessage-deflate."""
    assert answer is not None
    name, *rest = (part.strip() for part in answer.split(";"))
    assert name == "permessage-deflate"
    return {key: int(value or 1) for key, _, value in (part.partition("=") for part in rest)}


class Link(NamedTuple):
    """An open WebSocket with compression: both ends of it, and the client's compressors as agreed."""

    ws: Socket
    peer: RawPeer
    deflating: Deflating

    async def receive(self, *, compressed: bool | None = None) -> bytes:
        """Receive a message, decompressed; `compressed`: whether it must be."""
        frame = await self.peer.receive()
        assert frame.opcode in {TEXT, BINARY}
        assert frame.fin
        assert compressed in {None, frame.rsv == RSV1}
        return self.deflating.inflate(frame.payload) if frame.rsv else frame.payload

    async def send(self, message: bytes, opcode: int = TEXT) -> None:
        """Send a compressed message in one frame."""
        await self.peer.send(RawPeer.frame(opcode, self.deflating.deflate(message), rsv=RSV1))


async def answered(place: Place, *offers: str) -> str | None:
    peer = await place.connect()
    return (await peer.upgrade("/", extension(*offers))).get("sec-websocket-extensions")


async def linked(place: Place, offer: str = BROWSER) -> Link:
    peer = await place.connect()
    headers = await peer.upgrade("/", extension(offer))
    agreed = parameters(headers.get("sec-websocket-extensions"))
    await settled()
    return Link(
        place.sockets[-1],
        peer,
        Deflating(
            takeover_in="server_no_context_takeover" not in agreed,
            takeover_out="client_no_context_takeover" not in agreed,
            bits_in=agreed.get("server_max_window_bits", 15),
            bits_out=agreed.get("client_max_window_bits", 15),
        ),
    )


def handler_with(deflate: bool | PerMessageDeflate = True, **options: Any) -> WebSocketHandler[Any]:
    return WebSocketHandler(per_message_deflate=deflate, **options)


# 31: what is agreed on


@pytest.mark.parametrize("deflate", [False, PerMessageDeflate(compress=False, decompress="disable")])
async def test_31_nothing_is_agreed_on_when_it_is_off(deflate: bool | PerMessageDeflate) -> None:
    async with served(handler_with(deflate)) as place:
        assert await answered(place, BROWSER) is None


async def test_31_nothing_is_agreed_on_when_it_is_not_offered() -> None:
    async with served(handler_with()) as place:
        assert await answered(place) is None
        ws, peer = await place.pair()
        assert ws.send("x" * 99, compress=True) == 99
        assert await peer.receive() == (TEXT, b"x" * 99, True, 0)


@pytest.mark.parametrize("name", NAMES)
async def test_31_what_each_compressor_answers(name: Compressor) -> None:
    async with served(handler_with(PerMessageDeflate(compress=name, decompress="dedicated"))) as place:
        agreed = parameters(await answered(place, BROWSER))
        assert ("server_no_context_takeover" in agreed) == (name == "shared")
        assert agreed.get("server_max_window_bits", 15) == SERVER_BITS.get(name, 15)
        assert "client_no_context_takeover" not in agreed


@pytest.mark.parametrize("name", NAMES)
async def test_31_what_each_decompressor_answers(name: Compressor) -> None:
    async with served(handler_with(PerMessageDeflate(compress="dedicated", decompress=name))) as place:
        agreed = parameters(await answered(place, BROWSER))
        assert ("client_no_context_takeover" in agreed) == (name == "shared")
        assert agreed.get("client_max_window_bits", 15) == CLIENT_BITS.get(name, 15)
        assert "server_no_context_takeover" not in agreed
        # Without that parameter in the offer the client's window is not lowered.
        assert "client_max_window_bits" not in parameters(await answered(place, "permessage-deflate"))


@pytest.mark.parametrize(
    "deflate",
    [True, PerMessageDeflate(), PerMessageDeflate(compress=True), PerMessageDeflate(compress=True, decompress=False)],
)
async def test_31_true_means_shared_and_so_does_what_is_left_out(deflate: bool | PerMessageDeflate) -> None:
    async with served(handler_with(deflate)) as place:
        agreed = parameters(await answered(place, BROWSER))
        assert {"server_no_context_takeover", "client_no_context_takeover"} <= set(agreed)


async def test_31_with_compress_off_only_what_comes_in_is_compressed() -> None:
    recorder = Recorder()
    deflate = PerMessageDeflate(compress=False, decompress="dedicated")
    async with served(recorder.handler(per_message_deflate=deflate)) as place:
        link = await linked(place)
        await link.send(WORDS)
        link.ws.send(WORDS, compress=True)
        link.ws.subscribe("room")
        place.server.publish("room", WORDS)
        assert [await link.receive(compressed=False) for _ in range(2)] == [WORDS] * 2
        assert recorder.messages == [WORDS.decode()]


async def test_31_the_applications_own_header_is_ignored() -> None:
    def fetch(request: Request, server: Server[None]) -> None:
        server.upgrade(request, headers={"Sec-WebSocket-Extensions": "x-app"})

    for deflate in (False, True):
        async with open_pair(WebSocketHandler(per_message_deflate=deflate), fetch) as (_, client):
            assert client.extensions.startswith("permessage-deflate") == deflate
            assert "x-app" not in client.extensions


async def test_31_reload_does_not_change_what_open_sockets_agreed_on() -> None:
    async with served(handler_with()) as place:
        link = await linked(place)
        place.server.reload(websocket=handler_with(False))
        assert await answered(place, BROWSER) is None
        link.ws.send(WORDS, compress=True)
        assert await link.receive(compressed=True) == WORDS
        place.server.reload(websocket=handler_with())
        assert await answered(place, BROWSER) is not None


@pytest.mark.parametrize("name", NAMES)
async def test_31_what_is_sent_can_be_read_with_the_window_that_was_agreed_on(name: Compressor) -> None:
    messages = [WORDS * 1000, random.Random(1).randbytes(40_000) * 2, WORDS, b"\x00" * 70_000]
    async with served(handler_with(PerMessageDeflate(compress=name))) as place:
        link = await linked(place)
        for message in (*messages, *messages):
            link.ws.send(message, compress=True)
            assert await link.receive(compressed=True) == message


@pytest.mark.parametrize("name", NAMES)
async def test_31_what_is_compressed_with_the_window_that_was_agreed_on_is_read(name: Compressor) -> None:
    recorder = Recorder()
    messages = [WORDS * 1000, random.Random(1).randbytes(40_000) * 2, WORDS, b"\x00" * 70_000]
    async with served(recorder.handler(per_message_deflate=PerMessageDeflate(decompress=name))) as place:
        link = await linked(place)
        for message in (*messages, *messages):
            await link.send(message, BINARY)
        await settled()
        assert recorder.messages == [*messages, *messages]


@pytest.mark.parametrize("bits", range(9, 16))
async def test_31_a_client_may_ask_for_any_window(bits: int) -> None:
    message = random.Random(bits).randbytes(40_000) * 2
    async with served(handler_with(PerMessageDeflate(compress="dedicated"))) as place:
        offer = f"permessage-deflate; server_max_window_bits={bits}"
        assert parameters(await answered(place, offer))["server_max_window_bits"] == bits
        link = await linked(place, offer)
        for _ in range(2):
            link.ws.send(message, compress=True)
            assert await link.receive(compressed=True) == message


async def test_31_with_takeover_a_message_refers_to_those_before() -> None:
    recorder = Recorder()
    noise = random.Random(2).randbytes(2000)
    options = PerMessageDeflate(compress="dedicated", decompress="dedicated")
    async with served(recorder.handler(per_message_deflate=options)) as place:
        link = await linked(place)
        sizes: list[int] = []
        for _ in range(3):
            await link.send(noise, BINARY)
            link.ws.send(noise, compress=True)
            frame = await link.peer.receive()
            sizes.append(len(frame.payload))
            assert link.deflating.inflate(frame.payload) == noise
        assert sizes[0] > 2000
        assert max(sizes[1:]) < 200
        assert recorder.messages == [noise] * 3


async def test_31_without_takeover_each_message_stands_by_itself() -> None:
    async with served(handler_with()) as place:
        link = await linked(place)
        for _ in range(3):
            link.ws.send(WORDS, compress=True)
        frames = [await link.peer.receive() for _ in range(3)]
        assert frames[0] == frames[1] == frames[2]
        assert link.deflating.inflate(frames[0].payload) == WORDS


# 31: our client


@pytest.mark.parametrize(("compress", "decompress"), list(product(["shared", "dedicated", "3KB"], repeat=2)))
@pytest.mark.parametrize("theirs", [True, PerMessageDeflate(compress="dedicated", decompress="dedicated")])
async def test_31_our_client_and_server_understand_each_other(
    compress: Compressor, decompress: Compressor, theirs: bool | PerMessageDeflate
) -> None:
    def echo(ws: Socket, message: str | bytes) -> None:
        ws.send(message, compress=True)

    ours = PerMessageDeflate(compress=compress, decompress=decompress)
    async with open_pair(WebSocketHandler(message=echo, per_message_deflate=theirs), per_message_deflate=ours) as (
        server,
        client,
    ):
        assert client.extensions.startswith("permessage-deflate")
        for _ in range(3):
            for message in (WORDS * 40, WORDS.decode() * 40, b"", random.Random(3).randbytes(3000)):
                assert client.send(message, compress=True) == len(message)
                assert await client.receive() == message
        statistics = server.statistics()
        assert statistics.bytes_in < 3 * 3500
        assert statistics.bytes_out < 3 * 3500


async def test_31_our_client_offers_compression_unless_told_otherwise() -> None:
    async with open_pair(handler_with()) as (_, client):
        assert parameters(client.extensions)
    async with open_pair(handler_with(), per_message_deflate=False) as (_, client):
        assert client.extensions == ""
    async with open_pair(handler_with(False)) as (_, client):
        assert client.extensions == ""
        assert client.send("plain", compress=True) == 5
    assert WebSocket("ws://server.test/").extensions == ""


@pytest.mark.parametrize(
    ("ours", "answer"),
    [
        (False, "permessage-deflate"),
        (True, "x-unknown"),
        (True, "permessage-deflate; server_max_window_bits=7"),
        (True, "permessage-deflate, permessage-deflate"),
        (PerMessageDeflate(decompress="3KB"), "permessage-deflate"),
    ],
)
async def test_31_an_answer_that_does_not_belong_to_the_offer_fails_the_clients_handshake(
    ours: bool | PerMessageDeflate, answer: str
) -> None:
    stream, other = trio.testing.memory_stream_pair()
    server = RawPeer(other)

    async def serve() -> None:
        request = (await server.receive_until(b"\r\n\r\n")).decode()
        key = request.partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
        await server.send(
            b"HTTP/1.1 101 Hi\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept_token(key.encode())
            + f"\r\nSec-WebSocket-Extensions: {answer}\r\n\r\n".encode()
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(HandshakeError) as caught:
            async with WebSocket("ws://server.test/", stream=stream, per_message_deflate=ours):
                pass
    assert caught.value.status == 101


# 31: values that are none


@pytest.mark.parametrize("value", [7, None, "shared", {"compress": True}])
@pytest.mark.parametrize("where", [WebSocketHandler, lambda **options: WebSocket("ws://h/", **options)])
def test_31_a_wrong_option_says_what_is_allowed(where: Callable[..., object], value: object) -> None:
    with pytest.raises(TypeError, match="per_message_deflate to be a boolean or a PerMessageDeflate, not"):
        where(per_message_deflate=value)


@pytest.mark.parametrize("name", ["compress", "decompress"])
def test_31_a_wrong_compressor_says_which_there_are(name: str) -> None:
    options: dict[str, Any] = {name: "2KB"}
    with pytest.raises(ValueError, match=f"{name} to be .*'shared', 'dedicated', '3KB', .*'256KB'"):
        PerMessageDeflate(**options)
    with pytest.raises(TypeError, match=f"{name} to be a boolean or one of 'disable', 'shared'"):
        PerMessageDeflate(**{name: 15})  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), ("1", TypeError), (True, TypeError), (1.5, TypeError)])
def test_31_a_wrong_min_size_says_what_is_allowed(value: object, error: type[Exception]) -> None:
    options: dict[str, Any] = {"min_size": value}
    with pytest.raises(error, match="min_size to be an integer of at least 0"):
        PerMessageDeflate(**options)


# 32: what is declined


@pytest.mark.parametrize(
    "offer",
    [
        "x-webkit-deflate-frame",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; server_max_window_bits=ten",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_max_window_bits=+9",
        ";;=,,,permessage-deflate=;",
    ],
)
async def test_32_a_bad_offer_is_declined_and_the_connection_opens_without(offer: str) -> None:
    async with served(handler_with()) as place:
        assert await answered(place, offer) is None
        place.sockets[-1].send("x" * 99, compress=True)


@pytest.mark.parametrize(
    "offers",
    [
        ("permessage-deflate; unknown, permessage-deflate; server_max_window_bits=10, permessage-deflate",),
        ("permessage-deflate; server_max_window_bits=8", "x-other", "permessage-deflate; server_max_window_bits=10"),
    ],
)
async def test_32_the_first_acceptable_offer_wins(offers: tuple[str, ...]) -> None:
    async with served(handler_with(PerMessageDeflate(compress="dedicated"))) as place:
        assert parameters(await answered(place, *offers))["server_max_window_bits"] == 10


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
