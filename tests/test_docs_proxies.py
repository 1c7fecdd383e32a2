"""docs/howto/nginx.conf and haproxy.cfg, each with the real program before the application of docs/howto/proxies.md.

Only places are replaced in the files: ports, the paths of certificate and socket, and, where a test needs it, one
number. Nobody polls for a start: HAProxy inherits its listening sockets, and nginx leaves for the background when it
listens, on ports that are kept for it by sockets with SO_REUSEPORT.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import tempfile
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trustme
from pages import DOCS, blocks, ran
from patience import PATIENCE

from trio_bunws import ConnectionClosed, HandshakeError, WebSocket, WebSocketHandler, open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping

ATTEMPTS = 20
ORIGIN = {"Origin": "https://chat.example"}
FOLDERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@attrs.frozen
class Place:
    """Where a proxy is started: a folder with its certificate, its ports for plain and TLS, and whom clients trust."""

    folder: Path
    sockets: tuple[socket.socket, socket.socket]
    trust: ssl.SSLContext

    @classmethod
    @contextmanager
    def make(cls) -> Generator[Place]:
        authority = trustme.CA()
        trust = ssl.create_default_context()
        authority.configure_trust(trust)
        certificate = authority.issue_cert("chat.example")
        with ExitStack() as stack:
            # Not pytest's: a unix socket's path has at most 107 bytes.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="proxy")))
            (folder / "key").write_bytes(certificate.private_key_pem.bytes())
            (folder / "pem").write_bytes(certificate.private_key_and_cert_chain_pem.bytes())
            sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
            for sock in sockets:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.bind(("127.0.0.1", 0))
            yield cls(folder, (sockets[0], sockets[1]), trust)

    @property
    def ports(self) -> tuple[int, int]:
        """The ports of the two sockets."""
        plain, secure = (sock.getsockname()[1] for sock in self.sockets)
        return plain, secure

    @asynccontextmanager
    async def nginx(self, changes: Mapping[str, str]) -> AsyncGenerator[None]:
        """Run nginx with the page's configuration."""
        plain, secure = self.ports
        places = {
            "listen 80;": f"listen 127.0.0.1:{plain} reuseport;",
            "listen 443 ssl;": f"listen 127.0.0.1:{secure} ssl reuseport;",
            "/etc/ssl/chat.example.pem": f"{self.folder}/pem",
            "/etc/ssl/chat.example.key": f"{self.folder}/key",
            "/run/chat/chat.sock": f"{self.folder}/sock",
        }
        folders = " ".join(f"{name}_temp_path {self.folder}/{name};" for name in FOLDERS)
        page = replaced("nginx.conf", {**places, **changes})
        file = self.folder / "nginx.conf"
        file.write_text(f"""
            master_process off; pid {self.folder}/pid; error_log {self.folder}/log;
            events {{ }}
            http {{ access_log off; {folders} {page} }}
        """)
        await trio.run_process([program("nginx"), "-c", str(file), "-e", f"{self.folder}/log"])
        try:
            yield
        finally:
            os.kill(int((self.folder / "pid").read_text()), signal.SIGKILL)

    @asynccontextmanager
    async def haproxy(self, changes: Mapping[str, str]) -> AsyncGenerator[None]:
        """Run HAProxy with the page's configuration."""
        for sock in self.sockets:
            sock.listen()
        plain, secure = (sock.fileno() for sock in self.sockets)
        places = {
            "bind :80": f"bind fd@{plain}",
            "bind :443 ssl": f"bind fd@{secure} ssl",
            "/etc/haproxy/chat.example.pem": f"{self.folder}/pem",
            "/run/chat/chat.sock": f"{self.folder}/sock",
        }
        file = self.folder / "haproxy.cfg"
        file.write_text(replaced("haproxy.cfg", {**places, **changes}))
        command = [program("haproxy"), "-q", "-db", "-f", str(file)]
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(trio.run_process, command, pass_fds=(plain, secure), deliver_cancel=killed))
            yield
            nursery.cancel_scope.cancel()


async def killed(process: trio.Process) -> None:
    process.kill()


def replaced(file: str, changes: Mapping[str, str]) -> str:
    """Return a configuration of the page with these replacements, each of which must find its place."""
    text = (DOCS / "howto" / file).read_text("utf-8")
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@attrs.frozen
class Proxied:
    """The running application, and the way to it through the proxy."""

    ports: tuple[int, int]
    trust: ssl.SSLContext

    async def open(self, path: str = "/", headers: Mapping[str, str] = ORIGIN) -> WebSocket:
        stream = await trio.open_tcp_stream("127.0.0.1", self.ports[1])
        return WebSocket(f"wss://chat.example{path}", headers=headers, stream=stream, tls=self.trust, ping_interval=0)

    async def get(self, headers: str = "", *, secure: bool = True) -> tuple[str, str]:
        """Ask for a page; return head and body of the answer."""
        plain, encrypted = self.ports
        stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", encrypted if secure else plain)
        if secure:
            stream = trio.SSLStream(stream, self.trust, server_hostname="chat.example", https_compatible=True)
        request = f"GET /room?x=1 HTTP/1.1\r\nHost: chat.example\r\n{headers}Connection: close\r\n\r\n"
        async with stream:
            await stream.send_all(request.encode())
            answer = b"".join([bytes(part) async for part in stream]).decode()
        head, _, body = answer.partition("\r\n\r\n")
        return head, body


@asynccontextmanager
async def proxied(name: str, changes: Mapping[str, str] | None = None, **options: Any) -> AsyncGenerator[Proxied]:
    """Serve the page's application behind this proxy; `options` change its handler."""
    with Place.make() as place, ran("howto/proxies.md") as page, trio.fail_after(PATIENCE):
        handler = attrs.evolve(page.names["websocket"], **options)
        found = Proxied(place.ports, place.trust)
        async with (
            open_server(page.names["fetch"], handler, unix=place.folder / "sock"),
            getattr(place, name)(changes or {}),
        ):
            yield found


@pytest.fixture(name="proxy", params=["nginx", "haproxy"])
def _proxy(request: pytest.FixtureRequest) -> str:
    program(request.param)
    return str(request.param)


async def test_a_websocket_passes_with_its_messages_its_close_and_its_clients_address(proxy: str) -> None:
    async with proxied(proxy) as chat, await chat.open() as client:
        assert await client.receive() == "Hello, 127.0.0.1."
        for message in ("hello", b"\x00\xff", "x" * 1_000_000):
            client.send(message)
            assert await client.receive() == message
        client.close(4000, "enough")
        ending = await client.closed()
        assert (ending.code, ending.received) == (4000, (4000, "enough"))


async def test_a_client_cannot_claim_another_address(proxy: str) -> None:
    async with proxied(proxy) as chat:
        assert (await chat.get("X-Forwarded-For: 192.0.2.1\r\n"))[1] == "Hello, 127.0.0.1.\n"
        async with await chat.open(headers={**ORIGIN, "X-Forwarded-For": "192.0.2.1"}) as client:
            assert await client.receive() == "Hello, 127.0.0.1."


async def test_a_foreign_page_is_refused_by_its_origin(proxy: str) -> None:
    async with proxied(proxy) as chat:
        with pytest.raises(HandshakeError) as refusal:
            async with await chat.open(headers={"Origin": "https://evil.example"}):
                pass
        assert (refusal.value.status, refusal.value.body) == (403, b"Not from that page.\n")


async def test_who_comes_without_tls_is_sent_to_it(proxy: str) -> None:
    async with proxied(proxy) as chat:
        head, _ = await chat.get(secure=False)
        assert head.startswith("HTTP/1.1 308 ")
        assert "location: https://chat.example/room?x=1" in head.lower().splitlines()


TIMEOUTS = {
    "nginx": {"proxy_read_timeout 130s": "proxy_read_timeout {}ms"},
    "haproxy": {"timeout tunnel 130s": "timeout tunnel {}ms"},
}


def patience(proxy: str, milliseconds: int) -> dict[str, str]:
    return {old: new.format(milliseconds) for old, new in TIMEOUTS[proxy].items()}


async def is_kept_connected(chat: Proxied) -> bool:
    """Be silent for two seconds; tell whether the proxy has let that pass."""
    with suppress(ConnectionClosed, HandshakeError):
        async with await chat.open() as client:
            assert await client.receive() == "Hello, 127.0.0.1."
            with trio.move_on_after(2) as silence:
                await client.closed()
            if silence.cancelled_caught:
                client.send("still here")
                return await client.receive() == "still here"
    return False


async def test_the_servers_pings_keep_a_silent_client_connected(proxy: str) -> None:
    """The proxy's clock is a real one, so a machine with other work may be too slow for it: then try again."""
    for _ in range(ATTEMPTS):
        often = proxied(proxy, patience(proxy, 1250), idle_timeout=1)  # two pings a second
        async with often as chat:
            if await is_kept_connected(chat):
                return
    raise AssertionError("the proxy ended every connection")


async def test_without_them_the_proxy_ends_the_connection(proxy: str) -> None:
    send, receive = trio.open_memory_channel[int](9)

    def closed(_ws: object, code: int, _reason: str) -> None:
        send.send_nowait(code)

    never = proxied(proxy, patience(proxy, 1000), send_pings=False, close=closed)
    async with never as chat, await chat.open() as client:
        assert (await client.closed()).code == 1006
        assert await receive.receive() == 1006  # HAProxy ends this side a moment later
    with pytest.raises(trio.WouldBlock):
        receive.receive_nowait()


COUNTS = {"nginx": {"limit_conn per_client 50": "limit_conn per_client 2"}, "haproxy": {"gt 50": "gt 2"}}


async def test_one_client_has_only_so_many_connections(proxy: str) -> None:
    async with proxied(proxy, COUNTS[proxy]) as chat, await chat.open() as one, await chat.open() as two:
        assert await one.receive() == await two.receive() == "Hello, 127.0.0.1."
        with pytest.raises(HandshakeError) as refusal:
            async with await chat.open():
                pass
        assert refusal.value.status == 503


def test_the_times_of_the_page_are_those_of_the_server() -> None:
    (application,) = blocks("howto/proxies.md")
    assert "idle_timeout=120" in application.source
    assert WebSocketHandler().idle_timeout - 16 == 104
