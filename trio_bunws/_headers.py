"""Header fields, and the multi-dict of a query: names with one or several values, in order.

Pure values: nothing here knows of requests, responses or bytes on a socket beyond their syntax. The classes of rows 2
and 4 and the application use them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Final, TypeAlias, TypeVar, Union, cast, overload

D = TypeVar("D")

TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""RFC 9110, section 5.6.2."""
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


HeadersLike: TypeAlias = Union["Headers", Mapping[str, str], Iterable[tuple[str, str]]]
"""What every ``headers=`` accepts."""


class Headers:
    """Header fields: case-insensitive names, order and repeats kept.

    Args:
        items: a mapping of names to values, an iterable of ``(name, value)`` pairs, or another `Headers`.

    Raises:
        TypeError: for anything else, and for a name or value that is not a `str`.
        ValueError: for a name that is not a token, and for a value that holds CR, LF, NUL or another control character
            except tab, or a character outside latin-1. White space around a value is cut off.
    """

    __slots__ = ("_items",)

    def __init__(self, items: HeadersLike = ()) -> None:
        self._items: list[tuple[str, str, str]] = []  # lower-case name, name as given, value
        if isinstance(items, Headers):
            self._items.extend(items._items)
            return
        for pair in _pairs(items):
            match pair:
                case (str(name), str(value)):
                    self._items.append(_checked(name, value))
                case _:
                    raise TypeError(f"headers must consist of (name, value) pairs of str, not {pair!r}")

    @classmethod
    def _of_head(cls, head: bytes) -> Headers:
        """Take the fields of a request's head that the wire has checked already."""
        headers = cls()
        for line in head.decode("latin-1").rstrip("\r\n").split("\r\n")[1:]:
            name, _, value = line.partition(":")
            headers._items.append((name.lower(), name, value.strip(" \t")))
        return headers

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: D) -> str | D: ...
    def get(self, name: str, default: D | None = None) -> str | D | None:
        """Return the value as `__getitem__` does, or ``default``."""
        values = self.getall(name)
        if not values:
            return default
        return values[0] if name.lower() == "set-cookie" else ", ".join(values)

    def getall(self, name: str) -> list[str]:
        """Return every value of this name, in order."""
        wanted = name.lower()
        return [value for lower, _, value in self._items if lower == wanted]

    def append(self, name: str, value: str) -> None:
        """Add a field; those of the same name stay."""
        self._items.append(_checked(name, value))

    def set(self, name: str, value: str) -> None:
        """Put one field in the place of the first of this name, and remove the others."""
        item = _checked(name, value)
        index = next((i for i, (lower, _, _) in enumerate(self._items) if lower == item[0]), len(self._items))
        self._items[index:] = [item, *(other for other in self._items[index:] if other[0] != item[0])]

    def delete(self, name: str) -> None:
        """Remove every field of this name, if there is any."""
        wanted = name.lower()
        self._items = [item for item in self._items if item[0] != wanted]

    def items(self) -> list[tuple[str, str]]:
        """Return every field, repeats too."""
        return [(name, value) for _, name, value in self._items]

    def keys(self) -> list[str]:
        """Return the names as given, repeats once. So ``dict(headers)`` works."""
        names: dict[str, str] = {}
        for lower, name, _ in self._items:
            names.setdefault(lower, name)
        return list(names.values())

    def raw(self) -> list[tuple[bytes, bytes]]:
        """Return every field as it goes on the wire."""
        return [(name.encode("ascii"), value.encode("latin-1")) for _, name, value in self._items]

    def __getitem__(self, name: str) -> str:
        """Return the value; several are joined by ``", "``, but of ``Set-Cookie``, which cannot be, it is the first."""
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        wanted = name.lower()
        return any(lower == wanted for lower, _, _ in self._items)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len({lower for lower, _, _ in self._items})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return [(lower, value) for lower, _, value in self._items] == [
            (lower, value) for lower, _, value in other._items
        ]

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Headers({self.items()!r})"


def _pairs(items: object) -> Iterable[object]:
    if isinstance(items, Mapping):
        return cast("Mapping[object, object]", items).items()
    if isinstance(items, Iterable) and not isinstance(items, str):
        return cast("Iterable[object]", items)
    raise TypeError(f"headers must be a mapping or an iterable of (name, value) pairs, not {items!r}")


def _checked(name: object, value: object) -> tuple[str, str, str]:
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"a header's name and value must be str, not {name!r}: {value!r}")
    if TOKEN.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not a header's name")
    if _CONTROL.search(value):
        raise ValueError(f"header {name}: control characters are not allowed in {value!r}")
    if not value.isascii():
        try:
            value.encode("latin-1")
        except UnicodeEncodeError:
            raise ValueError(f"header {name}: only characters of latin-1 are allowed in {value!r}") from None
    return name.lower(), name, value.strip(" \t")


class MultiDict:
    """Names with one or several values, as in a query; read only.

    Iteration and `len` count a name once; `items` gives every pair.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._items = list(items)

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: D) -> str | D: ...
    def get(self, name: str, default: D | None = None) -> str | D | None:
        """Return the first value of this name, or ``default``."""
        return next((value for key, value in self._items if key == name), default)

    def getall(self, name: str) -> list[str]:
        """Return every value of this name, in order."""
        return [value for key, value in self._items if key == name]

    def items(self) -> list[tuple[str, str]]:
        """Return every pair, in order."""
        return list(self._items)

    def keys(self) -> list[str]:
        """Return the names in order, each once. So ``dict(query)`` works."""
        return list(dict(self._items))

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return any(key == name for key, _ in self._items)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MultiDict):
            return NotImplemented
        return self._items == other._items

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # holds a list

    def __repr__(self) -> str:
        return f"MultiDict({self._items!r})"
