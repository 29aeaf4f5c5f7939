"""Text of foreign origin, made harmless for terminals, pages and spreadsheets."""

from __future__ import annotations

import json
import re
from typing import Any

# C0, DEL, C1; marks, isolates and overrides of direction; separators of lines; halves of surrogate pairs.
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# A spreadsheet runs a cell that begins with one of these, also in its full width.
_FORMULA = re.compile("\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_QUOTED = 60


def plain(value: object, keep: str = "") -> str:
    """A text without characters that steer a terminal or turn the direction of writing; each is written as its escape.

    >>> from aipl._plain import plain
    >>> plain("\\x1b[2Jacme")
    '\\\\x1b[2Jacme'
    >>> plain("two\\nlines", keep="\\n")
    'two\\nlines'
    """
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return _HARMFUL.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(character: str) -> str:
    number = ord(character)
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character) or (
        f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
    )


def quoted(value: object) -> str:
    """A word of the caller for a message: its repr, cut. Never for identifiers and rows."""
    shown = plain(repr(value))
    return shown if len(shown) <= _QUOTED else f"{shown[:_QUOTED]}…"


def cell(text: str) -> str:
    """A text for a cell of a CSV file: no spreadsheet runs it, no terminal obeys it.

    >>> from aipl._plain import cell
    >>> cell("=1+1"), cell("acme")
    ("'=1+1", 'acme')
    """
    shown = plain(text, keep="\t\n")
    return f"'{shown}" if _FORMULA.match(text) else shown


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON in which characters that a terminal would obey stand as escapes of JSON, so that it reads back as it was."""
    written = json.dumps(value, default=str, ensure_ascii=False, indent=indent)
    return _HARMFUL.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", written)
