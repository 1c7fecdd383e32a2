"""Facts about `_subscriptions.py`: what the broker is told, how often, and who waits until it has been told."""

from __future__ import annotations

import trio
import trio.testing

from trio_bunws._subscriptions import Subscriptions


def told(subscriptions: Subscriptions) -> tuple[list[str], list[str]]:
    begin, end = subscriptions.begin_telling()
    subscriptions.end_telling()
    return sorted(begin), sorted(end)


def connected(*channels: str) -> Subscriptions:
    """Make one whose broker has been told of these channels."""
    subscriptions = Subscriptions("own")
    for channel in channels:
        subscriptions.add(channel)
    assert sorted(subscriptions.begin_anew()) == sorted({"own", *channels})
    subscriptions.end_telling()
    return subscriptions


async def test_what_comes_and_goes_is_told_once() -> None:
    subscriptions = connected("a", "b")
    assert not subscriptions.have_changed
    subscriptions.discard("a")
    subscriptions.add("c")
    subscriptions.add("d")
    assert subscriptions.have_changed
    assert told(subscriptions) == (["c", "d"], ["a"])
    assert not subscriptions.have_changed
    assert told(subscriptions) == ([], [])


async def test_what_was_taken_back_in_time_is_not_told() -> None:
    subscriptions = connected("a")
    subscriptions.discard("a")
    subscriptions.add("a")
    subscriptions.add("b")
    subscriptions.discard("b")
    assert told(subscriptions) == ([], [])


async def test_what_changes_while_the_broker_is_told_is_told_next() -> None:
    subscriptions = connected()
    subscriptions.add("a")
    assert subscriptions.begin_telling() == (["a"], [])
    subscriptions.discard("a")
    subscriptions.end_telling()
    assert subscriptions.have_changed
    assert told(subscriptions) == ([], ["a"])


async def test_a_broker_that_knows_of_none_is_told_of_all() -> None:
    subscriptions = connected("a", "b")
    subscriptions.discard("a")
    subscriptions.add("c")
    assert sorted(subscriptions.begin_anew()) == ["b", "c", "own"]
    assert not subscriptions.have_changed
    subscriptions.discard("b")
    assert told(subscriptions) == ([], ["b"])


async def test_one_waits_until_the_broker_has_been_told_of_a_channel_and_for_no_other() -> None:
    subscriptions = connected("a")
    await subscriptions.wait_told("a")
    await subscriptions.wait_told("never heard of")
    subscriptions.discard("a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(subscriptions.wait_told, "a")
        await trio.testing.wait_all_tasks_blocked()
        subscriptions.begin_telling()
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        await subscriptions.wait_told("other")
        subscriptions.add("later")
        subscriptions.end_telling()
    assert told(subscriptions) == (["later"], [])


async def test_a_channel_that_changes_again_meanwhile_is_waited_for_again() -> None:
    subscriptions = connected()
    async with trio.open_nursery() as nursery:
        subscriptions.add("a")
        nursery.start_soon(subscriptions.wait_told, "a")
        await trio.testing.wait_all_tasks_blocked()
        subscriptions.begin_telling()
        subscriptions.discard("a")
        subscriptions.end_telling()
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        told(subscriptions)
