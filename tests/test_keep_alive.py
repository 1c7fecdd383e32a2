"""Keep-alive pings alone: when they are due, when a server is given up, and what a pong measures."""

from __future__ import annotations

import math

from trio_bunws._keep_alive import MAX_OUTSTANDING, KeepAlive


def test_a_ping_is_due_after_each_interval() -> None:
    keep_alive = KeepAlive(20, 5)
    assert keep_alive.next_ping == math.inf
    keep_alive.begin(100)
    assert keep_alive.next_ping == 120
    keep_alive.keep_alive_sent(b"1", 121, 0)
    assert keep_alive.next_ping == 141
    keep_alive.begin(130)
    assert keep_alive.next_ping == 141


def test_a_server_is_given_up_if_nothing_comes_after_a_ping() -> None:
    keep_alive = KeepAlive(2, 5)
    keep_alive.begin(0)
    assert keep_alive.gives_up_at(7) == math.inf
    keep_alive.keep_alive_sent(b"1", 2, 7)
    keep_alive.keep_alive_sent(b"2", 4, 7)
    assert keep_alive.gives_up_at(7) == 7
    assert keep_alive.gives_up_at(8) == math.inf
    assert keep_alive.gives_up_at(7) == math.inf


def test_silence_begins_anew_when_reading_does() -> None:
    keep_alive = KeepAlive(2, 5)
    keep_alive.keep_alive_sent(b"1", 2, 7)
    keep_alive.begin(3)
    assert keep_alive.gives_up_at(7) == math.inf


def test_zero_is_never() -> None:
    keep_alive = KeepAlive(0, 0)
    keep_alive.begin(5)
    assert keep_alive.next_ping == math.inf
    keep_alive.keep_alive_sent(b"1", 5, 0)
    assert keep_alive.gives_up_at(0) == math.inf


def test_a_pong_tells_the_latency_of_its_ping_and_answers_those_before() -> None:
    keep_alive = KeepAlive(20, 5)
    assert keep_alive.latency is None
    for payload, now in ((b"a", 1), (b"b", 2), (b"c", 4)):
        keep_alive.ping_sent(payload, now)
    keep_alive.pong_came(b"unasked", 5)
    assert keep_alive.latency is None
    keep_alive.pong_came(b"b", 5)
    assert keep_alive.latency == 3
    keep_alive.pong_came(b"a", 9)
    assert keep_alive.latency == 3
    keep_alive.pong_came(b"c", 9)
    assert keep_alive.latency == 5


def test_of_two_alike_the_later_is_measured() -> None:
    keep_alive = KeepAlive(20, 5)
    keep_alive.ping_sent(b"", 1)
    keep_alive.ping_sent(b"", 2)
    keep_alive.pong_came(b"", 4)
    assert keep_alive.latency == 2


def test_no_more_than_so_many_pings_are_remembered() -> None:
    keep_alive = KeepAlive(20, 5)
    for number in range(MAX_OUTSTANDING + 1):
        keep_alive.ping_sent(b"%d" % number, number)
    keep_alive.pong_came(b"0", 100)
    assert keep_alive.latency is None
    keep_alive.pong_came(b"1", 101)
    assert keep_alive.latency == 100
