"""Facts about `brokers/_redis_url.py`: what a URL says, what is none, and that no password is shown."""

from __future__ import annotations

import pytest

from trio_bunws.brokers._redis_url import RedisURL, parse_url


@pytest.mark.parametrize(
    ("url", "expected", "shown"),
    [
        ("redis://localhost", ("localhost", 6379, "", 0, None, None, False), "redis://localhost:6379/0"),
        ("redis://[::1]:1/2/", ("::1", 1, "", 2, None, None, False), "redis://[::1]:1/2"),
        ("rediss://:s%40f%2F@a.b:7", ("a.b", 7, "", 0, None, "s@f/", True), "rediss://a.b:7/0"),
        ("redis://me%3A:secret@a", ("a", 6379, "", 0, "me:", "secret", False), "redis://me:@a:6379/0"),
        ("unix:///run/r%20.sock?db=3", ("", 6379, "/run/r .sock", 3, None, None, False), "unix:///run/r .sock"),
        ("unix://u:secret@/r", ("", 6379, "/r", 0, "u", "secret", False), "unix://u@/r"),
    ],
)
def test_a_url_says_where_redis_is_and_shows_no_password(
    url: str, expected: tuple[str, int, str, int, str | None, str | None, bool], shown: str
) -> None:
    parsed = parse_url(url)
    assert parsed == RedisURL(*expected)
    assert str(parsed) == shown
    assert "secret" not in repr(parsed) + str(parsed)


@pytest.mark.parametrize(
    "url",
    [
        "localhost",
        "http://:secret@a",
        "redis://",
        "redis://:secret@",
        "redis://:secret@a/x",
        "redis://:secret@a/-1",
        "redis://:secret@a:99999",
        "redis://:secret@a:x",
        "redis://:secret@a?timeout=1",
        "redis://:secret@a?timeout",
        "redis://:secret@a#b",
        "unix://",
        "unix:///a?db=x",
        "unix:///a?database=1",
        "redis://[:secret@a",
    ],
)
def test_what_is_none_is_a_value_error_that_does_not_repeat_it(url: str) -> None:
    with pytest.raises(ValueError, match="RedisBroker expects url to be redis://") as raised:
        parse_url(url)
    assert "secret" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_what_is_no_string_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"RedisBroker expects url .* not bytes"):
        parse_url(b"redis://localhost")
