"""Results as tables."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from aipl import _core
from aipl._plain import plain

if TYPE_CHECKING:
    import pandas as _pandas  # type: ignore[import-untyped, unused-ignore]
    import polars as _polars
    import pyarrow as _pyarrow  # type: ignore[import-untyped, unused-ignore]

    from aipl._report import Report as _Report

__all__ = ["Table"]

_SHOWN = 10


def imported(name: str, extra: str) -> Any:
    """A library that is only needed here."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} is needed for this and is not installed; pip install {extra}") from error


class Table:
    """A table of a result, ready for any library that reads Arrow.

    It exports an Arrow C stream (`__arrow_c_stream__`), so `pyarrow.table(table)`, `polars.DataFrame(table)`, DuckDB and pandas
    take it as it is, without a copy of their own being needed here. It can be streamed any number of times; the tables
    of `Snapshot.labels` are made batch by batch while they are read.

    Examples
    --------
    >>> counts = aipl.snapshot(events, model, as_of="2024-06-30").counts()
    >>> counts.columns, len(counts)
    (['scope', 'stage', 'consumers'], 4)
    >>> counts.to_dicts()[0]
    {'scope': 'acme', 'stage': 'A', 'consumers': 1}
    >>> counts.to_polars().height
    4
    """

    __slots__ = ("_inner", "_recipe", "_report")

    def __init__(self, inner: _core.Table, report: _Report, recipe: dict[str, Any]) -> None:
        self._inner = inner
        self._report = report
        self._recipe = recipe

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._inner.__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        return self._inner.__arrow_c_schema__()

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return self._inner.columns

    @property
    def report(self) -> _Report:
        """What became of the rows of the question."""
        return self._report

    @property
    def recipe(self) -> dict[str, Any]:
        """How to ask again: function, parameters, model, schema and source, as plain data."""
        return self._recipe

    def __len__(self) -> int:
        return len(self._inner)

    def to_arrow(self) -> _pyarrow.Table:
        """As a `pyarrow.Table` (int64 and string columns). Needs pyarrow 14 or later."""
        return imported("pyarrow", "pyarrow").table(self)

    def to_pandas(self) -> _pandas.DataFrame:
        """As a `pandas.DataFrame`. Needs pandas and pyarrow."""
        imported("pandas", "'aipl[pandas]'")
        return imported("pyarrow", "'aipl[pandas]'").table(self).to_pandas()

    def to_polars(self) -> _polars.DataFrame:
        """As a `polars.DataFrame`. Needs Polars 1.3 or later, and nothing else."""
        frame: _polars.DataFrame = imported("polars", "'aipl[polars]'").DataFrame(self)
        return frame

    def to_pydict(self) -> dict[str, list[Any]]:
        """As a dict of a list for each column. Needs no other library."""
        return self._inner.to_pydict()

    def to_dicts(self) -> list[dict[str, Any]]:
        """As a list of a dict for each row. Needs no other library."""
        return self._rows(None)

    def _rows(self, limit: int | None) -> list[dict[str, Any]]:
        columns = self._inner.to_pydict(limit)
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def __repr__(self) -> str:
        return f"Table({len(self):,} rows: {plain(', '.join(self.columns))})"

    def _repr_html_(self) -> str:
        def cells(tag: str, values: list[Any]) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(plain(value))}</{tag}>" for value in values) + "</tr>"

        rows = self._rows(_SHOWN)
        body = "".join(cells("td", list(row.values())) for row in rows)
        shown = f"<p>showing {len(rows):,} of {len(self):,} rows</p>" if len(rows) < len(self) else f"<p>{len(self):,} rows</p>"
        return f"<table><thead>{cells('th', self.columns)}</thead><tbody>{body}</tbody></table>{shown}"
