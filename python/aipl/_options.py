"""How far files are trusted."""

from __future__ import annotations

from dataclasses import dataclass, fields

from aipl import _core
from aipl._arguments import type_error
from aipl._errors import ParameterError

__all__ = ["ReadOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """Limits that files are read with. A file that asks for more is refused before memory is taken for it.

    The limits guard against damaged and hostile files, which can declare in a few bytes what no machine can hold. Files that
    engines write stay far below them.

    Parameters
    ----------
    max_columns : int
        Columns of a file, each leaf of a nested column counted.
    max_depth : int
        Levels of nested columns.
    max_metadata_bytes : int
        Bytes of a footer, a schema or the header of a page.
    max_rows : int
        Rows of a file; a larger file may have 8 rows for each of its bytes. CSV files have no limit of rows.
    max_decoded_bytes : int
        Decoded bytes that one thread holds of a Parquet file at a time. A batch of an Arrow IPC file, which is decoded whole,
        may have twice as many. Pieces that are larger in the file may have 64 times their size there.
    verify_checksums : bool
        Whether checksums that a Parquet file carries for its pages are compared with the pages.

    Raises
    ------
    ParameterError
        If a limit is not a whole number of at least 1.

    Examples
    --------
    >>> wide = aipl.ReadOptions(max_columns=50_000)
    >>> wide.max_columns, wide.max_decoded_bytes
    (50000, 134217728)
    """

    max_columns: int = 10_000
    max_depth: int = 64
    max_metadata_bytes: int = 64 << 20
    max_rows: int = 1 << 20
    max_decoded_bytes: int = 128 << 20
    verify_checksums: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "verify_checksums":
                if not isinstance(value, bool):
                    raise type_error(field.name, "a bool", value)
            elif isinstance(value, bool) or not isinstance(value, int):
                raise type_error(field.name, "an int", value)
            elif not 1 <= value < 1 << 63:
                raise ParameterError(f"{field.name}: a whole number of at least 1 is needed")


def read_options_of(options: ReadOptions | None) -> _core.ReadOptions:
    """The options, or the default ones, as the core takes them."""
    if options is None:
        options = ReadOptions()
    if not isinstance(options, ReadOptions):
        raise type_error("read_options", "a ReadOptions", options)
    return _core.ReadOptions(
        options.max_columns,
        options.max_depth,
        options.max_metadata_bytes,
        options.max_rows,
        options.max_decoded_bytes,
        options.verify_checksums,
    )
