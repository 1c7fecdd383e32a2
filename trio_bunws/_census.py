"""How many subscribers a topic has on the other servers: counts that wait for the answers to their question.

No broker is known here, and no topic; `_relay.py` sends the questions and brings the answers.
"""

from __future__ import annotations

import secrets
from typing import Final

import trio

from trio_bunws._envelope import NUMBER


class Count:
    """One count: the number of its question, and who has answered."""

    __slots__ = ("_answers", "_expected", "done", "number")

    def __init__(self) -> None:
        self.number: Final = secrets.token_bytes(NUMBER)
        self.done: Final = trio.Event()
        """Set when all that are expected have answered."""
        self._answers: Final[dict[bytes, int]] = {}
        self._expected: int | None = None

    @property
    def total(self) -> int:
        """The subscribers that those who have answered told of."""
        return sum(self._answers.values())

    def expect(self, answers: int) -> None:
        """Say how many will answer."""
        self._expected = answers
        self._look()

    def answered(self, node: bytes, subscribers: int) -> None:
        """Note one node's answer; only its first counts."""
        self._answers.setdefault(node, subscribers)
        self._look()

    def _look(self) -> None:
        if self._expected is not None and len(self._answers) >= self._expected:
            self.done.set()


class Census:
    """The counts of one server that are under way."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: Final[dict[bytes, Count]] = {}

    def begin(self) -> Count:
        """Begin a count; the caller ends it."""
        count = Count()
        self._counts[count.number] = count
        return count

    def end(self, count: Count) -> None:
        """Forget a count; what is answered later is of no use."""
        del self._counts[count.number]

    def answered(self, number: bytes, node: bytes, subscribers: int) -> None:
        """Give the answer to a question to its count, if that still waits."""
        count = self._counts.get(number)
        if count is not None:
            count.answered(node, subscribers)
