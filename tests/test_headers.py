"""`Headers` and `MultiDict`: order, repeats, case, and what may not go on the wire.

Covers `trio_bunws._headers` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, strategies as st

from trio_bunws._headers import Headers, MultiDict

if TYPE_CHECKING:
    from trio_bunws._headers import HeadersLike

NAMES = st.text("abcXYZ-_09!", min_size=1, max_size=8)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=8)


def test_a_mapping_pairs_and_other_headers_are_accepted() -> None:
    pairs = [("Accept", "a"), ("Host", "b")]
    assert Headers().items() == []
    assert Headers(dict(pairs)).items() == Headers(pairs).items() == Headers(iter(pairs)).items() == pairs
    assert Headers([["Accept", "a"]]).items() == [("Accept", "a")]  # type: ignore[list-item]


def test_headers_made_of_headers_are_a_copy() -> None:
    first = Headers({"A": "1"})
    second = Headers(first)
    second.append("A", "2")
    assert first.getall("a") == ["1"]
    assert second.getall("a") == ["1", "2"]


def test_names_are_case_insensitive_and_kept_as_given() -> None:
    headers = Headers({"Content-Type": "text/html"})
    assert headers["content-TYPE"] == headers.get("CONTENT-type") == "text/html"
    assert "content-type" in headers
    assert list(headers) == ["Content-Type"]
    assert 7 not in headers


def test_repeats_are_joined_in_order() -> None:
    headers = Headers([("Accept", "a"), ("X", "1"), ("accept", "b")])
    assert headers["Accept"] == headers.get("accept") == "a, b"
    assert headers.getall("ACCEPT") == ["a", "b"]
    assert list(headers) == headers.keys() == ["Accept", "X"]
    assert len(headers) == 2
    assert dict(headers) == {"Accept": "a, b", "X": "1"}


def test_set_cookie_is_never_joined() -> None:
    headers = Headers([("Set-Cookie", "a=1"), ("set-cookie", "b=2")])
    assert headers["Set-Cookie"] == headers.get("set-cookie") == "a=1"
    assert headers.getall("set-cookie") == ["a=1", "b=2"]
    assert headers.items() == [("Set-Cookie", "a=1"), ("set-cookie", "b=2")]


def test_a_missing_name_is_a_key_error_or_the_default() -> None:
    headers = Headers()
    assert headers.get("a") is None
    assert headers.get("a", "x") == "x"
    assert headers.getall("a") == []
    with pytest.raises(KeyError, match="a"):
        headers["a"]


def test_set_takes_the_place_of_the_first_and_removes_the_others() -> None:
    headers = Headers([("A", "1"), ("B", "2"), ("a", "3"), ("C", "4")])
    headers.set("a", "5")
    assert headers.items() == [("a", "5"), ("B", "2"), ("C", "4")]
    headers.set("D", "6")
    assert headers.items()[-1] == ("D", "6")


def test_delete_removes_all_and_does_not_mind_none() -> None:
    headers = Headers([("A", "1"), ("B", "2"), ("a", "3")])
    headers.delete("A")
    headers.delete("missing")
    assert headers.items() == [("B", "2")]


def test_headers_are_equal_whatever_the_case_of_their_names() -> None:
    assert Headers({"A": "1"}) == Headers({"a": "1"})
    assert Headers({"A": "1"}) != Headers({"A": "2"})
    assert Headers({"A": "1"}) != {"A": "1"}
    with pytest.raises(TypeError, match="unhashable"):
        hash(Headers())


def test_raw_is_what_goes_on_the_wire() -> None:
    assert Headers({"X-Name": "\xe9"}).raw() == [(b"X-Name", b"\xe9")]


def test_the_repr_shows_the_fields() -> None:
    assert repr(Headers({"A": "1"})) == "Headers([('A', '1')])"


def test_white_space_around_a_value_is_cut_off() -> None:
    assert Headers({"A": " \tx y\t "})["a"] == "x y"


@pytest.mark.parametrize("items", [None, 7, "ab", ["ab"], [("a",)], [("a", "b", "c")], [b"ab"], {"a": 1}, {1: "a"}])
def test_what_is_no_headers_is_a_type_error(items: object) -> None:
    with pytest.raises(TypeError, match="headers must"):
        Headers(cast("HeadersLike", items))


def test_an_appended_field_must_be_of_str() -> None:
    with pytest.raises(TypeError, match="must be str, not 'a': 1"):
        Headers().append("a", cast("str", 1))
    with pytest.raises(TypeError, match="must be str, not b'a': 'b'"):
        Headers().set(cast("str", b"a"), "b")


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\n", "\xe9", "a\x00", "(a)"])
def test_a_name_that_is_no_token_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match="is not a header's name"):
        Headers([(name, "x")])


@pytest.mark.parametrize("char", [*map(chr, range(0x09)), *map(chr, range(0x0A, 0x20)), "\x7f"])
def test_a_control_character_but_tab_is_a_value_error(char: str) -> None:
    with pytest.raises(ValueError, match="control characters"):
        Headers({"A": f"x{char}y"})
    assert Headers({"A": "x\ty"})["A"] == "x\ty"


def test_a_character_outside_latin_1_is_a_value_error() -> None:
    assert Headers({"A": "\xff\x80"})["A"] == "\xff\x80"
    with pytest.raises(ValueError, match="latin-1"):
        Headers({"A": "\u0100"})


def test_a_head_is_taken_apart() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a:80\r\nX-Two:\t \xe9 b\t\r\nEmpty:\r\n\r\n"
    assert Headers._of_head(head).items() == [("Host", "a:80"), ("X-Two", "\xe9 b"), ("Empty", "")]
    assert Headers._of_head(b"GET / HTTP/1.0\r\n\r\n").items() == []


@given(st.lists(st.tuples(NAMES, VALUES)))
def test_what_goes_in_comes_out(pairs: list[tuple[str, str]]) -> None:
    headers = Headers(pairs)
    assert headers.items() == pairs
    head = b"GET / HTTP/1.1\r\n" + b"".join(b"%s: %s\r\n" % field for field in headers.raw()) + b"\r\n"
    assert Headers._of_head(head) == headers
    for name, value in pairs:
        assert value in headers.getall(name.swapcase())


def test_a_multi_dict_gives_the_first_or_all() -> None:
    query = MultiDict([("a", "1"), ("b", "2"), ("a", "3")])
    assert query["a"] == query.get("a") == query.get("a", "x") == "1"
    assert query.getall("a") == ["1", "3"]
    assert query.items() == [("a", "1"), ("b", "2"), ("a", "3")]
    assert list(query) == query.keys() == ["a", "b"]
    assert len(query) == 2
    assert "b" in query
    assert dict(query) == {"a": "1", "b": "2"}
    assert repr(query) == "MultiDict([('a', '1'), ('b', '2'), ('a', '3')])"


def test_a_multi_dict_without_the_name() -> None:
    query = MultiDict()
    assert query.get("a") is None
    assert query.get("a", 7) == 7
    assert query.getall("a") == []
    assert "a" not in query
    with pytest.raises(KeyError, match="a"):
        query["a"]


def test_multi_dicts_are_equal_by_their_pairs() -> None:
    assert MultiDict([("a", "1")]) == MultiDict([("a", "1")])
    assert MultiDict([("a", "1")]) != MultiDict([("a", "2")])
    assert MultiDict() != []
    with pytest.raises(TypeError, match="unhashable"):
        hash(MultiDict())
