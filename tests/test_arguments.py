"""The types of arguments that several commands take, and complaints of one line."""

from __future__ import annotations

import argparse

import pytest

from trio_bunws._cli.arguments import Parser, count, header, port, seconds


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("1", 1), ("65535", 65535)])
def test_a_port_is_a_number_that_tcp_has(text: str, value: int) -> None:
    assert port(text) == value


@pytest.mark.parametrize("text", ["-1", "65536", "", "http", "1.5", "٣", "99999999999"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="a port is a number from 0 to 65535, not"):
        port(text)


def test_a_count_is_at_least_one() -> None:
    assert count("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match="at least 1, not '0'"):
        count("0")


@pytest.mark.parametrize(("text", "value"), [("1", 1.0), ("0.25", 0.25), ("600", 600.0)])
def test_seconds_may_have_a_fraction(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["0", "0.0", "-1", "inf", "nan", "", "1e3", "soon"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="seconds above 0, not"):
        seconds(text)


def test_a_header_is_split_at_its_first_colon() -> None:
    assert header("Host:  a:1 ") == ("Host", "a:1")
    assert header("X-Empty:") == ("X-Empty", "")
    with pytest.raises(argparse.ArgumentTypeError, match="expected 'Name: value', not 'Host'"):
        header("Host")


def test_a_parser_complains_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="tool")
    parser.add_argument("--port", type=port)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--port", "x"])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == ("tool: error: argument --port: a port is a number from 0 to 65535, not 'x' (see tool --help)\n")
