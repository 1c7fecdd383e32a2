"""`Response`: what is accepted, and what is added.

Covers `trio_bunws._response` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from trio_bunws._file_body import FileBody
from trio_bunws._headers import Headers
from trio_bunws._response import Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def numbers() -> AsyncIterator[bytes]:
    yield b"1"


def test_an_empty_response() -> None:
    response = Response()
    assert response._body == b""
    assert response.status == 200
    assert response.headers == Headers()
    assert repr(response) == "<Response 200>"


def test_text_is_utf_8_and_says_so() -> None:
    response = Response("caf\xe9", 201, {"X": "y"})
    assert response._body == b"caf\xc3\xa9"
    assert response.status == 201
    assert response.headers.items() == [("X", "y"), ("Content-Type", "text/plain;charset=utf-8")]


def test_a_content_type_of_the_application_stays() -> None:
    assert Response("x", headers={"content-type": "text/html"}).headers.items() == [("content-type", "text/html")]
    assert Response.json(1, headers={"content-type": "a/b"}).headers.items() == [("content-type", "a/b")]


@pytest.mark.parametrize("buffer", [b"ab", bytearray(b"ab"), memoryview(b"ab")])
def test_a_buffer_is_copied_and_has_no_type(buffer: bytes) -> None:
    response = Response(buffer)
    assert response._body == b"ab"
    assert response.headers == Headers()


def test_an_async_iterable_is_kept() -> None:
    body = numbers()
    assert Response(body)._body is body


@pytest.mark.parametrize("body", [7, [b"a"], iter([b"a"]), object()])
def test_another_body_is_a_type_error(body: object) -> None:
    with pytest.raises(TypeError, match="Response expects body to be"):
        Response(cast("bytes", body))


@pytest.mark.parametrize("status", ["200", 200.0, True, None])
def test_a_status_that_is_no_integer_is_a_type_error(status: object) -> None:
    with pytest.raises(TypeError, match="Response expects status to be an integer"):
        Response(status=cast("int", status))


@pytest.mark.parametrize("status", [-1, 0, 101, 199, 600])
def test_a_status_out_of_range_is_a_value_error(status: int) -> None:
    with pytest.raises(ValueError, match=f"from 200 to 599, not {status}"):
        Response(status=status)
    assert Response(status=599).status == 599


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_without_body_takes_none(status: int) -> None:
    assert Response("", status)._body == b""
    with pytest.raises(ValueError, match=f"a response of status {status} has no body"):
        Response("x", status)


def test_bad_headers_are_refused() -> None:
    with pytest.raises(ValueError, match="control characters"):
        Response(headers={"X": "a\nb"})


def test_json() -> None:
    response = Response.json({"a": ["\xe9", None]}, 418, {"X": "y"})
    assert response._body == b'{"a":["\xc3\xa9",null]}'
    assert response.status == 418
    assert response.headers.items() == [("X", "y"), ("Content-Type", "application/json;charset=utf-8")]


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        Response.json(object())
    with pytest.raises(ValueError, match="Out of range float"):
        Response.json(float("nan"))


def test_a_redirect() -> None:
    response = Response.redirect("/caf\xe9?a=%20")
    assert response.status == 302
    assert response.headers["location"] == "/caf%C3%A9?a=%20"
    assert Response.redirect("http://other/", 308).status == 308


def test_a_bad_redirect() -> None:
    with pytest.raises(ValueError, match="301, 302, 303, 307 or 308, not 200"):
        Response.redirect("/", 200)
    with pytest.raises(TypeError, match="expects url to be a str"):
        Response.redirect(cast("str", b"/"))
    with pytest.raises(ValueError, match="control characters"):
        Response.redirect("/\r\nX: y")


def test_a_file_is_named_and_not_opened_yet() -> None:
    response = Response.file("missing", root="nowhere")
    assert isinstance(response._body, FileBody)
    assert (response.status, response.headers) == (200, Headers())
