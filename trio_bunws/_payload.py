"""What an application may pass as a message, a control payload or a topic, and the words when it is something else.

Pure functions, called by every method of a socket or server that takes one. The wording is Bun's, in our names.
"""

from __future__ import annotations

from typing import Final

MAX_CONTROL_PAYLOAD: Final = 125
"""RFC 6455, section 5.5."""


def encode_text(method: str, data: object) -> bytes:
    """Return the UTF-8 of a `str`; anything else is a `TypeError`."""
    if not isinstance(data, str):
        raise TypeError(f"{method} expects data to be a string, not {type(data).__name__}")
    return data.encode()


def encode_binary(method: str, data: object) -> bytes:
    """Return any buffer's bytes, copied if they may change later; anything else is a `TypeError`."""
    if isinstance(data, str):
        raise TypeError(f"{method} expects data to be a buffer (bytes, bytearray, memoryview, ...), not str")
    return _copy(f"{method} expects data to be a buffer (bytes, bytearray, memoryview, ...)", data)


def encode_message(method: str, data: object) -> tuple[bytes, bool]:
    """Return the payload of a message and whether it is text; neither `str` nor buffer is a `TypeError`."""
    if isinstance(data, str):
        return data.encode(), True
    return _copy(f"{method} expects data to be a string or a buffer (bytes, bytearray, memoryview, ...)", data), False


def encode_control(method: str, data: object) -> bytes:
    """Return the payload of a ping or pong, at most 125 bytes: longer is a `ValueError`."""
    payload, _ = encode_message(method, data)
    if len(payload) > MAX_CONTROL_PAYLOAD:
        raise ValueError(f"{method} expects data of at most {MAX_CONTROL_PAYLOAD} bytes, not {len(payload)}")
    return payload


def check_compress(method: str, compress: object) -> None:
    """Raise `TypeError` unless `compress` is a bool."""
    if not isinstance(compress, bool):
        raise TypeError(f"{method} expects compress to be a boolean, not {type(compress).__name__}")


def check_topic(method: str, topic: object, max_length: int) -> None:
    """Raise unless `topic` is a non-empty `str` of at most `max_length` bytes of UTF-8."""
    if not isinstance(topic, str):
        raise TypeError(f"{method} expects topic to be a string, not {type(topic).__name__}")
    if not topic:
        raise ValueError(f"{method} expects topic to be a non-empty string")
    if len(topic) * 4 > max_length and (size := len(topic.encode(errors="surrogatepass"))) > max_length:
        raise ValueError(
            f"{method} expects topic to be at most {max_length} bytes (limits.max_topic_length), not {size}"
        )


def _copy(expectation: str, data: object) -> bytes:
    if type(data) is bytes:
        return data
    try:
        view = memoryview(data)  # type: ignore[arg-type]  # what this is, is the question
    except TypeError:
        raise TypeError(f"{expectation}, not {type(data).__name__}") from None
    return view.tobytes()
