"""Deflate alone: messages there and back, however they are cut, within their room, and what is no deflate.

Every test runs with zlib alone and with the faster library.
"""

from __future__ import annotations

import random
import runpy
import sys
import zlib
from itertools import pairwise

import pytest

from trio_bunws._wire import deflate
from trio_bunws._wire.deflate import BrokenData, Deflater, Inflater, TooLong

LIMIT = 1 << 24
TAIL = b"\x00\x00\xff\xff"
JSON = b'{"type": "message", "from": "somebody", "text": "hello world, hello again"}'
MESSAGES = [b"", b"x", JSON, JSON, b"\xff" * 5_000, JSON * 100, random.Random(1).randbytes(70_000), JSON]

takeovers = pytest.mark.parametrize("takeover", [False, True])
windows = pytest.mark.parametrize("bits", range(8, 16))


@pytest.fixture(params=["zlib", "isal"], autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run with each library."""
    name: str = request.param
    if name == "isal":
        pytest.importorskip("isal")
    else:
        monkeypatch.setattr(deflate, "isal_zlib", None)
    return name


def inflate(inflater: Inflater, *pieces: bytes, room: int = LIMIT) -> bytes:
    """Inflate one message in pieces."""
    inflated = b""
    for number, piece in enumerate(pieces, 1):
        inflated += inflater.inflate(piece, room - len(inflated), final=number == len(pieces))
    return inflated


def by_zlib(data: bytes, bits: int = 15) -> bytes:
    return zlib.decompressobj(-bits).decompress(data + TAIL)


def ended_by_a_last_block(message: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(message) + compressor.flush(zlib.Z_FINISH)


def test_the_library_that_is_there_is_used_and_named(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None if backend == "zlib" else __import__("isal"))
    assert runpy.run_path(deflate.__file__)["BACKEND"] == backend


@windows
@takeovers
def test_messages_come_back(bits: int, takeover: bool) -> None:
    deflater, inflater = Deflater(bits, takeover=takeover), Inflater(bits, takeover=takeover)
    assert [inflate(inflater, deflater.compress(message)) for message in MESSAGES] == MESSAGES


@takeovers
@pytest.mark.parametrize("size", [1, 3, 4096])
def test_a_message_may_be_cut_anywhere(size: int, takeover: bool) -> None:
    deflater, inflater = Deflater(15, takeover=takeover), Inflater(15, takeover=takeover)
    for message in MESSAGES:
        data = deflater.compress(message)
        cuts = [data[start : start + size] for start in range(0, len(data), size)]
        assert inflate(inflater, *cuts) == message
        assert inflate(inflater, deflater.compress(message), b"") == message


@windows
@takeovers
def test_the_window_is_kept_to(bits: int, takeover: bool) -> None:
    # zlib's inflater knows only what fits its window where a call begins; so it must not get more at a time.
    deflater = Deflater(bits, takeover=takeover)
    inflater = zlib.decompressobj(-bits)
    seeds = random.Random(1).choices(range(9), k=900)
    parts = [random.Random(seed).randbytes(100) for seed in [*range(300), *seeds]]
    for message in [*parts[:30], b"".join(parts), b"".join(parts[-20:]), *MESSAGES]:
        data = deflater.compress(message) + TAIL
        cuts = [data[start : start + 20] for start in range(0, len(data), 20)]
        assert b"".join(map(inflater.decompress, cuts)) == message


def test_with_context_takeover_a_message_refers_to_those_before() -> None:
    deflater = Deflater(15, takeover=True)
    assert len(deflater.compress(JSON)) > 3 * len(deflater.compress(JSON))


@windows
def test_without_context_takeover_every_message_can_be_read_alone(bits: int) -> None:
    deflater = Deflater(bits, takeover=False)
    assert [by_zlib(deflater.compress(message), max(bits, 9)) for message in MESSAGES] == MESSAGES


@pytest.mark.parametrize("takeover", [True, False])
def test_nothing_is_made_before_the_first_message(takeover: bool) -> None:
    deflater, inflater = Deflater(15, takeover=takeover), Inflater(15, takeover=takeover)
    assert deflater._compressor is None
    assert inflater._decompressor is None
    data = deflater.compress(JSON)
    assert deflater._compressor is not None
    inflate(inflater, data)
    assert (inflater._decompressor is None) is not takeover  # and between messages, nothing is kept without need


@takeovers
def test_a_message_may_fill_its_room_but_not_pass_it(takeover: bool) -> None:
    data = Deflater(15, takeover=takeover).compress(b"x" * 9_000)
    assert len(inflate(Inflater(15, takeover=takeover), data, room=9_000)) == 9_000
    with pytest.raises(TooLong):
        inflate(Inflater(15, takeover=takeover), data, room=8_999)
    with pytest.raises(TooLong):
        inflate(Inflater(15, takeover=takeover), data[:9], data[9:], room=8_999)


def test_no_room_is_left_for_anything() -> None:
    assert Inflater(15, takeover=False).inflate(b"\x00", 0, final=True) == b""
    with pytest.raises(TooLong):
        Inflater(15, takeover=False).inflate(Deflater(15, takeover=False).compress(b"x"), 0, final=True)
    with pytest.raises(TooLong):
        Inflater(15, takeover=False).inflate(b"", -1, final=True)


def test_the_room_may_be_any_number() -> None:
    assert inflate(Inflater(15, takeover=False), Deflater(15, takeover=False).compress(JSON), room=1 << 70) == JSON


@takeovers
def test_a_bomb_is_not_inflated_further_than_its_room(takeover: bool) -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(64))
    asked: list[int] = []

    class Watched(Inflater):
        def _new(self, length: int) -> deflate.Decompressor:
            decompressor = super()._new(length)

            class Decompressor:
                eof = False
                unused_data = b""

                def decompress(self, data: bytes, max_length: int, /) -> bytes:
                    asked.append(max_length)
                    return decompressor.decompress(data, max_length)

            return Decompressor()

    with pytest.raises(TooLong):
        Watched(15, takeover=takeover).inflate(bomb, 1000, final=False)
    assert asked == [1001]


@takeovers
@pytest.mark.parametrize("data", [b"\x00", b"\x02\x00", b""])
def test_an_empty_message_in_any_form(data: bytes, takeover: bool) -> None:
    inflater = Inflater(15, takeover=takeover)
    deflater = Deflater(15, takeover=takeover)
    assert inflate(inflater, deflater.compress(JSON)) == JSON
    assert inflate(inflater, data) == b""
    assert inflate(inflater, deflater.compress(JSON)) == JSON


@takeovers
@pytest.mark.parametrize("trailer", [b"\x00", b""])
def test_a_message_may_end_with_a_last_block(trailer: bytes, takeover: bool) -> None:
    inflater = Inflater(15, takeover=takeover)
    data = ended_by_a_last_block(JSON) + trailer
    for cut in range(len(data) + 1):
        assert inflate(inflater, data[:cut], data[cut:]) == JSON
    assert inflate(inflater, data) == JSON
    assert inflate(inflater, Deflater(15, takeover=False).compress(b"next")) == b"next"


@takeovers
def test_last_blocks_may_stand_anywhere_in_a_message(takeover: bool) -> None:
    inflater = Inflater(15, takeover=takeover)
    data = ended_by_a_last_block(b"one ") * 3 + Deflater(15, takeover=False).compress(b"two")
    expected = b"one one one two"
    for cut in range(len(data) + 1):
        assert inflate(inflater, data[:cut], data[cut:]) == expected
    with pytest.raises(TooLong):
        inflate(inflater, data, room=len(expected) - 1)


@takeovers
@pytest.mark.parametrize("size", [1_000, 1 << 20])
def test_streams_that_end_without_end_are_too_long(size: int, takeover: bool) -> None:
    data = ended_by_a_last_block(b"") * (1 << 18)
    with pytest.raises(TooLong):
        inflate(Inflater(15, takeover=takeover), *(data[at : at + size] for at in range(0, len(data), size)))


@takeovers
def test_every_message_may_have_as_many_last_blocks(takeover: bool) -> None:
    inflater = Inflater(15, takeover=takeover)
    data = ended_by_a_last_block(b"") * 1_500
    for _ in range(3):
        assert inflate(inflater, data + ended_by_a_last_block(JSON)) == JSON
        assert inflate(inflater, data, b"") == b""
        assert inflate(inflater, data[:1_001], data[1_001:] + ended_by_a_last_block(JSON)) == JSON


@takeovers
def test_work_is_what_was_inflated_and_what_ends_of_streams_cost(takeover: bool) -> None:
    inflater = Inflater(15, takeover=takeover)
    inflate(inflater, Deflater(15, takeover=False).compress(JSON))
    assert inflater.work == len(JSON)
    end = ended_by_a_last_block(b"")
    for _ in range(2):
        before = inflater.work
        inflate(inflater, end, end * 2 + ended_by_a_last_block(JSON))
        assert len(JSON) + 2 * deflate.END < inflater.work - before < len(JSON) + 3 * deflate.END


@takeovers
def test_a_turn_is_over_when_enough_was_inflated(takeover: bool) -> None:
    inflater = Inflater(15, takeover=takeover)
    data = Deflater(15, takeover=False).compress(bytes(deflate.TURN - 1))
    inflate(inflater, data)
    assert not inflater.begin_turn()
    inflate(inflater, Deflater(15, takeover=False).compress(b"x"))
    assert inflater.begin_turn()
    assert not inflater.begin_turn()


@takeovers
@pytest.mark.parametrize(
    "data", [b"\x07", b"\xff" * 10, b"\x00\x01\x00\x00\x00", ended_by_a_last_block(JSON) + b"\xff\xff"]
)
def test_what_is_no_deflate_is_refused(data: bytes, takeover: bool) -> None:
    with pytest.raises(BrokenData):
        inflate(Inflater(15, takeover=takeover), data)


def test_a_message_that_ends_within_a_block_is_refused() -> None:
    data = Deflater(15, takeover=False).compress(JSON)
    for cut in range(1, len(data)):
        with pytest.raises(BrokenData):
            inflate(Inflater(15, takeover=False), data[:cut])
    with pytest.raises(BrokenData):
        inflate(Inflater(15, takeover=False), data + TAIL)  # the sender was to leave that out


def test_a_distance_beyond_the_window_is_refused() -> None:
    compressor = zlib.compressobj(wbits=-15)
    far = random.Random(1).randbytes(2_000)
    first, second = (compressor.compress(m) + compressor.flush(zlib.Z_SYNC_FLUSH) for m in (far, far[:100]))
    inflater = Inflater(9, takeover=True)
    assert inflate(inflater, first[:-4]) == far
    with pytest.raises(BrokenData):
        inflate(inflater, second[:-4])


def test_long_messages_in_many_pieces() -> None:
    message = JSON * 20_000
    data = Deflater(15, takeover=False).compress(message)
    bounds = [*range(0, len(data), 5_000), len(data)]
    assert inflate(Inflater(15, takeover=False), *(data[a:b] for a, b in pairwise(bounds))) == message
