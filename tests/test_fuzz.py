"""The inputs of the fuzz targets' corpora, among them every one that once broke something, and proof that they judge.

`nox -s fuzz` looks for further ones. A file that it writes goes into tests/fuzz/corpus, named by what is wrong with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from fuzz import codec, http_stream
from test_codec_equality import NO_LIMIT

from trio_bunws._headers import Headers
from trio_bunws._wire.codec import Codec
from trio_bunws._wire.events import Failure
from trio_bunws._wire.http import HttpProtocol
from trio_bunws._wire.ready import ReadyMessages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_bunws._wire.events import Event

CORPUS = Path(__file__).parent / "fuzz" / "corpus"


def inputs(target: str) -> list[Path]:
    return sorted((CORPUS / target).iterdir())


@pytest.mark.parametrize("path", inputs("http_stream"), ids=lambda path: path.name)
def test_a_stream_of_requests_is_read_alike_however_it_is_cut(path: Path) -> None:
    http_stream.check(path.read_bytes())


@pytest.mark.parametrize("path", inputs("codec"), ids=lambda path: path.name)
def test_a_stream_of_frames_is_read_alike_however_it_is_cut(path: Path) -> None:
    codec.check(path.read_bytes())


def test_the_corpora_reach_every_outcome() -> None:
    ends = {http_stream.serve([path.read_bytes()]).end.partition(",")[0] for path in inputs("http_stream")}
    assert ends >= {"ended in a head", "ended in a body", "upgraded", "refused with 426", "refused", "closed"}
    streams = [path.read_bytes() for path in inputs("codec")]
    events: list[Event] = []
    for stream in streams:
        events += codec.decode(codec.KINDS[stream[0]], [stream[1:]])
    assert {type(event).__name__ for event in events} == {"str", "bytes", "Ping", "Pong", "Close", "Failure"}
    assert {event.code for event in events if isinstance(event, Failure)} == {1002, 1007, 1009}
    assert {stream[0] for stream in streams} == set(range(len(codec.KINDS)))


# The targets notice what is wrong


def broken_by(target: str) -> list[str]:
    """Return the names of the inputs that break a target."""
    check = {"http_stream": http_stream.check, "codec": codec.check}[target]
    names: list[str] = []
    for path in inputs(target):
        try:
            check(path.read_bytes())
        except Exception:  # noqa: BLE001  # whatever a target raises is a finding
            names.append(path.name)
    return names


def test_nothing_is_broken_to_begin_with() -> None:
    assert broken_by("http_stream") == broken_by("codec") == []


def test_a_codec_that_loses_a_byte_between_reads_is_noticed() -> None:
    feed = Codec.feed

    def lossy(self: Codec, data: bytes) -> None:
        feed(self, data if self.buffered < 3 else data[1:])

    with mock.patch.object(Codec, "feed", lossy):
        assert "messages" in broken_by("codec")


def test_an_extension_that_forgets_a_limit_is_noticed() -> None:
    def unlimited(data: bytes, pos: int, _: int, masked: bool) -> ReadyMessages:
        return ReadyMessages(data, pos, NO_LIMIT, masked)

    with mock.patch("trio_bunws._wire.codec._ready_messages", unlimited):
        assert broken_by("codec") == ["too_long"]


def test_a_codec_that_raises_is_noticed() -> None:
    def events(_: Codec) -> Iterator[Event]:
        raise IndexError

    with mock.patch.object(Codec, "events", events):
        assert len(broken_by("codec")) == len(inputs("codec"))


def test_a_codec_that_refuses_what_wsproto_takes_is_noticed() -> None:
    with mock.patch("trio_bunws._wire.closing.is_valid_close_code", return_value=False):
        assert broken_by("codec") == ["compressed", "control", "control_unmasked"]


def test_a_codec_without_limits_is_noticed() -> None:
    def unlimited(kind: codec.Kind) -> Codec:
        return Codec(NO_LIMIT, NO_LIMIT, client=kind.client, inflater=kind.inflater())

    with mock.patch.object(codec.Kind, "codec", unlimited):
        assert broken_by("codec") == [
            "compressed_then_plain_fragments_too_long",
            "compressed_too_long",
            "fragments_too_long",
            "too_long",
        ]


def test_a_request_that_ends_elsewhere_for_h11_is_noticed() -> None:
    take = HttpProtocol.next_head

    def without_body(self: HttpProtocol) -> object:
        head = take(self)
        self._body_done = True
        return head

    with mock.patch.object(HttpProtocol, "next_head", without_body):
        assert {"length", "chunked"} <= set(broken_by("http_stream"))


def test_a_value_that_is_not_what_was_sent_is_noticed() -> None:
    with mock.patch.object(Headers, "items", return_value=[("host", "b")]):
        assert "length" in broken_by("http_stream")
