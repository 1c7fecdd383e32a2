"""Compression with other people's programs: websockets, Node's `ws`, Bun, uWebSockets and Chromium.

Everything goes through a relay that keeps the bytes, so that a test sees what was agreed on, that each message really
was compressed, with which window, and whether it referred to the one before.
"""

from __future__ import annotations

import json
import random
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trio
from chromium import need_chromium, running_chromium
from interop.chat import running_client
from interop.programs import (
    bun_client,
    bun_program,
    node_client,
    node_program,
    python_client,
    python_program,
    running_echo,
    uwebsockets_program,
)
from interop.wire import Direction, Wire, inflated, relay_to
from patience import PATIENCE

from trio_bunws import PerMessageDeflate, ServerWebSocket, WebSocket, WebSocketHandler, open_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

LINE = "Zażółć gęślą jaźń 👩🏽‍🚀 " + random.Random(7692).randbytes(600).hex()
"""Long enough for `ws`, which leaves less than 1 KiB as it is, and hard to compress, unless one has seen it before."""
LINES = [LINE, LINE, "x" * 2000, LINE]
DEDICATED = PerMessageDeflate(compress="dedicated", decompress="dedicated")
SMALL = PerMessageDeflate(compress="3KB", decompress="3KB")
NAME = "permessage-deflate"
NO_TAKEOVER = {"client_no_context_takeover", "server_no_context_takeover"}
OFFER_BY_DEFAULT = {NAME, "client_max_window_bits"}
BY_DEFAULT: list[tuple[bool | PerMessageDeflate, set[str]]] = [
    (True, NO_TAKEOVER),
    (DEDICATED, set()),
    (SMALL, {"server_max_window_bits=9", "client_max_window_bits=11"}),
]
"""What our server agrees on with a client that makes this offer; all of them do."""


def check(direction: Direction, side: str, agreed: set[str], *, takeover: bool, thrifty: bool = True) -> None:
    """Demand that this side has sent the lines compressed as it was agreed, and with a context or without."""
    windows = [int(parameter.partition("=")[2]) for parameter in agreed if parameter.startswith(f"{side}_max")]
    bits = min(windows, default=15)
    messages = direction.texts()
    assert inflated(messages, bits=bits, takeover=takeover) == LINES
    sizes = [len(message.payload) for message in messages]
    assert sizes[0] < 0.7 * len(LINE.encode())
    # What is repeated costs next to nothing, if it is remembered, and looked for.
    assert not thrifty or (sizes[1] < sizes[0] / 10) == (takeover and 1 << bits > len(LINE.encode()))


# Their clients


def echoing(deflate: bool | PerMessageDeflate) -> WebSocketHandler[None]:
    def text(ws: ServerWebSocket[None], text: str) -> None:
        ws.send_text(text, compress=True)

    return WebSocketHandler(text=text, per_message_deflate=deflate)


CLIENTS: dict[str, Callable[[], list[str]]] = {
    "websockets": partial(python_client, "websockets"),
    "ws": partial(node_client, "ws"),
    "bun": bun_client,
}
FORGETFUL: Mapping[str, dict[str, Any]] = {
    "websockets": {"server_no_context_takeover": True, "client_no_context_takeover": True},
    "ws": {"perMessageDeflate": {"serverNoContextTakeover": True, "clientNoContextTakeover": True}},
}
NARROW: Mapping[str, dict[str, Any]] = {
    "websockets": {"server_max_window_bits": 9, "client_max_window_bits": 10},
    "ws": {"perMessageDeflate": {"serverMaxWindowBits": 9, "clientMaxWindowBits": 10}},
}
"""What Bun's client and a browser cannot be told."""


class TheirClient(NamedTuple):
    """One of their clients at a server of ours, and what they must agree on."""

    name: str
    theirs: dict[str, Any] | None
    """None: as by default."""
    ours: bool | PerMessageDeflate
    agreed: set[str]

    @property
    def id(self) -> str:
        how = "by default" if self.theirs is None else "as told"
        return f"{self.name} {how}: {', '.join(sorted(self.agreed)) or 'takeover'}"


THEIR_CLIENTS = [
    *(TheirClient(name, None, ours, agreed) for name in CLIENTS for ours, agreed in BY_DEFAULT),
    *(TheirClient(name, theirs, DEDICATED, NO_TAKEOVER) for name, theirs in FORGETFUL.items()),
    *(
        TheirClient(name, theirs, DEDICATED, {"server_max_window_bits=9", "client_max_window_bits=10"})
        for name, theirs in NARROW.items()
    ),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in THEIR_CLIENTS])
async def test_a_client_and_our_server_compress_what_they_send(case: TheirClient) -> None:
    command = CLIENTS[case.name]()
    compression = [] if case.theirs is None else [json.dumps(case.theirs)]
    async with (
        open_server(None, echoing(case.ours), port=0) as server,
        relay_to(server.port) as wire,
        running_client(command, f"ws://127.0.0.1:{wire.port}/", *compression) as client,
    ):
        for line in LINES:
            await client.send_line(line)
            assert await client.hear_line() == line
        await client.leave()
        assert await client.closed() == 1000
    if case.theirs is None:
        assert wire.client.extension == OFFER_BY_DEFAULT
    assert wire.server.extension == {NAME, *case.agreed}
    takeover = not NO_TAKEOVER & case.agreed
    check(wire.client, "client", case.agreed, takeover=takeover)
    check(wire.server, "server", case.agreed, takeover=takeover)


async def test_a_client_that_offers_nothing_is_sent_nothing_compressed() -> None:
    command = bun_client()
    compression = json.dumps({"perMessageDeflate": False})
    async with (
        open_server(None, echoing(True), port=0) as server,
        relay_to(server.port) as wire,
        running_client(command, f"ws://127.0.0.1:{wire.port}/", compression) as client,
    ):
        await client.send_line(LINE)
        assert await client.hear_line() == LINE
        await client.leave()
        assert await client.closed() == 1000
    assert wire.client.extension == wire.server.extension == set()
    assert [message.compressed for message in wire.server.texts()] == [False]


PAGE = """
([url, lines]) => new Promise((resolve, reject) => {
  const socket = new WebSocket(url), heard = [];
  socket.onopen = () => socket.send(lines[0]);
  socket.onmessage = (event) => {
    heard.push(event.data);
    if (heard.length < lines.length) socket.send(lines[heard.length]);
    else socket.close(1000);
  };
  socket.onerror = reject;
  socket.onclose = (event) => resolve([socket.extensions, heard, event.code]);
})
"""


def browse(urls: list[str]) -> list[tuple[str, list[str], int]]:
    """Send the lines from a page to each of these, and return its extensions, what it heard, and the close code."""
    with running_chromium() as browser:
        page = browser.new_page()
        told = [page.evaluate(PAGE, [url, LINES]) for url in urls]
    return [(extensions, heard, code) for extensions, heard, code in told]


async def test_chromium_and_our_server_compress_what_they_send() -> None:
    need_chromium()
    wires: list[Wire] = []
    async with AsyncExitStack() as stack:
        for ours, _ in BY_DEFAULT:
            server = await stack.enter_async_context(open_server(None, echoing(ours), port=0))
            wires.append(await stack.enter_async_context(relay_to(server.port)))
        with trio.fail_after(PATIENCE):
            told = await trio.to_thread.run_sync(browse, [f"ws://127.0.0.1:{wire.port}/" for wire in wires])
    for wire, (extensions, heard, code), (_, agreed) in zip(wires, told, BY_DEFAULT, strict=True):
        assert wire.client.extension == OFFER_BY_DEFAULT
        assert wire.server.extension == {NAME, *agreed} == set(extensions.replace(" ", "").split(";"))
        assert (heard, code) == (LINES, 1000)
        check(wire.client, "client", agreed, takeover=agreed is not NO_TAKEOVER)
        check(wire.server, "server", agreed, takeover=agreed is not NO_TAKEOVER)


# Their servers


SERVERS: dict[str, Callable[[], list[str]]] = {
    "websockets": partial(python_program, "websockets_echo", "server"),
    "ws": partial(node_program, "ws", "server"),
    "bun": partial(bun_program, "server"),
    "uwebsockets": uwebsockets_program,
}


class OurClient(NamedTuple):
    """A client of ours at one of their servers, what they must agree on, and who then refers to earlier messages."""

    ours: bool | PerMessageDeflate
    agreed: set[str]
    ours_remembers: bool
    theirs_remembers: bool


SHARED = PerMessageDeflate()
WINDOWS_12 = {"server_max_window_bits=12", "client_max_window_bits=12"}
OUR_WINDOWS = {"server_max_window_bits=11", "client_max_window_bits=9"}
OUR_CLIENTS: dict[tuple[str, str], list[OurClient]] = {
    ("websockets", ""): [
        OurClient(True, WINDOWS_12, False, True),
        OurClient(DEDICATED, WINDOWS_12, True, True),
        OurClient(SHARED, WINDOWS_12 | NO_TAKEOVER, False, False),
        OurClient(SMALL, OUR_WINDOWS, True, True),
    ],
    ("websockets", json.dumps(FORGETFUL["websockets"])): [OurClient(DEDICATED, NO_TAKEOVER, False, False)],
    ("ws", ""): [
        OurClient(True, set(), False, True),
        OurClient(DEDICATED, set(), True, True),
        OurClient(SHARED, NO_TAKEOVER, False, False),
        OurClient(SMALL, OUR_WINDOWS, True, True),
    ],
    ("ws", json.dumps(FORGETFUL["ws"])): [OurClient(DEDICATED, NO_TAKEOVER, False, False)],
    ("bun", ""): [OurClient(ours, NO_TAKEOVER, False, False) for ours in (True, DEDICATED, SHARED)],
    ("bun", '{"perMessageDeflate": {"compress": "dedicated", "decompress": "dedicated"}}'): [
        OurClient(True, set(), False, True),
        OurClient(DEDICATED, set(), True, True),
        OurClient(SMALL, OUR_WINDOWS, True, True),
    ],
    ("bun", '{"perMessageDeflate": {"compress": "3KB", "decompress": "3KB"}}'): [
        OurClient(DEDICATED, {"server_max_window_bits=9", "client_max_window_bits=11"}, True, True)
    ],
    ("uwebsockets", ""): [OurClient(ours, NO_TAKEOVER, False, False) for ours in (True, DEDICATED, SHARED)],
    ("uwebsockets", '{"compression": ["DEDICATED_COMPRESSOR", "DEDICATED_DECOMPRESSOR_32KB"]}'): [
        OurClient(True, set(), False, True),
        OurClient(DEDICATED, set(), True, True),
        OurClient(SMALL, OUR_WINDOWS, True, True),
    ],
    ("uwebsockets", '{"compression": ["DEDICATED_COMPRESSOR_3KB", "DEDICATED_DECOMPRESSOR_4KB"]}'): [
        OurClient(DEDICATED, {"server_max_window_bits=9", "client_max_window_bits=12"}, True, True)
    ],
}


@pytest.fixture(name="port")
def port_of_a_server(name: str, compression: str) -> Iterator[int]:
    # Not in the test, where trio would make a group of a skip and its reason be lost.
    with running_echo(SERVERS[name](), *filter(None, [compression])) as port:
        yield port


@pytest.mark.parametrize(("name", "compression"), OUR_CLIENTS, ids=lambda text: text or "by default")
async def test_our_client_and_a_server_compress_what_they_send(name: str, compression: str, port: int) -> None:
    for case in OUR_CLIENTS[name, compression]:
        async with relay_to(port) as wire:
            url = f"ws://127.0.0.1:{wire.port}/"
            with trio.fail_after(PATIENCE):
                async with WebSocket(url, per_message_deflate=case.ours) as ws:
                    for line in LINES:
                        ws.send_text(line, compress=True)
                        assert await ws.receive() == line
        assert wire.server.extension == {NAME, *case.agreed}
        check(wire.client, "client", case.agreed, takeover=case.ours_remembers)
        remembers = case.theirs_remembers
        # socketify's refers to earlier messages in some places only, and makes the repeated one no smaller.
        thrifty = name != "uwebsockets" or not remembers
        check(wire.server, "server", case.agreed, takeover=remembers, thrifty=thrifty)


async def test_our_client_talks_plainly_to_a_server_that_declines() -> None:
    with running_echo(bun_program("server")) as port:  # which keeps no window, and so can promise none
        async with relay_to(port) as wire, WebSocket(f"ws://127.0.0.1:{wire.port}/", per_message_deflate=SMALL) as ws:
            assert ws.extensions == ""
            ws.send_text(LINE, compress=True)
            assert await ws.receive() == LINE
    assert wire.server.extension == set()
    assert [message.compressed for message in [*wire.client.texts(), *wire.server.texts()]] == [False, False]


async def test_our_client_compresses_only_what_it_is_told_to() -> None:
    with running_echo(SERVERS["websockets"]()) as port:
        async with relay_to(port) as wire, WebSocket(f"ws://127.0.0.1:{wire.port}/") as ws:
            assert ws.extensions.startswith(NAME)
            ws.send(LINE)
            assert await ws.receive() == LINE
    assert wire.client.extension == OFFER_BY_DEFAULT
    assert [message.compressed for message in wire.client.texts()] == [False]
