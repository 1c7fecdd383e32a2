"""BEHAVIOUR.md, 31 and 32, sentence by sentence: what is agreed on, what our client offers, and what is declined.

A test's name begins with the number of its sentence. The client's compression is `zlib`'s, with exactly the windows
that were agreed on, so that nothing of ours can forgive itself.
"""

from __future__ import annotations

import random
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
import trio
from compressed_links import BROWSER, WORDS, extension, handler_with, linked, parameters
from links import Place, served
from playground import Socket, settled
from recorder import Recorder

from trio_bunws import Compressor, HandshakeError, PerMessageDeflate, Request, Server, WebSocket, WebSocketHandler
from trio_bunws._wire.upgrade import accept_token
from trio_bunws.testing import RawPeer, open_pair

if TYPE_CHECKING:
    from collections.abc import Callable


TEXT, BINARY = 1, 2
NAMES: tuple[Compressor, ...] = ("shared", "dedicated", "3KB", "4KB", "8KB", "16KB", "32KB", "64KB", "128KB", "256KB")
SERVER_BITS = {"3KB": 9, "4KB": 9, "8KB": 10, "16KB": 11, "32KB": 12, "64KB": 13, "128KB": 14}
CLIENT_BITS = {"3KB": 11, "4KB": 12, "8KB": 13, "16KB": 14}


async def answered(place: Place, *offers: str) -> str | None:
    peer = await place.connect()
    return (await peer.upgrade("/", extension(*offers))).get("sec-websocket-extensions")


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
