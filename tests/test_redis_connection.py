"""Facts about `brokers/_redis_connection.py`: commands, pushes, and what coredis' exceptions become, on a Redis."""

from __future__ import annotations

import ssl
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
import trustme
from patience import PATIENCE
from redis_server import RedisServer, redis_server, until

from trio_bunws import BrokerError
from trio_bunws.brokers._redis_connection import Connection, RefusedError, Turnstile
from trio_bunws.brokers._redis_url import parse_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path


@pytest.fixture(scope="module")
def redis() -> Generator[RedisServer]:
    with redis_server() as server:
        yield server


@asynccontextmanager
async def connected(url: str, *, timeout: float = 10, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Connection]:
    async with trio.open_nursery() as nursery:
        connection = Connection(parse_url(url), tls, timeout)
        await nursery.start(connection.run)
        yield connection
        nursery.cancel_scope.cancel()


async def test_answers_come_in_order_and_errors_are_answers(redis: RedisServer) -> None:
    async with connected(redis.url) as connection:
        assert await connection.request(b"ECHO", b"\x00\xff") == b"\x00\xff"
        echo, error, number = await connection.request_all(
            [(b"ECHO", b"a"), (b"NONSENSE",), (b"PUBLISH", b"c", b"d")], 10
        )
        assert (echo, number) == (b"a", 0)
        assert isinstance(error, Exception)


async def test_a_unix_socket_and_a_database(redis: RedisServer) -> None:
    async with connected(f"unix://{redis.path}?db=3") as connection:
        assert b" db=3 " in await connection.request(b"CLIENT INFO")
        assert b" name=trio_bunws " in await connection.request(b"CLIENT INFO")


async def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    files = {name: tmp_path / name for name in ("cert", "key", "ca")}
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(files["cert"])
    certificate.private_key_pem.write_to_path(files["key"])
    authority.cert_pem.write_to_path(files["ca"])
    options = ["--tls-cert-file", files["cert"], "--tls-key-file", files["key"], "--tls-ca-cert-file", files["ca"]]
    with redis_server(*map(str, options), "--tls-auth-clients", "no") as server:
        port = server.port
        assert server.ask("CONFIG", "SET", "port", "0", "tls-port", str(port)) == "+OK"
        context = ssl.create_default_context()
        authority.configure_trust(context)
        async with connected(f"rediss://127.0.0.1:{port}", tls=context) as connection:
            assert await connection.request(b"PING") == b"PONG"
        with pytest.RaisesGroup(BrokerError):
            async with connected(f"rediss://127.0.0.1:{port}", tls=ssl.create_default_context()):
                raise AssertionError("a certificate of nobody was taken")


async def test_what_redis_refuses_is_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    with redis_server("--requirepass", "secret") as server:
        where = f"127.0.0.1:{server.port}"
        urls = [f"redis://{who}{where}" for who in ("", ":pa55@", "nobody:pa55@")]
        for url in [*urls, f"redis://:secret@{where}/99"]:
            with pytest.RaisesGroup(pytest.RaisesExc(RefusedError, match=f"^{where} refuses us: ")) as raised:
                async with connected(url):
                    raise AssertionError("connected")
            told = str(raised.value.exceptions[0]) + caplog.text
            assert "pa55" not in told
            assert "secret" not in told


async def test_a_redis_that_does_not_know_hello_and_repeats_its_arguments_shows_no_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with redis_server("--rename-command", "HELLO", "") as server:
        assert "secret" in server.ask("HELLO", "3", "AUTH", "me", "secret")
        with pytest.RaisesGroup(pytest.RaisesExc(RefusedError, match="HELLO needs Redis 6")) as raised:
            async with connected(f"redis://me:secret@127.0.0.1:{server.port}"):
                raise AssertionError("connected")
    assert "secret" not in "".join(traceback.format_exception(raised.value.exceptions[0])) + caplog.text


async def test_nobody_there_is_a_broker_error_with_its_reason() -> None:
    with redis_server() as server:
        server.kill()
        words = pytest.RaisesExc(BrokerError, match="(?i)unable to establish .* refused|all connection attempts failed")
        with pytest.RaisesGroup(words):
            async with connected(server.url):
                raise AssertionError("connected")


async def test_a_connection_that_is_lost_ends_its_nursery_and_whatever_waits() -> None:
    ended: list[str] = []
    with redis_server() as server, pytest.RaisesGroup(pytest.RaisesExc(BrokerError, match="was lost")):
        async with connected(server.url) as connection:

            async def block() -> None:
                with pytest.raises(BrokerError, match="was lost"):
                    await connection.request(b"BLPOP", b"nothing", b"0")
                ended.append("request")

            async def listen() -> None:
                with pytest.raises(BrokerError, match="was lost"):
                    await connection.take_pushed(print)
                ended.append("listen")

            with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(block)
                    nursery.start_soon(listen)
                    await trio.testing.wait_all_tasks_blocked()
                    server.kill()
                for lost in (connection.request(b"PING"), connection.change([(b"SUBSCRIBE", b"a")])):
                    with pytest.raises(BrokerError, match="was lost"):
                        await lost
    assert sorted(ended) == ["listen", "request"]


async def test_a_redis_that_hangs_is_found_out_by_its_silence() -> None:
    with redis_server() as server:
        async with connected(server.url, timeout=0.5) as connection:
            await connection.ping()
            server.pause()
            with pytest.raises(BrokerError, match="does not answer"):
                await connection.ping()


async def test_a_ping_whose_answer_is_late_while_other_things_come_is_no_sign_of_death(redis: RedisServer) -> None:
    async with connected(redis.url, timeout=0.5) as connection, trio.open_nursery() as nursery:
        got: list[list[Any]] = []
        nursery.start_soon(connection.take_pushed, got.append)
        await connection.change([(b"SUBSCRIBE", b"late")])
        # Redis answers nothing on this connection while it waits there for a key, but pushes what is published.
        nursery.start_soon(connection.request_all, [(b"BLPOP", b"late", b"0")], 10)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as pinging:
                pinging.start_soon(connection.ping)
                await trio.testing.wait_all_tasks_blocked()
                redis.ask("PUBLISH", "late", "x")
        redis.ask("RPUSH", "late", "x")
        await until(lambda: got)
        nursery.cancel_scope.cancel()


async def test_what_is_published_is_pushed_in_order_and_more_is_not_read_than_is_taken(redis: RedisServer) -> None:
    got: list[bytes] = []
    async with connected(redis.url) as here, connected(redis.url) as there, trio.open_nursery() as nursery:

        def take(message: list[Any]) -> None:
            if message[0] == b"message":
                got.append(message[2])

        nursery.start_soon(here.take_pushed, take)
        await here.change([(b"SUBSCRIBE", b"a", b"b")])
        sent = [b"%d" % number for number in range(500)]
        answers = await there.request_all([(b"PUBLISH", b"a", data) for data in sent], 10)
        assert answers == [1] * 500
        await until(lambda: len(got) == 500)
        assert got == sent
        nursery.cancel_scope.cancel()


async def test_the_turnstile_lets_through_when_nothing_was_taken_for_two_turns() -> None:
    turnstile = Turnstile()
    waiting = 5
    async with trio.open_nursery() as nursery:

        async def take() -> None:
            nonlocal waiting
            while waiting:
                waiting -= 1
                turnstile.taken += 1
                await trio.lowlevel.checkpoint()

        nursery.start_soon(take)
        async with turnstile:
            assert waiting == 0


async def test_a_command_that_redis_does_not_know_is_told_without_its_arguments() -> None:
    with redis_server("--rename-command", "SPUBLISH", "") as server:
        assert "secret" in server.ask("SPUBLISH", "room", "secret")
        async with connected(server.url) as connection:
            answer = await connection.request(b"SPUBLISH", b"room", b"secret")
            assert isinstance(answer, Exception)
            assert "secret" not in "".join(traceback.format_exception(answer))
            assert not await connection.knows(b"SPUBLISH")
            assert await connection.knows(b"SSUBSCRIBE")


async def test_a_change_that_is_refused_leaves_the_connection_in_step() -> None:
    with redis_server() as server:
        server.ask("ACL", "SETUSER", "default", "resetchannels", "&ok*")
        async with connected(server.url) as connection, trio.open_nursery() as nursery:
            nursery.start_soon(connection.take_pushed, lambda _: None)
            for _ in range(2):
                with pytest.raises(RefusedError, match="refuses SUBSCRIBE"):
                    await connection.change([(b"SUBSCRIBE", b"no"), (b"SUBSCRIBE", b"ok"), (b"SUBSCRIBE", b"no")])
                assert await connection.request(b"ECHO", b"in step") == b"in step"
            await connection.change([(b"SUBSCRIBE", b"ok")])
            nursery.cancel_scope.cancel()


async def test_an_exception_of_who_takes_comes_out(redis: RedisServer) -> None:
    async with connected(redis.url) as connection, trio.open_nursery() as nursery:

        def take(_message: list[Any]) -> None:
            raise BrokerError("enough")

        async def listen() -> None:
            with pytest.raises(BrokerError, match="enough"):
                await connection.take_pushed(take)

        nursery.start_soon(listen)
        await connection.change([(b"SUBSCRIBE", b"a")])
