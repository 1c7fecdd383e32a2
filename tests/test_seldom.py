"""When a warning that can be caused without end is logged, and what it says of those that were not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from trio_bunws._seldom import LOG_PAUSE, SeldomLog

if TYPE_CHECKING:
    import pytest
    from trio.testing import MockClock

logger = logging.getLogger("trio_bunws.test")


async def test_the_first_is_logged_and_the_others_are_counted(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    log = SeldomLog(logger)
    for number in range(1000):
        log.warning("number %s", number)
    mock_clock.jump(LOG_PAUSE * 0.9)
    log.warning("number %s", 1000)
    assert caplog.messages == ["number 0"]
    mock_clock.jump(LOG_PAUSE * 0.1)
    log.warning("number %s", 1001)
    assert caplog.messages == ["number 0", "number 1001; 1000 more since the last such line"]


async def test_after_a_silence_there_is_nothing_to_add(mock_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    log = SeldomLog(logger)
    for _ in range(2):
        log.warning("again")
        mock_clock.jump(LOG_PAUSE)
    assert caplog.messages == ["again", "again"]


async def test_each_kind_is_logged_by_itself_as_its_caller_s(caplog: pytest.LogCaptureFixture) -> None:
    for kind in ("one", "other"):
        SeldomLog(logger).warning(kind, extra={"peer": kind})
    assert caplog.messages == ["one", "other"]
    assert [vars(record)["peer"] for record in caplog.records] == ["one", "other"]
    assert {(record.name, record.filename) for record in caplog.records} == {("trio_bunws.test", "test_seldom.py")}
