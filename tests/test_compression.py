"""Negotiating compression, alone: offers, answers and what follows of them; and the frames that are made by them.

The answers are those of Bun 1.4.5 to the same offers, but where a test says otherwise.
"""

from __future__ import annotations

import pytest
from wsproto.connection import CLIENT, Connection
from wsproto.events import Message
from wsproto.extensions import PerMessageDeflate as WsprotoPerMessageDeflate

from trio_bunws import PerMessageDeflate
from trio_bunws._wire.compression import (
    Agreement,
    Outbound,
    accept_answer,
    accept_offers,
    inflater,
    make_offer,
    outbound,
)
from trio_bunws._wire.frames import BINARY, TEXT, binary_frame, text_frame

PMD = "permessage-deflate"
SHARED = PerMessageDeflate()
DEDICATED = PerMessageDeflate(compress="dedicated", decompress="dedicated")
SMALL = PerMessageDeflate(compress="3KB", decompress="3KB")
MIDDLE = PerMessageDeflate(compress="16KB", decompress="16KB")
LARGE = PerMessageDeflate(compress="256KB", decompress="256KB")
NO_TAKEOVER = "client_no_context_takeover; server_no_context_takeover"
JSON = b'{"type": "message", "text": "hello, hello, hello"}'


def answer(offers: str, config: bool | PerMessageDeflate = SHARED) -> str | None:
    """Return the header that answers, without its beginning; None: it is declined."""
    accepted = accept_offers(offers, config)
    if accepted is None:
        return None
    name, _, parameters = accepted[1].partition("; ")
    assert name == PMD
    return parameters


@pytest.mark.parametrize("config", [True, SHARED])
@pytest.mark.parametrize(
    "offer",
    [
        "",
        "; client_max_window_bits",
        "; client_max_window_bits=8",
        "; client_max_window_bits=10",
        "; server_no_context_takeover",
        "; client_no_context_takeover",
        "; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
    ],
)
def test_31_shared_takes_no_context_over(offer: str, config: bool | PerMessageDeflate) -> None:
    assert answer(PMD + offer, config) == NO_TAKEOVER


@pytest.mark.parametrize(
    ("config", "offer", "expected"),
    [
        (DEDICATED, "", ""),
        (DEDICATED, "; client_max_window_bits", ""),
        (DEDICATED, "; client_max_window_bits=15", ""),
        (DEDICATED, "; client_max_window_bits=10", "client_max_window_bits=10"),
        (DEDICATED, "; client_max_window_bits=8", "client_max_window_bits=8"),
        (DEDICATED, "; server_max_window_bits=10", "server_max_window_bits=10"),
        (DEDICATED, "; server_max_window_bits=9", "server_max_window_bits=9"),
        (DEDICATED, "; server_max_window_bits=15; client_max_window_bits=15", "server_max_window_bits=15"),
        (DEDICATED, "; server_no_context_takeover", "server_no_context_takeover"),
        (DEDICATED, "; client_no_context_takeover", "client_no_context_takeover"),
        (SMALL, "", "server_max_window_bits=9"),
        (SMALL, "; client_max_window_bits", "client_max_window_bits=11; server_max_window_bits=9"),
        (SMALL, "; client_max_window_bits=10", "client_max_window_bits=10; server_max_window_bits=9"),
        (SMALL, "; client_max_window_bits=15", "client_max_window_bits=11; server_max_window_bits=9"),
        (SMALL, "; server_max_window_bits=10", "server_max_window_bits=9"),
        (SMALL, "; server_no_context_takeover", "server_no_context_takeover"),
        (MIDDLE, "; client_max_window_bits", "client_max_window_bits=14; server_max_window_bits=11"),
        (MIDDLE, "; server_max_window_bits=10", "server_max_window_bits=10"),
        (MIDDLE, "; client_no_context_takeover", "client_no_context_takeover; server_max_window_bits=11"),
        (LARGE, "; client_max_window_bits", ""),
    ],
)
def test_31_windows_are_announced_and_lowered(config: PerMessageDeflate, offer: str, expected: str) -> None:
    assert answer(PMD + offer, config) == expected


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("3KB", 9),
        ("4KB", 9),
        ("8KB", 10),
        ("16KB", 11),
        ("32KB", 12),
        ("64KB", 13),
        ("128KB", 14),
        ("256KB", 15),
        ("dedicated", 15),
    ],
)
def test_31_each_compressor_has_its_window(name: str, bits: int) -> None:
    accepted = accept_offers(PMD, PerMessageDeflate(compress=name))  # type: ignore[arg-type]
    assert accepted is not None
    agreement, header = accepted
    assert agreement == Agreement(server_max_window_bits=bits, client_no_context_takeover=True)
    assert ("server_max_window_bits" in header) is (bits < 15)


@pytest.mark.parametrize(
    ("name", "bits"),
    [("3KB", 11), ("4KB", 12), ("8KB", 13), ("16KB", 14), ("32KB", 15), ("64KB", 15), ("128KB", 15), ("256KB", 15)],
)
def test_31_each_decompressor_has_its_window(name: str, bits: int) -> None:
    config = PerMessageDeflate(decompress=name)  # type: ignore[arg-type]
    accepted = accept_offers(f"{PMD}; client_max_window_bits", config)
    assert accepted is not None
    agreement, header = accepted
    assert agreement == Agreement(client_max_window_bits=bits, server_no_context_takeover=True)
    assert ("client_max_window_bits" in header) is (bits < 15)
    unasked = accept_offers(PMD, config)
    assert unasked is not None
    assert unasked == (Agreement(server_no_context_takeover=True), f"{PMD}; server_no_context_takeover")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (PerMessageDeflate(compress="16KB"), "client_no_context_takeover; server_max_window_bits=11"),
        (PerMessageDeflate(compress="16KB", decompress=False), "client_no_context_takeover; server_max_window_bits=11"),
        (PerMessageDeflate(compress=True, decompress="disable"), NO_TAKEOVER),
        (PerMessageDeflate(decompress="16KB"), "client_max_window_bits=14; server_no_context_takeover"),
        (
            PerMessageDeflate(compress=False, decompress="16KB"),
            "client_max_window_bits=14; server_no_context_takeover",
        ),
    ],
)
def test_31_what_is_omitted_or_off_beside_something_is_shared(config: PerMessageDeflate, expected: str) -> None:
    assert answer(f"{PMD}; client_max_window_bits", config) == expected


@pytest.mark.parametrize("config", [False, PerMessageDeflate(compress=False, decompress=False)])
def test_31_both_off_is_no_extension(config: bool | PerMessageDeflate) -> None:
    assert accept_offers(PMD, config) is None
    assert make_offer(config) == ""


@pytest.mark.parametrize("config", [True, SHARED])
@pytest.mark.parametrize("bits", range(9, 16))
def test_32_a_small_window_is_honoured_without_takeover_too(bits: int, config: bool | PerMessageDeflate) -> None:
    # Bun declines those below 15; RFC 7692, section 7.1.2.1, has a server accept what it can.
    expected = f"{NO_TAKEOVER}; server_max_window_bits={bits}"
    assert answer(f"{PMD}; server_max_window_bits={bits}", config) == expected
    assert answer(f"{PMD}; server_no_context_takeover; server_max_window_bits={bits}", config) == expected


BAD = [
    "; unknown",
    "; unknown=1",
    "; server_max_window_bits",
    "; server_max_window_bits=",
    "; server_max_window_bits=7",
    "; server_max_window_bits=8",
    "; server_max_window_bits=16",
    "; server_max_window_bits=09",
    "; server_max_window_bits=+9",
    "; server_max_window_bits=1e1",
    "; server_max_window_bits=1\N{ARABIC-INDIC DIGIT ZERO}",
    '; server_max_window_bits="10"',
    "; server_max_window_bits=10; server_max_window_bits=10",
    "; server_max_window_bits = 10",
    "; client_max_window_bits=",
    "; client_max_window_bits=7",
    "; client_max_window_bits=16",
    "; client_max_window_bits=abc",
    "; client_max_window_bits; client_max_window_bits=10",
    '; client_max_window_bits="10"',
    "; server_no_context_takeover=true",
    "; server_no_context_takeover=",
    "; server_no_context_takeover; server_no_context_takeover",
    "; client_no_context_takeover=1",
    "; client_no_context_takeover; client_no_context_takeover",
    "; CLIENT_NO_CONTEXT_TAKEOVER",
    ";",
    "; ;",
    "; =",
]


@pytest.mark.parametrize("parameters", BAD)
@pytest.mark.parametrize("config", [True, DEDICATED])
def test_32_an_offer_that_is_wrong_is_declined(parameters: str, config: bool | PerMessageDeflate) -> None:
    assert answer(PMD + parameters, config) is None
    assert answer(f"{PMD}{parameters}, {PMD}; client_no_context_takeover", DEDICATED) == "client_no_context_takeover"


@pytest.mark.parametrize(
    "offers",
    [
        "",
        ",",
        ";",
        "gzip",
        f"{PMD}x",
        f'"{PMD}"',
        PMD.upper(),
        f"{PMD} client_no_context_takeover",
        f'x; y="a, {PMD}, b"',
        f'x; y="a\\", {PMD}, b"',
        f'x; y="a, {PMD}',
        f'"{PMD}',
        "\x00",
        "x-webkit-deflate-frame",
    ],
)
def test_32_what_is_no_offer_is_declined(offers: str) -> None:
    assert accept_offers(offers, True) is None


def test_32_the_first_acceptable_offer_wins() -> None:
    offers = f"x-other; a=1, , {PMD}; server_max_window_bits=8,\t{PMD} ;server_max_window_bits=12 , {PMD}"
    assert answer(offers, DEDICATED) == "server_max_window_bits=12"
    assert answer(f'x; y="a, b", {PMD}', DEDICATED) == ""


@pytest.mark.parametrize(
    ("config", "offer"),
    [
        (True, "; client_max_window_bits"),
        (SHARED, "; client_no_context_takeover; client_max_window_bits; server_no_context_takeover"),
        (DEDICATED, "; client_max_window_bits"),
        (SMALL, "; client_max_window_bits=9; server_max_window_bits=11"),
        (
            PerMessageDeflate(compress=False, decompress="32KB"),
            "; client_no_context_takeover; client_max_window_bits",
        ),
    ],
)
def test_a_client_offers_what_it_can_keep_to(config: bool | PerMessageDeflate, offer: str) -> None:
    assert make_offer(config) == PMD + offer


@pytest.mark.parametrize("server", [True, SHARED, DEDICATED, SMALL, MIDDLE, LARGE])
@pytest.mark.parametrize("client", [True, SHARED, DEDICATED, SMALL, MIDDLE, LARGE])
def test_client_and_server_agree(client: bool | PerMessageDeflate, server: bool | PerMessageDeflate) -> None:
    accepted = accept_offers(make_offer(client), server)
    assert accepted is not None
    agreement, header = accepted
    theirs = accept_answer(header, client)
    assert theirs is not None
    sides = [(outbound(theirs, client, client=True), inflater(agreement, client=False))]
    sides.append((outbound(agreement, server, client=False), inflater(theirs, client=True)))
    for sender, receiver in sides:
        assert sender is not None
        assert receiver is not None
        for message in [JSON, JSON * 100, JSON]:
            frame = sender.frame(message, TEXT)
            payload = frame[2 if frame[1] < 126 else 4 :]
            assert receiver.inflate(payload, 10_000, final=True) == message


def test_without_an_agreement_there_is_no_inflater() -> None:
    assert inflater(None, client=True) is None


@pytest.mark.parametrize(
    ("config", "answered", "expected"),
    [
        (True, "", Agreement()),
        (True, "; client_max_window_bits=8", Agreement(client_max_window_bits=8)),
        (True, "; server_max_window_bits=9", Agreement(server_max_window_bits=9)),
        (True, f"; {NO_TAKEOVER}", Agreement(server_no_context_takeover=True, client_no_context_takeover=True)),
        (
            SHARED,
            "; server_no_context_takeover",
            Agreement(server_no_context_takeover=True, client_no_context_takeover=True),
        ),
        (SMALL, "; server_max_window_bits=10", Agreement(server_max_window_bits=10, client_max_window_bits=9)),
    ],
)
def test_an_answer_is_understood(config: bool | PerMessageDeflate, answered: str, expected: Agreement) -> None:
    assert accept_answer(PMD + answered, config) == expected


def test_no_answer_is_no_compression() -> None:
    assert accept_answer("", True) is None
    assert accept_answer("", False) is None


@pytest.mark.parametrize(
    ("config", "answered"),
    [
        (False, PMD),
        (True, "gzip"),
        (True, f"{PMD}, {PMD}"),
        (True, f'{PMD}, x; "'),
        (True, '"'),
        (True, f"{PMD}; server_max_window_bits"),
        (True, f"{PMD}; client_max_window_bits"),
        (True, f"{PMD}; server_max_window_bits=7"),
        (True, f"{PMD}; unknown"),
        (SHARED, PMD),
        (SMALL, PMD),
        (SMALL, f"{PMD}; server_max_window_bits=12"),
        (SMALL, f"{PMD}; server_max_window_bits=11; client_max_window_bits=10"),
    ],
)
def test_an_answer_to_something_else_is_an_error(config: bool | PerMessageDeflate, answered: str) -> None:
    with pytest.raises(ValueError, match="answer"):
        accept_answer(answered, config)


def test_a_side_that_does_not_compress_has_nothing_to_compress_with() -> None:
    config = PerMessageDeflate(compress=False)
    assert outbound(Agreement(), config, client=False) is None
    assert outbound(Agreement(), config, client=True) is None


def test_a_server_compresses_as_it_answered() -> None:
    agreement = Agreement(server_max_window_bits=9, server_no_context_takeover=True)
    made = outbound(agreement, PerMessageDeflate(min_size=7), client=False)
    assert made is not None
    assert (made.takeover, made.min_size, made.group) == (False, 7, (9, 7))
    made = outbound(Agreement(server_max_window_bits=9), DEDICATED, client=False)
    assert made is not None
    assert (made.takeover, made.min_size, made.group) == (True, 0, None)


@pytest.mark.parametrize(("config", "takeover"), [(True, False), (SHARED, False), (DEDICATED, True)])
def test_a_client_keeps_no_context_without_need(config: bool | PerMessageDeflate, takeover: bool) -> None:
    made = outbound(Agreement(client_max_window_bits=12), config, client=True)
    assert made is not None
    assert made.takeover is takeover
    made = outbound(Agreement(client_no_context_takeover=True), config, client=True)
    assert made is not None
    assert not made.takeover


def test_33_payloads_below_the_minimum_and_empty_ones_stay_plain() -> None:
    sender = Outbound(15, takeover=False, min_size=5)
    assert sender.frame(b"1234", TEXT) == text_frame(b"1234")
    assert sender.frame(b"1234", BINARY) == binary_frame(b"1234")
    assert sender.frame(b"12345", TEXT)[0] == 0xC1
    assert Outbound(15, takeover=False, min_size=0).frame(b"", TEXT) == text_frame(b"")
    assert Outbound(15, takeover=False, min_size=0).frame(b"1", BINARY)[0] == 0xC2


@pytest.mark.parametrize("takeover", [False, True])
def test_33_wsproto_reads_the_frames(takeover: bool) -> None:
    theirs = WsprotoPerMessageDeflate()
    theirs.finalize(PMD)
    connection = Connection(CLIENT, [theirs])
    sender = Outbound(15, takeover=takeover, min_size=0)
    for payload in [JSON, b"", JSON * 50, JSON]:
        connection.receive_data(sender.frame(payload, TEXT) + sender.frame(payload, BINARY))
        assert [event.data for event in connection.events() if isinstance(event, Message)] == [
            payload.decode(),
            payload,
        ]
