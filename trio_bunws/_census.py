"""How many subscribers a topic has on the other servers: questions that wait for their answers.

No broker and no envelope is known here; `_relay.py` sends the questions and brings the answers.
"""

from __future__ import annotations

import secrets
from typing import Final

import trio

from trio_bunws._envelope import NUMBER


class Question:
    """One question, and who has answered it."""

    __slots__ = ("_answers", "_expected", "done", "number")

    def __init__(self) -> None:
        self.number: Final = secrets.token_bytes(NUMBER)
        self.done: Final = trio.Event()
        """Set when all have answered."""
        self._answers: Final[dict[bytes, int]] = {}
        self._expected: int | None = None

    @property
    def total(self) -> int:
        """The subscribers that were told so far."""
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
    """The questions of one server."""

    __slots__ = ("_questions",)

    def __init__(self) -> None:
        self._questions: Final[dict[bytes, Question]] = {}

    def begin(self) -> Question:
        """Begin a question; the caller ends it."""
        question = Question()
        self._questions[question.number] = question
        return question

    def end(self, question: Question) -> None:
        """Forget a question; what is answered later is of no use."""
        del self._questions[question.number]

    def answered(self, number: bytes, node: bytes, subscribers: int) -> None:
        """Give an answer to its question, if that still waits."""
        question = self._questions.get(number)
        if question is not None:
            question.answered(node, subscribers)
