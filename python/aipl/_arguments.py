"""Checks of arguments that many functions share."""

from __future__ import annotations

import datetime
import difflib
import operator
import os
import re
from collections.abc import Iterable
from typing import Any

from aipl._errors import ParameterError
from aipl._plain import quoted

Id = str | int
"""An identifier of a consumer, brand, category or store."""
Scope = str | int | tuple[str | int, str | int]
"""A brand or store, or a brand and a category."""

# Python reads more forms, and more of them in newer versions.
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
# What UTF-8 has no bytes for.
_HALF = re.compile("[\ud800-\udfff]")
_INT64 = range(-(2**63), 2**63)


def type_error(name: str, wanted: str, value: object) -> TypeError:
    return TypeError(f"{name}: {wanted} is needed, not {type(value).__name__}")


def text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise type_error(name, "a str", value)
    if _HALF.search(value):
        # The value may be an identifier, so the message is without it.
        raise ParameterError(f"{name}: no valid text; it holds half of a surrogate pair")
    return str(value)


def small(name: str, value: object) -> int:
    """A number of days or the like, from 1 to a hundred thousand."""
    number = count(name, value, 1)
    if number > 100_000:
        raise ParameterError(f"{name}: {number} is more than 100000")
    return number


def texts(name: str, value: object) -> list[str]:
    """A list of texts; one text alone would be taken for its letters."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise type_error(name, "a list of str", value)
    return [text(f"{name}[{at}]", item) for at, item in enumerate(value)]


def choice(name: str, value: object, choices: Iterable[str]) -> str:
    choices = list(choices)
    if isinstance(value, str) and value in choices:
        return value
    if not isinstance(value, str):
        raise type_error(name, " or ".join(map(repr, choices)), value)
    near = difflib.get_close_matches(value, choices, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ParameterError(f"{name}: {quoted(value)} is not one of {', '.join(map(repr, choices))}{hint}")


def day(name: str, value: object) -> str:
    """A day as `YYYY-MM-DD`. A time of day would have to be cut off silently, so it is refused."""
    if isinstance(value, datetime.datetime):
        raise ParameterError(f"{name}: a day is needed, not a time; pass its .date() in the time zone of the data")
    if isinstance(value, datetime.date):
        if not 1970 <= value.year < 2200:
            raise ParameterError(f"{name}: {value} is outside 1970-01-01 to 2199-12-31")
        return value.isoformat()
    if isinstance(value, str):
        try:
            parsed = datetime.date.fromisoformat(text(name, value)) if _DAY.fullmatch(value) else None
        except ValueError:
            parsed = None
        if parsed is None:
            raise ParameterError(f"{name}: {quoted(value)} is not a day; write it as YYYY-MM-DD")
        return day(name, parsed)
    raise type_error(name, 'a datetime.date or "YYYY-MM-DD"', value)


def identifier(name: str, value: object) -> Id:
    if isinstance(value, str):
        return text(name, value)
    if not isinstance(value, bool):
        try:
            number = operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            pass
        else:
            if number not in _INT64:
                raise ParameterError(f"{name}: the number does not fit 64 signed bits")
            return number
    raise type_error(name, "a str or an int", value)


def scope(name: str, value: object) -> tuple[Id, Id | None]:
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise ParameterError(f"{name}: {len(value)} values are no scope; a scope is a brand or store, or (brand, category)")
        return identifier(f"{name}[0]", value[0]), identifier(f"{name}[1]", value[1])
    try:
        return identifier(name, value), None
    except TypeError:
        raise type_error(name, "a str, an int, or a tuple of brand and category", value) from None


def scopes(name: str, value: object) -> list[tuple[Id, Id | None]] | None:
    if value is None:
        return None
    if isinstance(value, str | int):
        raise ParameterError(f"{name}: a list of scopes is needed; for one scope pass [{quoted(value)}]")
    if not isinstance(value, Iterable):
        raise type_error(name, "a list of scopes", value)
    return [scope(f"{name}[{at}]", item) for at, item in enumerate(value)]


def count(name: str, value: object, least: int = 0) -> int:
    if isinstance(value, bool):
        raise type_error(name, "an int", value)
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise type_error(name, "an int", value) from None
    if not least <= number < 2**63:
        raise ParameterError(f"{name}: {number} is not a whole number ≥ {least}")
    return number


def period(name: str, value: object) -> tuple[str, str]:
    """A pair of first and last day."""
    if isinstance(value, str) or not isinstance(value, tuple | list):
        raise type_error(name, "a pair of first and last day", value)
    if len(value) != 2:
        raise ParameterError(f"{name}: a pair of first and last day is needed, not {len(value)} values")
    return day(f"{name}[0]", value[0]), day(f"{name}[1]", value[1])


def paths(name: str, value: object) -> list[str]:
    listed: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
    if not listed:
        raise ParameterError(f"{name}: the list of paths is empty")
    found = []
    for item in listed:
        if not isinstance(item, str | os.PathLike):
            raise type_error(name, "a str, an os.PathLike, or a list of these", item)
        path = os.fspath(item)
        if not isinstance(path, str):
            raise type_error(name, "a text path", path)
        if not path:
            raise ParameterError(f"{name}: a path is empty")
        found.append(text(name, os.path.expanduser(path)))
    return found


def one_byte(name: str, value: object) -> int:
    if not isinstance(value, str):
        raise type_error(name, "a str", value)
    if len(value) != 1 or ord(value) > 127 or value in "\r\n\0":
        raise ParameterError(f"{name}: {quoted(value)} is not one ASCII character")
    return ord(value)
