"""permessage-deflate (RFC 7692): what two sides agree on, and what each side of a connection makes of the agreement.

Offers and answers are read strictly here. The handshakes call it, and whoever opens a connection gets from it what the
codec inflates with and what the socket compresses with; the work itself is `deflate.py`'s.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from trio_bunws._options import PerMessageDeflate
from trio_bunws._wire.deflate import MAX_BITS, Deflater, Inflater
from trio_bunws._wire.frames import TEXT, binary_frame, compressed_frame, text_frame

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

NAME: Final = "permessage-deflate"

_COMPRESSOR_BITS: Final = {"3KB": 9, "4KB": 9, "8KB": 10, "16KB": 11, "32KB": 12, "64KB": 13, "128KB": 14}
"""The window of a compressor, by its name; `MAX_BITS` for others. All that it takes is much more than its window."""
_DECOMPRESSOR_BITS: Final = {"3KB": 11, "4KB": 12, "8KB": 13, "16KB": 14}
"""The window of a decompressor, by its name; `MAX_BITS` for others."""

_BITS: Final = re.compile(r"[89]|1[0-5]")
_FLAGS: Final = frozenset({"server_no_context_takeover", "client_no_context_takeover"})
_WINDOWS: Final = frozenset({"server_max_window_bits", "client_max_window_bits"})
_ELEMENT: Final = re.compile(r'((?:[^",]|"(?:[^"\\]|\\.)*")*)(?:,|$)')
"""One element of a comma-separated list; a comma within quotes ends none."""


@attrs.frozen(kw_only=True)
class Agreement:
    """What both sides agreed on: how each of them may compress."""

    server_max_window_bits: int = MAX_BITS
    """8 to 15."""
    client_max_window_bits: int = MAX_BITS
    """8 to 15."""
    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False


class _Parameters(NamedTuple):
    """The parameters of one offer or answer; a window of `None`: not there, of 0: there without a value."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int | None = None
    client_max_window_bits: int | None = None


def accept_offers(offers: str, config: bool | PerMessageDeflate) -> tuple[Agreement, str] | None:
    """Accept the first acceptable one of a client's offers (BEHAVIOUR.md, 31 and 32).

    Return the agreement and the ``Sec-WebSocket-Extensions`` of the 101; None: no compression.
    """
    if not offers:
        return None
    compress, decompress = _names(config)
    if decompress == "disable":
        return None
    for offer in _elements(offers):
        offered = _read(offer)
        # A server's window must have a value (0 is none), and zlib has no window of 8 bits.
        if offered is not None and offered.server_max_window_bits not in {0, 8}:
            return _agree(offered, compress, decompress)
    return None


def _agree(offered: _Parameters, compress: str, decompress: str) -> tuple[Agreement, str]:
    """Return what an acceptable offer and a server's two names come to, and the answer that says so."""
    answer = [NAME]
    client_takeover = decompress != "shared" and not offered.client_no_context_takeover
    client_bits = MAX_BITS
    if client_takeover and offered.client_max_window_bits is not None:  # lowered only if the client lets us
        client_bits = min(_DECOMPRESSOR_BITS.get(decompress, MAX_BITS), offered.client_max_window_bits or MAX_BITS)
    if not client_takeover:
        answer.append("client_no_context_takeover")
    elif client_bits < MAX_BITS:
        answer.append(f"client_max_window_bits={client_bits}")
    server_takeover = compress not in {"shared", "disable"} and not offered.server_no_context_takeover
    server_bits = _COMPRESSOR_BITS.get(compress, MAX_BITS) if server_takeover else MAX_BITS
    server_bits = min(server_bits, offered.server_max_window_bits or MAX_BITS)
    if not server_takeover:
        answer.append("server_no_context_takeover")
    if server_bits < MAX_BITS or offered.server_max_window_bits is not None:
        answer.append(f"server_max_window_bits={server_bits}")
    agreement = Agreement(
        server_max_window_bits=server_bits,
        client_max_window_bits=client_bits,
        server_no_context_takeover=not server_takeover,
        client_no_context_takeover=not client_takeover,
    )
    return agreement, "; ".join(answer)


def make_offer(config: bool | PerMessageDeflate) -> str:
    """Return the ``Sec-WebSocket-Extensions`` of a client's request; "" if it wants no compression.

    The `compress` of a client is what it sends. True makes the offer of the browsers.
    """
    if config is True:
        return f"{NAME}; client_max_window_bits"
    compress, decompress = _names(config)
    if decompress == "disable":
        return ""
    offer = [NAME]
    if compress in {"shared", "disable"}:
        offer.append("client_no_context_takeover")
    bits = _COMPRESSOR_BITS.get(compress, MAX_BITS)
    offer.append("client_max_window_bits" if bits == MAX_BITS else f"client_max_window_bits={bits}")
    if decompress == "shared":
        offer.append("server_no_context_takeover")
    elif decompress in _DECOMPRESSOR_BITS:
        offer.append(f"server_max_window_bits={_DECOMPRESSOR_BITS[decompress]}")
    return "; ".join(offer)


def accept_answer(answer: str, config: bool | PerMessageDeflate) -> Agreement | None:
    """Return what a server's ``Sec-WebSocket-Extensions`` means to the client; None: no compression.

    Raises:
        ValueError: if the answer does not belong to the offer; its text says what the server did.
    """
    if not answer:
        return None
    offered = _read(make_offer(config))
    if offered is None:
        raise ValueError("it answers an extension that was not offered")
    elements = list(_elements(answer))
    answered = _read(elements[0]) if len(elements) == 1 else None
    if answered is None or 0 in answered[2:]:
        raise ValueError(f"its answer to {NAME} is not one of the possible ones: {answer}")
    client_bits, server_bits = offered.client_max_window_bits or MAX_BITS, offered.server_max_window_bits or MAX_BITS
    if (
        (answered.client_max_window_bits or client_bits) > client_bits
        or (answered.server_max_window_bits or MAX_BITS) > server_bits
        or offered.server_no_context_takeover > answered.server_no_context_takeover
    ):
        raise ValueError(f"its answer to {NAME} does not keep to the offer: {answer}")
    return Agreement(
        server_max_window_bits=answered.server_max_window_bits or MAX_BITS,
        client_max_window_bits=answered.client_max_window_bits or client_bits,
        server_no_context_takeover=answered.server_no_context_takeover,
        client_no_context_takeover=answered.client_no_context_takeover or offered.client_no_context_takeover,
    )


def _names(config: bool | PerMessageDeflate) -> tuple[str, str]:
    """Return the names of compressor and decompressor, also for bools; both are "disable" if it is off."""
    if isinstance(config, bool):
        config = PerMessageDeflate(compress=config, decompress=config)
    compress, decompress = map(_name, (config.compress, config.decompress))
    return compress, "shared" if decompress == "disable" != compress else decompress


def _name(value: bool | str) -> str:
    if isinstance(value, bool):
        return "shared" if value else "disable"
    return value


def _elements(header: str) -> Iterator[str]:
    """Split a header at its commas; what follows a quote that is not closed is one element."""
    position = 0
    while position <= len(header):
        element = _ELEMENT.match(header, position)
        if element is None:
            yield header[position:]
            return
        position = element.end() + (not element[0].endswith(","))
        yield element[1]


def _read(element: str) -> _Parameters | None:
    """Read one offer or answer; None: another extension's, or one that RFC 7692 does not allow."""
    name, *parameters = (part.strip(" \t") for part in element.split(";"))
    if name != NAME:
        return None
    found: dict[str, int] = {}
    for parameter in parameters:
        key, equals, value = parameter.partition("=")
        if key in found:
            return None
        if (key in _FLAGS and not equals) or (key in _WINDOWS and (not equals or _BITS.fullmatch(value))):
            found[key] = int(value or 0)
        else:
            return None
    return _Parameters(
        "server_no_context_takeover" in found,
        "client_no_context_takeover" in found,
        found.get("server_max_window_bits"),
        found.get("client_max_window_bits"),
    )


def inflater(agreement: Agreement | None, *, client: bool) -> Inflater | None:
    """Return a new inflater for what the peer of one connection sends; `client`: our side is the client.

    None if there is no agreement.
    """
    if agreement is None:
        return None
    if client:
        return Inflater(agreement.server_max_window_bits, takeover=not agreement.server_no_context_takeover)
    return Inflater(agreement.client_max_window_bits, takeover=not agreement.client_no_context_takeover)


def outbound(agreement: Agreement, config: bool | PerMessageDeflate, *, client: bool) -> Outbound | None:
    """Return what one connection compresses with, or None if it only decompresses; `client`: our side is the client."""
    compress, _ = _names(config)
    if compress == "disable":
        return None
    min_size = 0 if isinstance(config, bool) else config.min_size
    if client:
        # A client may always do without what it was allowed.
        takeover = compress != "shared" and not agreement.client_no_context_takeover
        return Outbound(agreement.client_max_window_bits, takeover=takeover, min_size=min_size)
    return Outbound(
        agreement.server_max_window_bits, takeover=not agreement.server_no_context_takeover, min_size=min_size
    )


class Outbound:
    """What a socket compresses with: makes frames of payloads.

    Memory: a compressor, from the first compressed message on.
    """

    __slots__ = ("__weakref__", "_deflater", "_least", "group", "min_size", "takeover")

    def __init__(self, window_bits: int, *, takeover: bool, min_size: int) -> None:
        """`window_bits`: 8 to 15. `takeover`: messages refer to others. `min_size`: bytes; shorter ones stay plain."""
        self._deflater: Final = Deflater(window_bits, takeover=takeover)
        self._least: Final = max(min_size, 1)
        self.min_size: Final = min_size
        self.takeover: Final = takeover
        """A frame must be sent once it was made, and to one peer only."""
        self.group: Final[Hashable] = None if takeover else (window_bits, min_size)
        """Equal for all whose frames are interchangeable; None: for nobody else."""

    def frame(self, payload: bytes, opcode: int) -> bytes:
        """Return a whole message as one frame: compressed, or as it is if it is empty or too short for that."""
        if len(payload) >= self._least:
            return compressed_frame(self._deflater.compress(payload), opcode)
        return text_frame(payload) if opcode == TEXT else binary_frame(payload)
