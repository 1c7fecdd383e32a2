"""Facts about `_census.py`: when a question is done, and what its answers add up to."""

from __future__ import annotations

from trio_bunws._census import Census

A, B = b"a" * 8, b"b" * 8


async def test_a_question_is_done_when_all_that_are_expected_have_answered() -> None:
    census = Census()
    question = census.begin()
    question.expect(2)
    census.answered(question.number, A, 3)
    assert not question.done.is_set()
    census.answered(question.number, B, 4)
    assert question.done.is_set()
    assert question.total == 7


async def test_a_question_is_done_at_once_where_all_have_answered_before_it_was_known_how_many() -> None:
    question = Census().begin()
    question.answered(A, 1)
    assert not question.done.is_set()
    question.expect(1)
    assert question.done.is_set()


async def test_nobody_to_ask_is_done_at_once() -> None:
    question = Census().begin()
    question.expect(0)
    assert question.done.is_set()
    assert question.total == 0


async def test_a_node_counts_once() -> None:
    question = Census().begin()
    question.expect(2)
    question.answered(A, 1)
    question.answered(A, 10)
    assert not question.done.is_set()
    assert question.total == 1


async def test_an_answer_that_comes_late_or_to_nothing_is_ignored() -> None:
    census = Census()
    question = census.begin()
    census.answered(b"another!", A, 1)
    census.end(question)
    census.answered(question.number, A, 1)
    assert question.total == 0


async def test_two_questions_have_two_numbers() -> None:
    census = Census()
    assert census.begin().number != census.begin().number
