"""One connection to a Redis, by coredis: commands and their answers, and what Redis pushes without being asked.

The seam at which coredis' exceptions become `BrokerError`, and where what it queues without a bound gets one. The one
importer of coredis; `_redis_node.py` makes two of these for each Redis.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, cast

import trio
from coredis.connection import (
    BaseConnection,
    BaseConnectionParams,
    TCPConnection,
    TCPLocation,
    UnixDomainSocketConnection,
    UnixDomainSocketLocation,
)
from coredis.exceptions import (
    AuthenticationFailureError,
    AuthenticationRequiredError,
    AuthorizationError,
    RedisError,
    ResponseError,
    UnknownCommandError,
)

from trio_bunws._errors import BrokerError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from anyio import CapacityLimiter

    from trio_bunws.brokers._redis_url import RedisURL

REFUSALS: Final = (AuthenticationFailureError, AuthenticationRequiredError, AuthorizationError)
UNKNOWN: Final = "it does not know this command"
"""Said in place of Redis's words, which repeat the command with its arguments: a message may be among them."""


class RefusedError(BrokerError):
    """Redis answers, and does not want us: no second try would change that."""


class Turnstile:
    """Holds up coredis' reading until what it has read was taken: its queue of pushed messages has no bound.

    coredis enters its `processing_budget` before it takes a piece of what it has read, of at most 64 KiB, apart. The
    task that takes messages out gets one in each of its turns while there are any: if it has got none in two turns of
    this one, there are none.
    """

    def __init__(self) -> None:
        self.taken = 0
        """Messages taken out so far."""

    async def __aenter__(self) -> None:
        seen = -1
        while seen != self.taken:
            seen = self.taken
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Do nothing."""


class Connection:
    """A connection that is opened once, and lasts as long as the nursery it was opened in, or until it is lost."""

    def __init__(self, url: RedisURL, tls: ssl.SSLContext | None, timeout: float) -> None:
        """`timeout`: seconds that connecting, and each answer, may take."""
        self._turnstile: Final = Turnstile()
        options: BaseConnectionParams = {
            "stream_timeout": timeout,
            "connect_timeout": timeout,
            "username": url.username,
            "password": url.password,
            "db": url.db,
            "client_name": "trio_bunws",
            "ssl_context": tls,
            "processing_budget": cast("CapacityLimiter", self._turnstile),  # only ever entered
        }
        self._timeout: Final = timeout
        self._where: Final = url.path or f"{url.host}:{url.port}"
        self._connection: Final[BaseConnection] = (
            UnixDomainSocketConnection(UnixDomainSocketLocation(url.path), **options)
            if url.path
            else TCPConnection(TCPLocation(url.host, url.port), **options)
        )

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Be connected, until it is lost; started when Redis has said hello.

        Raises:
            RefusedError: before that, if Redis has refused us.
            BrokerError: when it is lost, or could not be made.
        """
        try:
            await self._connection.run(task_status=task_status)
        except REFUSALS as exc:
            raise RefusedError(f"{self._where} refuses us: {exc}") from exc
        except UnknownCommandError:
            # Its words repeat the command with its arguments, and HELLO has the password among them.
            words = "it does not know all the commands that a connection begins with; HELLO needs Redis 6"
            raise RefusedError(f"{self._where} refuses us: {words}") from None
        except RedisError as exc:
            if type(exc) is ResponseError:  # of no other kind, as to a database that it does not have
                raise RefusedError(f"{self._where} refuses us: {exc}") from exc
            raise BrokerError(f"{exc} ({exc.__cause__})" if exc.__cause__ else str(exc)) from exc
        raise self._lost()

    async def request(self, *command: bytes) -> Any:  # noqa: ANN401 - as many types as Redis has
        """Return the answer to one command; an error that Redis answers with is returned, not raised. A checkpoint.

        Raises:
            BrokerError: if no answer came.
        """
        (answer,) = await self.request_all([command], self._timeout)
        return answer

    async def knows(self, command: bytes) -> bool:
        """Return whether Redis has a command that cannot be without arguments. A checkpoint; raises as `request`."""
        return not isinstance(await self.request(command), UnknownCommandError)

    async def request_all(self, commands: Sequence[Sequence[bytes]], timeout: float) -> list[Any]:
        """Send commands in one piece and return their answers, which must come within so many seconds; as `request`."""
        await trio.lowlevel.checkpoint()
        create = self._connection.create_request
        try:
            requests = [create(name, *arguments, decode=False, timeout=timeout) for name, *arguments in commands]
            answers: list[Any] = []
            for request in requests:
                try:
                    answers.append(await request)
                except UnknownCommandError:
                    answers.append(UnknownCommandError(UNKNOWN))
                except ResponseError as exc:
                    answers.append(exc)
        except RedisError as exc:
            raise self._lost() from exc
        except TimeoutError as exc:
            raise BrokerError(f"{self._where} does not answer") from exc
        return answers

    async def ping(self) -> None:
        """See whether the connection still lives. The caller sees to it that nothing else is asked meanwhile.

        Raises:
            BrokerError: if no answer came, nor anything else.
        """
        before = self._connection.statistics.bytes_read
        try:
            await self.request(b"PING")
        except BrokerError:
            if self._connection.statistics.bytes_read == before:
                raise

    async def change(self, commands: Sequence[Sequence[bytes]]) -> None:
        """Send commands that are answered by pushed messages only, and wait until Redis has done them; as `ping`.

        Raises:
            RefusedError: if Redis refuses one of them.
            BrokerError: if it does not answer.
        """
        try:
            for name, *arguments in commands:
                self._connection.send_command(name, *arguments)
        except RedisError as exc:
            raise self._lost() from exc
        answer = await self.request(b"PING")
        if isinstance(answer, ResponseError):
            # One of the commands was refused, and the ping got that answer. Its own one is behind it, perhaps behind
            # further refusals, and belongs to no request: take all of them out, so that the next request gets its own.
            with trio.move_on_after(self._timeout):
                async with aclosing(self._connection.streamed_messages) as rest:
                    async for more in rest:
                        if more == b"PONG":
                            break
            raise RefusedError(f"{self._where} refuses {commands[0][0].decode()}: {answer}")

    async def take_pushed(self, take: Callable[[list[Any]], None]) -> None:
        """Give to `take` what Redis pushes, until cancelled, the connection is lost, or `take` raises `BrokerError`."""
        try:
            async with aclosing(self._connection.push_messages) as messages:
                async for message in messages:
                    self._turnstile.taken += 1
                    take(cast("list[Any]", message))
        except RedisError as exc:
            raise self._lost() from exc

    def _lost(self) -> BrokerError:
        return BrokerError(f"the connection to {self._where} was lost")
