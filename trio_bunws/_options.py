"""The option classes that stand alone, and the checks that every option of the package goes through.

A check names the option and says what is allowed, so that a mistake is understood where it was made.
Nothing here acts on an option. Whoever takes arguments of the application's uses the checks.
"""

from __future__ import annotations

import ssl
from math import isnan
from typing import TYPE_CHECKING, Any, Final, Literal, Never, TypeAlias, get_args

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    Validator: TypeAlias = Callable[[Any, "attrs.Attribute[Any]", Any], None]

Compressor: TypeAlias = Literal[
    "disable", "shared", "dedicated", "3KB", "4KB", "8KB", "16KB", "32KB", "64KB", "128KB", "256KB"
]
"""How much memory a compressor or decompressor keeps: none (``"shared"``: each message by itself), or a window of its
own of up to that size. The names are Bun's; `docs/behaviour.md`, 31, says what each one negotiates."""

COMPRESSORS: Final[tuple[str, ...]] = get_args(Compressor)

MAX_IDLE_TIMEOUT: Final = 960
"""Seconds; Bun's (and uWebSockets') greatest ``idleTimeout``."""


def _reject(error: type[Exception], owner: str, name: str, allowed: str, value: object) -> Never:
    raise error(f"{owner} expects {name} to be {allowed}, not {value!r}")


def check_bool(owner: str, name: str, value: object) -> None:
    """Raise `TypeError` unless ``value`` is a bool; ``owner`` and ``name`` are for the message."""
    if not isinstance(value, bool):
        _reject(TypeError, owner, name, "a boolean", value)


def check_callable(owner: str, name: str, value: object) -> None:
    """Raise `TypeError` unless ``value`` can be called."""
    if not callable(value):
        _reject(TypeError, owner, name, "a function", value)


def check_int(owner: str, name: str, value: object, minimum: int, *, optional: bool = False) -> None:
    """Raise unless ``value`` is an int of at least ``minimum``, or None where that is allowed.

    Raises:
        TypeError: for another type; a bool is no int here.
        ValueError: for an int that is too small.
    """
    if optional and value is None:
        return
    allowed = f"an integer of at least {minimum}{' or None' if optional else ''}"
    if not isinstance(value, int) or isinstance(value, bool):
        _reject(TypeError, owner, name, allowed, value)
    if value < minimum:
        _reject(ValueError, owner, name, allowed, value)


def check_timeout(owner: str, name: str, value: object, *, maximum: float | None = None, zero: str = "off") -> None:
    """Raise unless ``value`` is a finite number of seconds above 0.

    Args:
        owner: whose option it is, for the message.
        name: the option's name, for the message.
        value: what was given.
        maximum: the greatest value that is allowed; with it 0 is allowed too.
        zero: what 0 means, for the message.

    Raises:
        TypeError: for anything but an int or a float; a bool is neither.
        ValueError: for a number outside the range, and for nan.
    """
    allowed = "a finite number of seconds above 0"
    if maximum is not None:
        allowed = f"0 ({zero}) or a number of seconds above 0 and at most {maximum}"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        _reject(TypeError, owner, name, allowed, value)
    low = value < 0 if maximum is not None else value <= 0
    high = value > maximum if maximum is not None else value == float("inf")
    if low or high or isnan(value):
        _reject(ValueError, owner, name, allowed, value)


def check_tls(owner: str, tls: object) -> None:
    """Raise `TypeError` unless it is a context or None."""
    if tls is not None and not isinstance(tls, ssl.SSLContext):
        raise TypeError(f"{owner} expects tls to be an ssl.SSLContext, not {tls!r}")


def boolean(instance: object, attribute: attrs.Attribute[bool], value: object) -> None:
    """Validate a bool attribute, as attrs asks for it."""
    check_bool(type(instance).__name__, attribute.name, value)


def at_least(minimum: int, *, optional: bool = False) -> Validator:
    """Make the validator of an int attribute of at least ``minimum``, or None if ``optional``."""

    def validate(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        check_int(type(instance).__name__, attribute.name, value, minimum, optional=optional)

    return validate


def timeout(*, maximum: float | None = None) -> Validator:
    """Make the validator of an attribute in seconds; ``maximum`` as in `check_timeout`."""

    def validate(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        check_timeout(type(instance).__name__, attribute.name, value, maximum=maximum)

    return validate


def _compressor(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    owner = type(instance).__name__
    allowed = f"a boolean or one of {', '.join(map(repr, COMPRESSORS))}"
    if not isinstance(value, (bool, str)):
        _reject(TypeError, owner, attribute.name, allowed, value)
    if isinstance(value, str) and value not in COMPRESSORS:
        _reject(ValueError, owner, attribute.name, allowed, value)


@attrs.frozen(kw_only=True)
class PerMessageDeflate:
    """How messages are compressed (RFC 7692), each direction by itself; all arguments are keyword-only.

    True means ``"shared"``, False and ``"disable"`` mean off; if both are off, there is no compression. It is
    negotiated when a connection opens, and does not change after that. Messages are compressed only if sent or
    published with ``compress=True``, which is the default of `Server.publish` alone.

    ``"shared"`` compresses each message by itself: a connection keeps no memory for it, and a publish is compressed
    once for all receivers. The others remember what was sent before, which makes similar short messages much shorter.
    They cost each connection memory, from its first compressed message on: 12 KiB (``"3KB"``) to 129 KiB
    (``"dedicated"``, ``"256KB"``) for what it sends, 8 to 40 for what it receives; and a publish is compressed anew for
    each receiver.

    Raises:
        TypeError: if an option is of the wrong type.
        ValueError: if a compressor's name is unknown, or ``min_size`` is negative.
    """

    compress: bool | Compressor = attrs.field(default="shared", validator=_compressor)
    """The compressor for what this side sends. Default: ``"shared"``. Off: only received messages may be compressed."""
    decompress: bool | Compressor = attrs.field(default="shared", validator=_compressor)
    """The decompressor for what the peer sends. Default: ``"shared"``; off means the same while `compress` is on."""
    min_size: int = attrs.field(default=0, validator=at_least(0))
    """Bytes; a shorter payload is sent as it is. Default: 0."""


def check_deflate(owner: str, name: str, value: object) -> None:
    """Raise `TypeError` unless ``value`` is a bool or a `PerMessageDeflate`."""
    if not isinstance(value, (bool, PerMessageDeflate)):
        _reject(TypeError, owner, name, "a boolean or a PerMessageDeflate", value)


@attrs.frozen(kw_only=True)
class Limits:
    """What a server allows one peer, and all peers together; times in seconds, sizes in bytes, all keyword-only.

    Raises:
        TypeError: if a limit is of the wrong type; a bool is not a number.
        ValueError: if a count or a size is below 1, or a time is not above 0 and finite.
    """

    max_connections: int | None = attrs.field(default=None, validator=at_least(1, optional=True))
    """Connections open at the same time. Default: None, no limit."""
    max_connections_per_ip: int | None = attrs.field(default=None, validator=at_least(1, optional=True))
    """Connections open at the same time from one IPv4 address, or from one IPv6 /64 network, because one customer has
    all of its addresses. Default: None, no limit, because behind a proxy all clients have the proxy's address."""
    max_header_size: int = attrs.field(default=16384, validator=at_least(1))
    """Bytes of a request's head, the request line included; a longer one gets 431. Default: 16384."""
    max_headers: int = attrs.field(default=100, validator=at_least(1))
    """Header lines of a request; more get 431. Default: 100."""
    header_timeout: float = attrs.field(default=10.0, validator=timeout())
    """Seconds for a request's head to arrive. Default: 10."""
    handshake_timeout: float = attrs.field(default=10.0, validator=timeout())
    """Seconds for the TLS handshake. Default: 10."""
    close_timeout: float = attrs.field(default=10.0, validator=timeout())
    """Seconds that a close may go without progress, and that handlers have to finish. Default: 10."""
    max_fragments: int = attrs.field(default=16384, validator=at_least(1))
    """Frames of one message; more close the connection with 1009. Default: 16384."""
    max_topics_per_socket: int = attrs.field(default=1024, validator=at_least(1))
    """Topics that one socket may be subscribed to; beyond it ``subscribe`` returns False. Default: 1024."""
    max_topic_length: int = attrs.field(default=1024, validator=at_least(1))
    """Bytes of a topic's name in UTF-8; a longer one raises `ValueError`. Default: 1024."""
