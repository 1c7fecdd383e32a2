"""Attacks on a server before and beside its WebSockets: slow, long and ambiguous requests, injected headers, paths.

Each test holds the memory to a bound and has others answered meanwhile, by `attacks.under_attack`.
"""

# ruff: noqa: ARG001 - a clock is asked for so that time jumps

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from attacks import KIB, Attack, under_attack
from patience import PATIENCE, until
from playground import settled

from trio_bunws import Headers, Limits, Request, Response, Server, WebSocket
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from trio.testing import MockClock

ATTACKERS = 100
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
REFUSAL = b"HTTP/1.1 400 "


async def send_while_it_is_taken(peer: RawPeer, data: bytes, every: float = 0) -> int:
    """Send bytes one by one until the server ends the connection; return how many it took."""
    for count, byte in enumerate(data):
        try:
            await peer.send(bytes([byte]))
        except trio.BrokenResourceError:
            return count
        await trio.sleep(every)
    return len(data)


async def answer(peer: RawPeer) -> bytes:
    """Return everything that the server still says; the end may be a reset, for it did not read everything."""
    try:
        while data := await peer.stream.receive_some():
            peer.received += data
    except trio.BrokenResourceError:
        pass
    return bytes(peer.received)


# Slow and silent


@pytest.mark.parametrize(
    "head", [HEAD + b"X: " + b"x" * 100, RawPeer.request()], ids=["of a request", "of a handshake"]
)
async def test_a_header_that_comes_byte_by_byte_is_408_when_its_time_is_up(
    head: bytes, autojump_clock: MockClock
) -> None:
    async with under_attack("slow header, 100 peers", at_most=ATTACKERS * 32 * KIB) as attack:
        ends: list[float] = []

        async def attacker() -> None:
            async with await attack.connect() as peer, trio.open_nursery() as nursery:
                nursery.start_soon(send_while_it_is_taken, peer, head, 1)
                assert (await answer(peer)).startswith(b"HTTP/1.1 408 ")
                ends.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            for _ in range(ATTACKERS):
                nursery.start_soon(attacker)
            for _ in range(9):
                await trio.sleep(1)
                await attack.others_are_answered()
        assert len(ends) == ATTACKERS
        assert set(ends) == {Limits().header_timeout}
        await settled()
        assert attack.server.statistics().connections == 1


@pytest.mark.parametrize("sent", [b"", b"G", RawPeer.request()[:-2]], ids=["nothing", "a byte", "half a handshake"])
async def test_who_connects_and_is_silent_is_dropped(sent: bytes, autojump_clock: MockClock) -> None:
    async with under_attack("half a handshake, 100 peers", at_most=ATTACKERS * 32 * KIB) as attack:

        async def attacker() -> None:
            async with await attack.connect() as peer:
                await peer.send(sent)
                assert (await answer(peer)).startswith(b"HTTP/1.1 408 " if sent else b"")

        async with trio.open_nursery() as nursery:
            for _ in range(ATTACKERS):
                nursery.start_soon(attacker)
            await trio.sleep(5)
            assert attack.server.statistics().connections == ATTACKERS + 1
            await attack.others_are_answered()
        assert trio.current_time() == Limits().header_timeout
        await settled()
        assert attack.server.statistics().connections == 1


async def test_a_slow_body_costs_what_has_arrived_of_it_and_is_dropped_when_it_stops(
    autojump_clock: MockClock,
) -> None:
    begun = 0

    async def fetch(request: Request, server: Server[Any]) -> Response | None:
        nonlocal begun
        if server.upgrade(request):
            return None
        begun += request.method == "POST"
        return Response(await request.body())

    async with under_attack("slow body, 100 peers", fetch=fetch, at_most=ATTACKERS * 32 * KIB) as attack:

        async def attacker() -> None:
            async with await attack.connect() as peer:
                await peer.send(HEAD.replace(b"GET", b"POST") + b"Content-Length: 100000000\r\n\r\n")
                for _ in range(5):
                    await peer.send(b"x")
                    await trio.sleep(9)
                assert await answer(peer) == b""

        async with trio.open_nursery() as nursery:
            for _ in range(ATTACKERS):
                nursery.start_soon(attacker)
            for _ in range(45):
                await trio.sleep(1)
                await attack.others_are_answered()
        assert begun == ATTACKERS
        assert trio.current_time() == 46  # 10 s after the last byte
        assert attack.server.pending_requests == 0


async def test_a_body_that_comes_byte_by_byte_and_never_stops_is_408(autojump_clock: MockClock) -> None:
    async def fetch(request: Request, server: Server[Any]) -> Response | None:
        return None if server.upgrade(request) else Response(await request.body())

    async with under_attack("endless body, 100 peers", fetch=fetch, at_most=ATTACKERS * 48 * KIB) as attack:

        async def attacker() -> None:
            async with await attack.connect() as peer, trio.open_nursery() as nursery:
                await peer.send(HEAD.replace(b"GET", b"POST") + b"Content-Length: 100000000\r\n\r\n")
                nursery.start_soon(send_while_it_is_taken, peer, bytes(1000), 9)
                assert (await answer(peer)).startswith(b"HTTP/1.1 408 ")

        async with trio.open_nursery() as nursery:
            for _ in range(ATTACKERS):
                nursery.start_soon(attacker)
            for _ in range(6):
                await trio.sleep(49)
                assert attack.server.pending_requests == ATTACKERS
                await attack.others_are_answered()
        assert attack.server.pending_requests == 0
        assert trio.current_time() < 320


@pytest.mark.parametrize("body", ["bytes", "stream", "file"])
async def test_a_response_that_nobody_reads_is_dropped(body: str, tmp_path: Path) -> None:
    """On the real clock, for a file is read in a thread; so its time is short."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    large = bytes(64 * KIB)
    asked: list[str] = []

    async def stream() -> AsyncIterator[bytes]:
        while True:
            yield large

    def fetch(request: Request, server: Server[Any]) -> Response | None:
        if server.upgrade(request):
            return None
        if request.path == "/":
            return Response("hello")
        server.timeout(request, 0.1)
        asked.append(request.path)
        return {"bytes": Response(large * 2), "stream": Response(stream()), "file": Response.file(path)}[body]

    async with under_attack(f"unread response, {body}, 20 peers", fetch=fetch, at_most=20 * 640 * KIB) as attack:
        peers = [await attack.connect() for _ in range(20)]
        for peer in peers:
            await peer.send(HEAD.replace(b"/ ", b"/large ") + b"\r\n")
        await until(lambda: len(asked) == 20)
        await attack.others_are_answered()
        with trio.fail_after(PATIENCE):
            while attack.server.pending_requests:
                await settled()
                await attack.others_are_answered()
        for peer in peers:
            await trio.aclose_forcefully(peer.stream)


# Long


@pytest.mark.parametrize(
    "lines",
    [
        b"X: " + b"x" * (1 << 20) + b"\r\n",
        b"a: b\r\n" * 10_000,
        b"Sec-WebSocket-Protocol: a\r\n" * 10_000,
        b"x" * (1 << 20),
    ],
    ids=["one line of 1 MiB", "10,000 lines", "a list of 10,000", "no end of a name"],
)
async def test_a_head_of_1_mib_or_10_000_lines_is_431_and_not_read(lines: bytes, autojump_clock: MockClock) -> None:
    data = memoryview(HEAD + lines)

    async with under_attack("header of 1 MiB or 10,000 lines", at_most=128 * KIB) as attack:
        peer = await attack.connect()
        sent = 0

        async def send() -> None:
            nonlocal sent
            for start in range(0, len(data), 4 * KIB):
                try:
                    await peer.send(bytes(data[start : start + 4 * KIB]))
                except trio.BrokenResourceError:
                    break
                sent += 4 * KIB
                await attack.others_are_answered()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert (await answer(peer)).startswith(b"HTTP/1.1 431 ")
        await trio.aclose_forcefully(peer.stream)
        assert sent <= 20 * KIB


async def test_empty_lines_without_end_are_not_kept(autojump_clock: MockClock) -> None:
    """They are allowed before a request, and nothing of it: so its time is up as any other's."""
    async with under_attack("endless empty lines", at_most=128 * KIB) as attack:
        peer = await attack.connect()
        began = trio.current_time()
        lost = False
        while not lost:
            await trio.sleep(1)
            try:
                await peer.send(b"\r\n" * 2048)
            except trio.BrokenResourceError:
                lost = True
        assert trio.current_time() - began <= Limits().header_timeout + 1
        await trio.aclose_forcefully(peer.stream)


async def test_endless_small_requests_let_others_have_their_turn(autojump_clock: MockClock) -> None:
    """A thousand requests in one go, of a client that does not wait for answers."""
    async with under_attack("1,000 pipelined requests", at_most=512 * KIB) as attack:
        peer = await attack.connect()
        answered = 0

        async def read() -> None:
            nonlocal answered
            while answered < 1000:
                answered += (await peer.stream.receive_some()).count(b"200 OK")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(peer.send, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
            attack.restart()
            for _ in range(20):
                await attack.others_are_answered()
            assert answered < 1000
        await trio.aclose_forcefully(peer.stream)


# Ambiguous: where one reader sees one request, another two

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"0\r\n\r\n"
SHAPES = {
    "two equal lengths": b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello",
    "two lengths in one line": b"Content-Length: 5, 5\r\n\r\nhello",
    "length and chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED,
    "chunked and length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + CHUNKED,
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED,
    "chunked and something else": b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKED,
    "chunked by another name": b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKED,
    "chunked and a vertical tab": b"Transfer-Encoding: chunked\x0b\r\n\r\n" + CHUNKED,
    "a space before the colon": b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKED,
    "a space before the name": b" Transfer-Encoding: chunked\r\n\r\n" + CHUNKED,
    "obs-fold": b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKED,
    "obs-fold of a length": b"Content-Length: 5\r\n\t0\r\n\r\nhello",
    "a bare LF between headers": b"X: y\nContent-Length: 5\r\n\r\nhello",
    "a bare LF at the end of the head": b"Content-Length: 5\r\n\n",
    "a bare CR": b"X: y\rContent-Length: 5\r\n\r\nhello",
    "a NUL": b"X: \0\r\n\r\n",
    "a length with a sign": b"Content-Length: +5\r\n\r\nhello",
    "a negative length": b"Content-Length: -5\r\n\r\nhello",
    "a length in hexadecimal": b"Content-Length: 0x5\r\n\r\nhello",
    "a length with an underscore": b"Content-Length: 1_0\r\n\r\nhello",
    "a length of 30 digits": b"Content-Length: 000000000000000000000000000005\r\n\r\nhello",
    "an empty length": b"Content-Length:\r\n\r\nhello",
    "two hosts": b"Host: y\r\n\r\n",
}
CHUNKS = {
    "a bare LF behind a size": b"5\nhello\r\n0\r\n\r\n",
    "a bare LF behind a chunk": b"5\r\nhello\n0\r\n\r\n",
    "a bare LF at the end": b"5\r\nhello\r\n0\r\n\n",
    "a bare LF in an extension": b"5;a=\nb\r\nhello\r\n0\r\n\r\n",
    "a size with a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "a size in C": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a size with an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "a size of 30 digits": b"0" * 29 + b"5\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "more than the size": b"5\r\nhello!\r\n0\r\n\r\n",
}


async def refused(attack: Attack, data: bytes, seen: list[str]) -> bytes:
    """Send an ambiguous request with another behind it, which nobody may see; return the answer."""
    async with await attack.connect() as peer:
        try:
            await peer.send(data + SMUGGLED)
        except trio.BrokenResourceError:
            pass
        got = await answer(peer)
    assert "/smuggled" not in seen
    return got


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
async def test_a_request_that_could_be_read_in_two_ways_is_refused_and_the_last(
    shape: bytes, autojump_clock: MockClock
) -> None:
    seen: list[str] = []

    def fetch(request: Request, server: Server[Any]) -> Response | None:
        seen.append(request.path)
        return None if server.upgrade(request) else Response("hello")

    async with under_attack(
        "smuggling by head", fetch=fetch, at_most=128 * KIB, link=trio.testing.memory_stream_pair
    ) as attack:
        for method in (b"POST", b"GET"):
            got = await refused(attack, HEAD.replace(b"GET", method) + shape, seen)
            assert got.startswith((REFUSAL, b"HTTP/1.1 501 "))
            assert got.count(b"HTTP/1.1 ") == 1
            assert b"Connection: close" in got
        assert seen == ["/", "/"]  # the bystander's


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("read", [True, False], ids=["read", "unread"])
async def test_a_chunked_body_that_could_be_read_in_two_ways_is_the_last(
    chunks: bytes, read: bool, autojump_clock: MockClock
) -> None:
    seen: list[str] = []

    async def fetch(request: Request, server: Server[Any]) -> Response | None:
        seen.append(request.path)
        if server.upgrade(request):
            return None
        if read:
            await request.body()
        return Response("hello")

    async with under_attack(
        "smuggling by chunks", fetch=fetch, at_most=192 * KIB, link=trio.testing.memory_stream_pair
    ) as attack:
        head = HEAD.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n"
        got = await refused(attack, head + chunks, seen)
        assert got.startswith(REFUSAL if read else b"HTTP/1.1 200 ")
        assert got.count(b"HTTP/1.1 ") == 1


async def test_a_body_on_a_handshake_is_no_frames(autojump_clock: MockClock) -> None:
    """What follows a handshake is frames; with a length it would be a body to a proxy."""
    seen: list[str] = []
    async with under_attack(
        "a handshake with a body", at_most=128 * KIB, link=trio.testing.memory_stream_pair
    ) as attack:
        for field in (b"Content-Length: 5", b"Transfer-Encoding: chunked"):
            head = RawPeer.request().removesuffix(b"\r\n") + field + b"\r\n\r\n"
            assert (await refused(attack, head, seen)).startswith(REFUSAL)


# Injected


INJECTED = ["a\r\nSet-Cookie: evil=1", "a\nSet-Cookie: evil=1", "a\rb", "a\0b", "\r\n\r\n<script>", "a\r\n b"]


def upgrade(request: Request, server: Server[Any], **options: Any) -> None:
    server.upgrade(request, **options)


@pytest.mark.parametrize("evil", INJECTED)
@pytest.mark.parametrize(
    "make",
    [
        lambda evil: Response("x", 200, {"X": evil}),
        lambda evil: Response("x", 200, [(evil, "x")]),
        lambda evil: Response("x", 200, [("Set-Cookie", f"name={evil}")]),
        lambda evil: Response("x", 200, [("Set-Cookie", "a=b"), ("Set-Cookie", f"name={evil}")]),
        lambda evil: Response("x", 200, {"Content-Type": f"text/{evil}"}),
        lambda evil: Response("x", 200, {"Content-Length": f"1{evil}"}),
        lambda evil: Response.json({}, 200, {"X": evil}),
        lambda evil: Response.redirect(f"/{evil}"),
        lambda evil: Response.redirect(f"https://{evil}/", 307),
        lambda evil: Response().headers.append("X", evil),
        lambda evil: Response().headers.append(evil, "X"),
        lambda evil: Response().headers.set("X", evil),
        lambda evil: Response().headers.set(evil, "x"),
        lambda evil: Headers({"X": evil}),
        lambda evil: WebSocket("ws://localhost/", headers={"X": evil}),
        lambda evil: WebSocket("ws://localhost/", headers={evil: "x"}),
        lambda evil: WebSocket("ws://localhost/", protocols=[evil]),
    ],
)
def test_no_line_can_be_smuggled_into_a_header(make: Callable[[str], object], evil: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        make(evil)


@pytest.mark.parametrize("evil", INJECTED)
async def test_no_line_can_be_smuggled_into_an_upgrade(evil: str, autojump_clock: MockClock) -> None:
    raised: list[str] = []

    def fetch(request: Request, server: Server[Any]) -> Response | None:
        if request.path == "/evil":
            for options in (
                {"headers": {"X": evil}},
                {"headers": [("Set-Cookie", f"a={evil}")]},
                {"headers": {evil: "x"}},
                {"headers": {"Sec-WebSocket-Protocol": evil}},
            ):
                with pytest.raises(ValueError, match=r"."):
                    upgrade(request, server, **options)
                raised.append(evil)
            upgrade(request, server, protocol=f"chat{evil}")
            return None
        return None if server.upgrade(request) else Response("hello")

    async with under_attack("CR LF in an upgrade", fetch=fetch, at_most=128 * KIB) as attack:
        async with await attack.connect() as peer:
            await peer.upgrade("/evil", [("Sec-WebSocket-Protocol", "chat")])
            await trio.aclose_forcefully(peer.stream)
        assert len(raised) == 4


@pytest.mark.parametrize("evil", INJECTED)
async def test_what_a_client_asks_for_never_becomes_a_header(evil: str, tmp_path: Path) -> None:
    """A redirect to the path, a file of that name: the ways in which a request comes back."""

    def fetch(request: Request, server: Server[Any]) -> Response | None:
        if server.upgrade(request):
            return None
        if request.path.startswith("/file/"):
            return Response.file(request.path.removeprefix("/file/"), root=tmp_path)
        return Response.redirect(request.query.get("to", "/"))

    (tmp_path / f"{evil}.txt".replace("\0", "").replace("/", "")).write_text("x")
    quoted = "".join(f"%{byte:02x}" for byte in evil.encode())
    async with under_attack(
        "CR LF in a target", fetch=fetch, at_most=1024 * KIB, link=trio.testing.memory_stream_pair
    ) as attack:
        for target, statuses in (
            (f"/?to={quoted}", (b"500",)),
            (f"/file/{quoted}.txt", (b"200", b"404")),
        ):
            async with await attack.connect() as peer:
                await peer.send(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target.encode())
                got = await answer(peer)
            assert got.split(b" ")[1] in statuses
            head, _, _ = got.partition(b"\r\n\r\n")
            assert b"evil" not in head
            assert b"\n" not in head.replace(b"\r\n", b"")
            assert b"\0" not in head


# Files


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    """Make a directory to serve, with everything in it and around it that must not be served."""
    root = tmp_path / "public"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("public")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "public-too").mkdir()
    (tmp_path / "public-too" / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "relative").symlink_to("../secret")
    (root / "up").symlink_to("..")
    (root / "chain").symlink_to("link")
    (root / "loop").symlink_to("loop")
    (root / "zero").symlink_to("/dev/zero")
    (root / "inside").symlink_to("a.txt")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / "socket"))
    return root


OUTSIDE = [
    "../secret",
    "/../secret",
    "..%2fsecret",
    "%2e%2e/secret",
    "%2e%2e%2fsecret",
    "sub/../../secret",
    "sub/%2e%2e/%2e%2e/secret",
    "./../secret",
    ".../../../secret",
    "../public-too/secret",
    "..",
    ".",
    "",
    "/etc/passwd",
    "//etc/passwd",
    "%2fetc%2fpasswd",
    "/proc/self/environ",
    "link",
    "relative",
    "up/secret",
    "chain",
    "loop",
    "zero",
    "fifo",
    "socket",
    "sub",
    "sub/",
    "a.txt/../../secret",
    "a.txt%00.html",
    "..\\secret",
    "..%5csecret",
    "%c0%ae%c0%ae/secret",
    "%252e%252e/secret",
    "x" * 5000,
    "a/" * 2000,
]


@pytest.mark.parametrize("links", ["absolute", "as asked"])
async def test_with_a_root_nothing_outside_it_and_nothing_but_regular_files_is_served(root: Path, links: str) -> None:
    def fetch(request: Request, server: Server[Any]) -> Response | None:
        if server.upgrade(request):
            return None
        path = request.path.removeprefix("/")
        return Response.file(path if links == "as asked" else f"{root}/{path}", root=root)

    async with under_attack("paths", fetch=fetch, at_most=512 * KIB, link=trio.testing.memory_stream_pair) as attack:
        for path, status in [*((path, b"404") for path in OUTSIDE), ("a.txt", b"200"), ("inside", b"200")]:
            async with await attack.connect() as peer:
                target = b"/" + path.encode()
                await peer.send(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target)
                got = await answer(peer)
            assert got.split(b" ")[1] == status, path
            assert b"secret" not in got
            assert b"root:" not in got


async def test_without_a_root_links_are_followed_but_no_pipe_device_or_directory_is_served(root: Path) -> None:
    def fetch(request: Request, server: Server[Any]) -> Response | None:
        return None if server.upgrade(request) else Response.file(root / request.path.removeprefix("/"))

    async with under_attack("pipes and devices", fetch=fetch, at_most=256 * KIB) as attack:
        for path in ("fifo", "zero", "socket", "sub", "loop", ""):
            async with await attack.connect() as peer:
                await peer.send(b"GET /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode())
                assert (await answer(peer)).startswith(b"HTTP/1.1 404 "), path
