"""Which node of a Redis cluster has a channel: hash slots, as the Redis cluster specification has them.

Pure data, from what `CLUSTER SLOTS` answers; who asks for it is `_redis_cluster.py`, and `RedisBroker` keeps the map.
"""

from __future__ import annotations

from binascii import crc_hqx
from bisect import bisect_right
from typing import Final, Generic, TypeAlias, TypeVar

SLOTS: Final = 16384
Address: TypeAlias = tuple[str, int]
N = TypeVar("N")


def slot_of(channel: bytes) -> int:
    """Return a channel's slot: the CRC16 of what is in its first {braces}, or of all of it."""
    start = channel.find(b"{")
    if start >= 0:
        end = channel.find(b"}", start + 1)
        if end > start + 1:
            channel = channel[start + 1 : end]
    return crc_hqx(channel, 0) % SLOTS


def read_slots(answer: object, asked: Address) -> list[tuple[int, Address]]:
    """Return the first slot of each range, in order, with the address of the primary that has it.

    `asked` is the node that has answered: it may not know its own address, and a port alone means the same host.

    Raises:
        ValueError: if this is no answer to `CLUSTER SLOTS`, or slots are without a node.
    """
    found: list[tuple[int, Address]] = []
    covered = 0
    try:
        for first, last, (host, port, *_), *_ in sorted(answer):  # type: ignore[call-overload]  # a ValueError if not
            if first != covered:
                break
            covered = last + 1
            found.append((first, (host.decode() if host else asked[0], int(port) or asked[1])))
    except (TypeError, AttributeError) as exc:
        raise ValueError("this is no list of slots") from exc
    if covered != SLOTS:
        raise ValueError(f"no node has slot {covered}")
    return found


class SlotMap(Generic[N]):
    """Nodes by channel."""

    def __init__(self, ranges: list[tuple[int, N]]) -> None:
        """`ranges`: the first slot of each range, in order, with the node that has it."""
        self._firsts: Final = [first for first, _ in ranges]
        self._nodes: Final = [node for _, node in ranges]

    def node_of(self, channel: bytes) -> N:
        """Return the node that has a channel."""
        return self._nodes[bisect_right(self._firsts, slot_of(channel)) - 1]
