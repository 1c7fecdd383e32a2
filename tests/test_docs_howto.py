"""The how-to pages on logins and TLS: their code lets in whom it should, and nobody else."""

from __future__ import annotations

import os
import signal
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
import trustme
from pages import ask, ran
from patience import PATIENCE

from trio_bunws import HandshakeError, RemoteProtocolError, Server, WebSocket, open_server
from trio_bunws.testing import MemoryListener, open_pair

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from trio.testing import MockClock

ADA = {"Authorization": "Bearer k7Yw2pXq"}


async def test_a_token_in_a_header_tells_who_it_is(autojump_clock: MockClock) -> None:  # noqa: ARG001 - stop waits
    with ran("howto/auth.md") as page:
        async with open_pair(page.names["websocket"], page.names["fetch"], headers=ADA) as (_, client):
            assert await client.receive() == "Hello, ada."


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer k7"}, {"Authorization": "Basic k7Yw2pXq"}])
async def test_without_a_token_nobody_comes_in(headers: dict[str, str]) -> None:
    with ran("howto/auth.md") as page, pytest.raises(HandshakeError, match="401"):
        async with open_pair(page.names["websocket"], page.names["fetch"], headers=headers):
            pass


async def test_a_ticket_is_good_once_and_for_ten_seconds(autojump_clock: MockClock) -> None:
    with ran("howto/auth.md") as page:
        listener = MemoryListener()
        async with open_server(page.names["fetch_with_tickets"], page.names["websocket"], listeners=[listener]):

            async def ticket() -> str:
                authorization = {"Authorization": "Bearer m3Zr9tBv"}
                return (await ask(await listener.connect(), "POST /ticket", headers=authorization)).body

            async def hello(with_ticket: str) -> str | bytes:
                url = f"ws://chat.example/chat?ticket={with_ticket}"
                async with WebSocket(url, stream=await listener.connect()) as client:
                    return await client.receive()

            first, late = await ticket(), await ticket()
            assert await hello(first) == "Hello, grace."
            autojump_clock.jump(10)
            for bad in (first, late, "", "guessed"):
                with pytest.raises(HandshakeError, match="403"):
                    await hello(bad)
            await ticket()
            assert len(page.names["TICKETS"]) == 1  # those that nobody used are gone


async def test_logging_out_closes_all_sockets_of_a_user(autojump_clock: MockClock) -> None:  # noqa: ARG001
    with ran("howto/auth.md") as page:
        async with open_pair(page.names["websocket"], page.names["fetch"], headers=ADA) as (server, client):
            page.names["log_out"](server, "grace")
            page.names["log_out"](server, "ada")
            ending = await client.closed()
            assert (ending.code, ending.reason) == (4001, "logged out")


async def served_over_tls(names: dict[str, Any], ready: trio.Event, free: list[int]) -> None:
    """Run the page's main, on a free port of this machine."""

    @asynccontextmanager
    async def open_here(**options: Any) -> AsyncGenerator[Server]:
        assert (options.pop("hostname"), options.pop("port")) == ("0.0.0.0", 443)
        async with open_server(**options, port=0) as server:
            assert server.port is not None
            free.append(server.port)
            ready.set()
            yield server

    names["open_server"] = open_here
    await names["main"]()


async def test_a_renewed_certificate_is_used_after_sighup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    old, new = trustme.CA(), trustme.CA()

    def issue(authority: trustme.CA) -> None:
        issued = authority.issue_cert("127.0.0.1")
        (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        (tmp_path / "key.pem").write_bytes(issued.private_key_pem.bytes())

    old.cert_pem.write_to_path(str(tmp_path / "old.pem"))
    new.cert_pem.write_to_path(str(tmp_path / "new.pem"))
    issue(old)
    ready, free = trio.Event(), list[int]()
    with ran("howto/tls.md") as page, trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served_over_tls, page.names, ready, free)
            await ready.wait()
            await trio.testing.wait_all_tasks_blocked()
            url = f"wss://127.0.0.1:{free[0]}/"
            assert await page.names["ask"](url, "old.pem") == "hello"
            issue(new)
            os.kill(os.getpid(), signal.SIGHUP)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert await page.names["ask"](url, "new.pem") == "hello"
            with pytest.raises(trio.BrokenResourceError) as refusal:
                await page.names["ask"](url, "old.pem")
            assert isinstance(refusal.value.__cause__, ssl.SSLCertVerificationError)
            nursery.cancel_scope.cancel()


async def test_who_has_no_certificate_is_refused_where_one_is_asked_for(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    stranger, known = (ssl.create_default_context(cafile=str(tmp_path / "authority.pem")) for _ in range(2))
    authority.issue_cert("ada@example.org").configure_cert(known)
    with ran("howto/tls.md") as page, trio.fail_after(PATIENCE):
        page.names["ask_for_certificates"](server_side, str(tmp_path / "authority.pem"))
        handler = page.names["WebSocketHandler"](message=page.names["message"])
        async with open_server(None, handler, port=0, tls=server_side) as server:
            url = f"wss://127.0.0.1:{server.port}/"
            async with WebSocket(url, tls=known) as client:
                client.send("hello")
                assert await client.receive() == "hello"
            with pytest.raises((trio.BrokenResourceError, RemoteProtocolError)):
                async with WebSocket(url, tls=stranger):
                    pass
