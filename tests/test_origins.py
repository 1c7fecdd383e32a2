"""`Origins`: whose pages are let in, whose are not, and what cannot be allowed because no page has that origin.

Covers `trio_bunws._origins` alone; that a foreign page really gets no socket is shown on docs/security.md's example,
by test_security.py.
"""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given, strategies as st

from trio_bunws._origins import Origins
from trio_bunws._request import Request


def handshake(*origins: str) -> Request:
    lines = ["GET /chat HTTP/1.1", "Host: example.org", *(f"Origin: {origin}" for origin in origins), "", ""]
    return Request("\r\n".join(lines).encode("latin-1"))


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        ("https://example.org", True),
        ("http://127.0.0.1:3000", True),
        ("https://example.org:8443", False),
        ("http://example.org", False),
        ("https://www.example.org", False),
        ("https://example.org.evil.example", False),
        ("https://evil-example.org", False),
        ("https://example.org@evil.example", False),
        ("https://evil.example/https://example.org", False),
        ("https://evil.example", False),
        ("http://127.0.0.1", False),
        ("http://127.0.0.1:30000", False),
    ],
)
def test_pages_of_an_allowed_origin_may_and_others_may_not(origin: str, may: bool) -> None:
    assert Origins("https://example.org", "http://127.0.0.1:3000").check(handshake(origin)) is may


def test_a_request_without_an_origin_is_from_no_page() -> None:
    assert Origins("https://example.org").check(handshake())


@pytest.mark.parametrize("origins", [("https://example.org", "https://example.org"), ("https://example.org", "null")])
def test_several_origins_are_refused_even_if_allowed(origins: tuple[str, ...]) -> None:
    assert not Origins("https://example.org").check(handshake(*origins))


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "example.org",
        "https://",
        "https://example.org/",
        "https://example.org/chat",
        "https://example.org,https://example.org",
        "https://example.org https://example.org",
        "https://example.org:",
        "https://example.org:443x",
        "https://example.org:99999",
        "https://EXAMPLE.org\xad",
        "https://e\xa0xample.org",
    ],
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    assert not Origins("https://example.org").check(handshake(origin))


@pytest.mark.parametrize(
    ("allowed", "sent"),
    [
        ("HTTPS://Example.ORG", "https://example.org"),
        ("https://example.org", "https://EXAMPLE.org"),
        ("https://example.org:443", "https://example.org"),
        ("https://example.org", "https://example.org:443"),
        ("http://example.org:80", "http://example.org"),
        ("http://example.org:443", "http://example.org:443"),
        ("https://bücher.example:8443", "https://xn--bcher-kva.example:8443"),
        ("https://BÜCHER.example", "https://xn--bcher-kva.example"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://my_host", "http://my_host"),
        ("https://example.org.", "https://example.org."),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
        ("capacitor://localhost", "capacitor://localhost"),
    ],
)
def test_one_origin_may_be_written_in_several_ways(allowed: str, sent: str) -> None:
    assert Origins(allowed).check(handshake(sent))


def test_a_final_dot_makes_another_host_as_in_browsers() -> None:
    assert not Origins("https://example.org").check(handshake("https://example.org."))


def test_an_allowed_host_is_matched_in_ascii_only() -> None:
    assert not Origins("https://kelvin.example").check(handshake("https://\xb5.example"))
    assert not Origins("https://bücher.example").check(handshake("https://bücher.example"))


@pytest.mark.parametrize(
    ("origin", "complaint"),
    [
        ("null", "every sandboxed frame"),
        ("NULL", "every sandboxed frame"),
        ("*", "no wildcards"),
        ("https://*.example.org", "no wildcards"),
        ("", "no scheme"),
        ("example.org", "no scheme"),
        ("localhost:3000", "no scheme"),
        ("ws://example.org", "that of the page, http or https"),
        ("WSS://example.org", "that of the page, http or https"),
        ("ftp://example.org", "that of the page, http or https"),
        ("file:///home", "that of the page, http or https"),
        ("https://example.org/", "leave out '/'"),
        ("https://example.org/chat?room=1", "leave out '/chat.room=1'"),
        ("https://example.org?room=1", "leave out '.room=1'"),
        ("https://example.org#top", "leave out '#top'"),
        ("https://me:secret@example.org", "no user"),
        ("https://", "scheme, host or port"),
        ("https://example.org:", "scheme, host or port"),
        ("https://example.org:0", "scheme, host or port"),
        ("https://example.org:65536", "scheme, host or port"),
        ("https://example.org:http", "scheme, host or port"),
        ("https://example..org", "scheme, host or port"),
        ("https://exa mple.org", "scheme, host or port"),
        (" https://example.org", "scheme, host or port"),
        ("https://example.org\n", "scheme, host or port"),
        ("https://[::1", "scheme, host or port"),
        ("https://[1:2]", "scheme, host or port"),
        ("http://127.0.0.256", "scheme, host or port"),
        ("http://127.1", "scheme, host or port"),
        ("https://straße.example", "punycode"),
        ("https://ü..example", "punycode"),
    ],
)
def test_what_no_page_has_as_its_origin_cannot_be_allowed(origin: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as raised:
        Origins("https://example.org", origin)
    assert repr(origin) in str(raised.value)


@pytest.mark.parametrize("origin", [None, b"https://example.org", ["https://example.org"]])
def test_an_origin_is_a_string(origin: object) -> None:
    with pytest.raises(TypeError, match="expects strings"):
        Origins(cast("str", origin))


def test_an_empty_allow_list_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="at least one"):
        Origins()


def test_only_a_request_can_be_checked() -> None:
    with pytest.raises(TypeError, match="a Request, not str"):
        Origins("https://example.org").check(cast("Request", "https://example.org"))


def test_its_repr_shows_what_is_compared() -> None:
    assert repr(Origins("HTTPS://b.example:443", "http://a.example:1")) == (
        "Origins('http://a.example:1', 'https://b.example')"
    )


@given(st.text(alphabet=st.characters(max_codepoint=255, blacklist_categories=["Cc"])))
def test_nothing_that_a_peer_sends_raises_or_is_let_in(origin: str) -> None:
    assert not Origins("https://example.org").check(handshake(f"{origin}!"))
