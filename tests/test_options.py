"""Limits and compression options: their defaults, and a clear refusal of everything out of range.

Covers `trio_bunws._options` alone; that each limit holds is tested where it is applied.
"""

from __future__ import annotations

import math
import ssl
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from trio_bunws._options import (
    COMPRESSORS,
    Limits,
    PerMessageDeflate,
    boolean,
    check_bool,
    check_callable,
    check_deflate,
    check_int,
    check_timeout,
    check_tls,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Options = dict[str, Any]

COUNTS = ["max_header_size", "max_headers", "max_fragments", "max_topics_per_socket", "max_topic_length"]
OPTIONAL_COUNTS = ["max_connections", "max_connections_per_ip"]
TIMES = ["header_timeout", "handshake_timeout", "close_timeout"]


def refused(error: type[Exception], words: str, make: Callable[[], object]) -> None:
    """Assert that ``make`` raises ``error`` with just these words."""
    with pytest.raises(error) as raised:
        make()
    assert str(raised.value) == words


def test_limits_have_the_documented_defaults() -> None:
    assert attrs.asdict(Limits()) == {
        "max_connections": None,
        "max_connections_per_ip": None,
        "max_header_size": 16384,
        "max_headers": 100,
        "header_timeout": 10,
        "handshake_timeout": 10,
        "close_timeout": 10,
        "max_fragments": 16384,
        "max_topics_per_socket": 1024,
        "max_topic_length": 1024,
    }


@pytest.mark.parametrize("frozen", [Limits(), PerMessageDeflate()])
def test_options_cannot_be_changed_afterwards(frozen: attrs.AttrsInstance) -> None:
    name = attrs.fields(type(frozen))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(frozen, name, 1)


@pytest.mark.parametrize("name", COUNTS + OPTIONAL_COUNTS)
@pytest.mark.parametrize("value", [1, 2**40])
def test_a_limit_is_any_int_from_1(name: str, value: int) -> None:
    options: Options = {name: value}
    assert getattr(Limits(**options), name) == value


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-1, ValueError), (1.0, TypeError), ("1", TypeError), (None, TypeError), (True, TypeError)],
)
def test_a_limit_that_is_no_int_from_1_is_refused(name: str, value: object, error: type[Exception]) -> None:
    options: Options = {name: value}
    words = f"Limits expects {name} to be an integer of at least 1, not {value!r}"
    refused(error, words, lambda: Limits(**options))


@pytest.mark.parametrize("name", OPTIONAL_COUNTS)
@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (1.0, TypeError), (True, TypeError)])
def test_a_limit_that_may_be_off_says_so(name: str, value: object, error: type[Exception]) -> None:
    options: Options = {name: value}
    words = f"Limits expects {name} to be an integer of at least 1 or None, not {value!r}"
    refused(error, words, lambda: Limits(**options))


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", [0.001, 1, 3600.5])
def test_a_time_is_any_number_above_0(name: str, value: float) -> None:
    options: Options = {name: value}
    assert getattr(Limits(**options), name) == value


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (-1.0, ValueError),
        (math.inf, ValueError),
        (math.nan, ValueError),
        (True, TypeError),
        (None, TypeError),
        ("10", TypeError),
    ],
)
def test_a_time_that_is_not_above_0_and_finite_is_refused(name: str, value: object, error: type[Exception]) -> None:
    options: Options = {name: value}
    words = f"Limits expects {name} to be a finite number of seconds above 0, not {value!r}"
    refused(error, words, lambda: Limits(**options))


def test_compression_is_shared_and_of_every_size_by_default() -> None:
    options = PerMessageDeflate()
    assert (options.compress, options.decompress, options.min_size) == ("shared", "shared", 0)


@pytest.mark.parametrize("name", ["compress", "decompress"])
@pytest.mark.parametrize("value", [True, False, *COMPRESSORS])
def test_a_compressor_is_a_bool_or_one_of_the_names_of_bun(name: str, value: object) -> None:
    options: Options = {name: value}
    assert getattr(PerMessageDeflate(**options), name) == value


@pytest.mark.parametrize("name", ["compress", "decompress"])
@pytest.mark.parametrize(
    ("value", "error"),
    [("1KB", ValueError), ("", ValueError), ("Shared", ValueError), (1, TypeError), (None, TypeError), ([], TypeError)],
)
def test_an_unknown_compressor_is_refused_with_the_list_of_names(
    name: str, value: object, error: type[Exception]
) -> None:
    options: Options = {name: value}
    words = (
        f"PerMessageDeflate expects {name} to be a boolean or one of 'disable', 'shared', 'dedicated', '3KB', "
        f"'4KB', '8KB', '16KB', '32KB', '64KB', '128KB', '256KB', not {value!r}"
    )
    refused(error, words, lambda: PerMessageDeflate(**options))


@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), (False, TypeError), (0.5, TypeError)])
def test_min_size_is_an_int_from_0(value: object, error: type[Exception]) -> None:
    options: Options = {"min_size": value}
    words = f"PerMessageDeflate expects min_size to be an integer of at least 0, not {value!r}"
    refused(error, words, lambda: PerMessageDeflate(**options))


def test_the_checks_name_whose_option_it_is() -> None:
    check_bool("serve", "reuse_port", value=True)
    check_int("serve", "port", 0, 0)
    check_timeout("serve", "idle_timeout", 0, maximum=960)
    refused(
        TypeError,
        "serve expects reuse_port to be a boolean, not 1",
        lambda: check_bool("serve", "reuse_port", 1),
    )


def test_a_boolean_attribute_takes_bools_only() -> None:
    @attrs.frozen
    class Switch:
        on: Any = attrs.field(validator=boolean)

    assert Switch(on=True).on is True
    refused(TypeError, "Switch expects on to be a boolean, not 'yes'", lambda: Switch(on="yes"))


@pytest.mark.parametrize("value", [-0.5, 960.5, math.inf, -math.inf, math.nan])
def test_a_time_with_a_maximum_may_be_0_and_no_more_than_that(value: float) -> None:
    words = f"serve expects idle_timeout to be 0 (off) or a number of seconds above 0 and at most 960, not {value!r}"
    refused(ValueError, words, lambda: check_timeout("serve", "idle_timeout", value, maximum=960))


def test_what_cannot_be_called_is_refused() -> None:
    check_callable("start_soon", "async_fn", len)
    words = "start_soon expects async_fn to be a function, not 7"
    refused(TypeError, words, lambda: check_callable("start_soon", "async_fn", 7))


def test_a_message_says_what_0_means() -> None:
    words = "stop expects grace to be 0 (at once) or a number of seconds above 0 and at most 9, not -1"
    refused(ValueError, words, lambda: check_timeout("stop", "grace", -1, maximum=9, zero="at once"))


@pytest.mark.parametrize("value", [True, False, PerMessageDeflate(min_size=5)])
def test_compression_is_a_bool_or_its_options(value: object) -> None:
    check_deflate("WebSocket", "per_message_deflate", value)


@pytest.mark.parametrize("value", [None, "shared", {"compress": True}])
def test_compression_is_nothing_else(value: object) -> None:
    words = f"WebSocket expects per_message_deflate to be a boolean or a PerMessageDeflate, not {value!r}"
    refused(TypeError, words, lambda: check_deflate("WebSocket", "per_message_deflate", value))


def test_tls_is_a_context_or_none() -> None:
    check_tls("serve", None)
    check_tls("serve", ssl.create_default_context())
    with pytest.raises(TypeError, match=r"^serve expects tls to be an ssl\.SSLContext, not True$"):
        check_tls("serve", True)
