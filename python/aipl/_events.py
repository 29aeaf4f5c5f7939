"""Where events come from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from aipl import _core
from aipl._arguments import choice, one_byte, paths, text, type_error
from aipl._errors import ParameterError
from aipl._log import EventLog
from aipl._options import ReadOptions, read_options_of
from aipl._plain import plain, quoted
from aipl._report import Report, account
from aipl._schema import EventSchema

if TYPE_CHECKING:
    from aipl._identity import IdentityMap

__all__ = ["Events", "from_arrow", "scan_csv", "scan_ipc", "scan_parquet"]

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
Progress = Callable[[int, int], object]

# Immutable tables, whose number of rows stays true.
_TABLES = {("pyarrow", "Table"), ("pyarrow", "RecordBatch"), ("arro3", "Table"), ("arro3", "RecordBatch"), ("aipl", "Table")}
# These can be asked for their stream again and again as well.
_AGAIN = _TABLES | {("pandas", "DataFrame"), ("polars", "DataFrame"), ("duckdb", "DuckDBPyRelation"), ("_duckdb", "DuckDBPyRelation")}


class Events:
    """Raw events, not yet read: what every question starts from.

    Made by `scan_parquet`, `scan_ipc`, `scan_csv` and `from_arrow`. Names and types of columns are checked at once; rows are read
    when a question is asked, and again for each question.

    Examples
    --------
    >>> events
    Events(pyarrow.Table, 6 rows, tz='Asia/Shanghai')
    >>> events.columns
    ['user', 'brand', 'action', 'day']
    """

    __slots__ = ("_inner", "_on_error", "_schema")

    def __init__(self, inner: _core.Events, schema: EventSchema, on_error: str) -> None:
        self._inner = inner
        self._schema = schema
        self._on_error = on_error

    @property
    def schema(self) -> EventSchema:
        """The mapping of columns."""
        return self._schema

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the source."""
        return self._inner.columns

    @property
    def tz(self) -> str:
        """The time zone of calendar days and of times without a zone."""
        return self._inner.tz

    @property
    def on_error(self) -> str:
        """What happens to rows that cannot be events: `"reject"` or `"raise"`."""
        return self._on_error

    def with_states(
        self,
        table: Any,
        *,
        consumer: str,
        scope: str | Sequence[str],
        state: str = "state",
        start: str = "from",
        end: str = "to",
    ) -> Events:
        """The same events with the states of a table beside them, such as a membership list.

        A row says that a consumer is in a state (`member`, `fan`, or a name of your own) of a scope on every day of the closed
        range from `start` to `end`; a null `end` means that it goes on. A model's `{ state = ... }` holds on a day if the join
        and leave events say so or a row covers the day.

        Parameters
        ----------
        table
            Anything that exports an Arrow table; it is read now.
        consumer, state, start, end : str
            Columns of the table. Days follow the rules of times: dates, timestamps, ISO text.
        scope : str or list of two str
            The column of the brand or store; for models of brand and category, those of both.

        Raises
        ------
        ColumnNotFoundError, SchemaError
            If a column is not there, or of a type that its part does not take.

        Notes
        -----
        Definition: the docs page "Events and schemas". Rows that cannot be read, and rows that end before they begin, are
        rejected rows of every question.

        Examples
        --------
        >>> members = pyarrow.table({"user": ["u1"], "brand": ["acme"], "state": ["member"],
        ...                          "from": ["2024-01-01"], "to": pyarrow.array([None], pyarrow.string())})
        >>> both = events.with_states(members, consumer="user", scope="brand")
        >>> aipl.snapshot(both, model, as_of="2024-06-30").audience("acme", "I").ids()
        ['u1', 'u2']
        """
        _exported("table", table)
        columns = [scope] if isinstance(scope, str) else list(scope) if isinstance(scope, Sequence) else None
        if columns is None:
            raise type_error("scope", "a str or a list of two", scope)
        if len(columns) not in (1, 2):
            raise ParameterError(f"scope: one column or two are needed, not {len(columns)}")
        inner = self._inner.with_states(
            table,
            text("consumer", consumer),
            [text("scope", column) for column in columns],
            text("state", state),
            text("start", start),
            text("end", end),
        )
        return Events(inner, self._schema, self._on_error)

    def with_identity(
        self,
        people: IdentityMap,
        *,
        id_type: str | None = None,
        id_type_column: str | None = None,
        unknown: str = "keep",
    ) -> Events:
        """The same events with persons for consumers: every analysis then counts people, and audiences know all their accounts.

        Consumers of the answers are persons' numbers (int64). Everything is worked out from the events of all accounts of a person
        together; stored labels are never joined. Consumers of `with_states` are seen through the map as well.

        Parameters
        ----------
        people : IdentityMap
            Who is who.
        id_type : str
            The id type of the consumer column, or
        id_type_column : str
            the column of the source that names each row's id type, where rows mix them.
        unknown : {"keep", "reject"}
            Whether a consumer that the map does not know (or that belongs to nobody, as a shared device) is a person of its own, or
            its rows are rejected as `unknown_person`.

        Raises
        ------
        ParameterError
            If not exactly one of `id_type` and `id_type_column` is given, or the map has no such type.
        ColumnNotFoundError
            If there is no such column.

        Notes
        -----
        Definition: the docs page "Identity". `report["identity"]` of every answer tells `accounts`, `unknown_accounts`, `persons` and
        `accounts_per_person`. A consumer argument, as of `history`, is a person: `people.lookup(...)`.

        Examples
        --------
        >>> rows = pyarrow.table({"phone": ["13912345679", "13912345679"], "taobao": ["u3", "u4"]})
        >>> people = aipl.resolve_identities(rows, ["phone", "taobao"])
        >>> snap = aipl.snapshot(events.with_identity(people, id_type="taobao"), model, as_of="2024-06-30")
        >>> buyers = snap.audience("acme", "loyalty")
        >>> buyers.ids(id_type="taobao"), buyers.ids(id_type="phone")
        (['u3', 'u4', 'u5'], ['13912345679'])
        >>> snap.report["identity"]
        {'accounts': 5, 'unknown_accounts': 3, 'persons': 4, 'accounts_per_person': 1.25}
        """
        from aipl._identity import IdentityMap

        if not isinstance(people, IdentityMap):
            raise type_error("people", "an IdentityMap", people)
        if (id_type is None) == (id_type_column is None):
            raise ParameterError("id_type: pass either id_type= or id_type_column=")
        inner = self._inner.with_identity(
            people._inner,
            None if id_type is None else text("id_type", id_type),
            None if id_type_column is None else text("id_type_column", id_type_column),
            choice("unknown", unknown, ("keep", "reject")) == "reject",
        )
        return Events(inner, self._schema, self._on_error)

    def load(self, columns: Iterable[str] | None = None, *, progress: Progress | None = None) -> EventLog:
        """Read all events into memory, for any number of questions.

        Parameters
        ----------
        columns : list of str, optional
            Optional fields of the schema to load, by field name (`"rating"`, `"touchpoint"`, an own attribute). Default: all that are
            mapped. `event_id` always comes along. A question that needs a field which was left out is refused.
        progress : callable, optional
            As in `validate`.

        Returns
        -------
        EventLog

        Raises
        ------
        ParameterError
            If a field is not mapped; the message names the choices.
        RejectedRowsError, SourceError
            As in `validate`.

        Warns
        -----
        RejectedRowsWarning
            Once, if rows were rejected; `EventLog.report` has them.

        Examples
        --------
        >>> log = events.load()
        >>> len(log), log.universe
        (6, Universe(5 consumers))
        >>> aipl.snapshot(log, model, as_of="2024-06-30").counts().to_pydict()["consumers"]
        [1, 1, 2, 1]
        """
        if isinstance(columns, str):
            raise ParameterError(f"columns: a list of fields is needed; for one field pass [{quoted(columns)}]")
        if columns is not None and not isinstance(columns, Iterable):
            raise type_error("columns", "a list of fields", columns)
        wanted = None if columns is None else [text(f"columns[{at}]", item) for at, item in enumerate(columns)]
        inner = _core.EventLog.load(self._inner, wanted, checked_progress(progress))
        return EventLog(inner, self._schema, account(inner.report()))

    def validate(self, *, progress: Progress | None = None) -> Report:
        """Read every mapped column of every row and tell what could not be an event.

        A question decodes only what it needs, so its own report may count fewer rejected rows than this one.

        Parameters
        ----------
        progress : callable, optional
            Called about 20 times a second with the rows done and the rows in all (0 if that is not known).

        Returns
        -------
        Report

        Raises
        ------
        RejectedRowsError
            If the events say `on_error="raise"` and there is such a row.
        SourceError
            If a file or stream cannot be read.

        Examples
        --------
        >>> report = events.validate()
        >>> report.rows_total, report.rows_kept, report.rows_rejected
        (6, 6, 0)
        """
        return account(self._inner.validate(checked_progress(progress)))

    def __repr__(self) -> str:
        rows = self._inner.rows
        parts = [self._inner.source]
        if rows is not None:
            parts.append(f"{rows:,} rows")
        if self._inner.state_periods:
            parts.append(f"{self._inner.state_periods:,} states")
        if self._inner.identity:
            parts.append("persons")
        parts.append(f"tz={self.tz!r}")
        if self._on_error != "reject":
            parts.append(f"on_error={self._on_error!r}")
        return f"Events({plain(', '.join(parts))})"


def checked_progress(progress: Progress | None) -> Progress | None:
    if progress is not None and not callable(progress):
        raise type_error("progress", "a callable", progress)
    return progress


def _schema(schema: object) -> EventSchema:
    if not isinstance(schema, EventSchema):
        raise type_error("schema", "an EventSchema", schema)
    return schema


def _raises(on_error: object) -> bool:
    return choice("on_error", on_error, ("reject", "raise")) == "raise"


def _exported(name: str, data: object) -> None:
    if not (hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")):
        wanted = "an object that exports an Arrow stream (pandas, Polars, pyarrow, DuckDB, ...)"
        raise type_error(name, wanted, data)


def _kinds(data: object) -> set[tuple[str, str]]:
    return {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(data).__mro__}


def arrow_place(name: str, data: object) -> tuple[str, int | None, bool]:
    """What to call an object that exports an Arrow stream, its rows where that is known, and whether it can export again."""
    _exported(name, data)
    kinds = _kinds(data)
    rows = len(data) if kinds & {("aipl", "Table")} else getattr(data, "num_rows", None) if kinds & _TABLES else None  # type: ignore[arg-type]
    kind = type(data)
    return f"{kind.__module__.partition('.')[0].lstrip('_')}.{kind.__name__}", rows, bool(kinds & _AGAIN)


def scan_parquet(
    path: Paths,
    schema: EventSchema,
    *,
    tz: str,
    on_error: str = "reject",
    read_options: ReadOptions | None = None,
) -> Events:
    """Events in Parquet files, lazily.

    Only needed columns are decoded; row groups and pages whose time statistics lie outside everything a question can see are not
    read.

    Parameters
    ----------
    path : str, os.PathLike, or a list of these
        Files, glob patterns (`"data/*.parquet"`), or folders, which are read with all Parquet files under them. Folder names
        `key=value` become columns.
    schema : EventSchema
        Which column is what.
    tz : str
        IANA time zone whose calendar days count, and in which a time without a zone is wall-clock time.
    on_error : {"reject", "raise"}
        Whether rows that cannot be events are left out and counted, or end the question.
    read_options : ReadOptions, optional
        How much a file may ask for, and whether checksums of pages are compared.

    Returns
    -------
    Events

    Raises
    ------
    SourceError
        If there is no such file, or it is not readable Parquet. A question raises it for a file that is damaged, or that changed
        since it was scanned.
    LimitError
        If a file asks for more than `read_options` allow; a question raises it for pages.
    ColumnNotFoundError, SchemaError
        If a mapped column is not there, of a type that its field does not take, or of types in two files that no widening joins.
    ParameterError
        If the zone is unknown.

    Notes
    -----
    Definition: the docs pages "Sources" and "Time".

    Examples
    --------
    >>> import pyarrow.parquet
    >>> pyarrow.parquet.write_table(table, folder / "june.parquet")
    >>> aipl.scan_parquet(folder / "*.parquet", schema, tz="Asia/Shanghai").columns
    ['user', 'brand', 'action', 'day']
    """
    checked, options = _schema(schema), read_options_of(read_options)
    inner = _core.Events.scan_parquet(paths("path", path), checked._inner, text("tz", tz), _raises(on_error), options)
    return Events(inner, checked, on_error)


def scan_ipc(
    path: Paths,
    schema: EventSchema,
    *,
    tz: str,
    on_error: str = "reject",
    read_options: ReadOptions | None = None,
) -> Events:
    """Events in Arrow IPC files (Feather version 2) or IPC streams on disk, lazily.

    Parameters, result and errors are those of `scan_parquet`.

    Examples
    --------
    >>> import pyarrow.feather
    >>> pyarrow.feather.write_feather(table, folder / "june.arrow")
    >>> aipl.scan_ipc(folder / "june.arrow", schema, tz="Asia/Shanghai").columns
    ['user', 'brand', 'action', 'day']
    """
    checked, options = _schema(schema), read_options_of(read_options)
    inner = _core.Events.scan_ipc(paths("path", path), checked._inner, text("tz", tz), _raises(on_error), options)
    return Events(inner, checked, on_error)


def scan_csv(
    path: Paths,
    schema: EventSchema,
    *,
    tz: str,
    on_error: str = "reject",
    delimiter: str = ",",
    quote: str = '"',
    read_options: ReadOptions | None = None,
) -> Events:
    """Events in CSV files with a header line, in UTF-8, lazily.

    Every column is read as text and turned into what its field needs: identifiers are `str` and keep leading zeros, times are
    ISO 8601. A row with the wrong number of fields or broken UTF-8 is a rejected row with its line.

    Parameters
    ----------
    path, schema, tz, on_error, read_options
        As in `scan_parquet`.
    delimiter, quote : str
        One ASCII character each.

    Raises
    ------
    SourceError
        If there is no such file, it has no header, or it is UTF-16.
    SchemaError, ParameterError
        As in `scan_parquet`.

    Examples
    --------
    >>> path = folder / "june.csv"
    >>> _ = path.write_text("user;brand;action;day\\n007;acme;purchase;2024-06-30 21:15:00\\n")
    >>> june = aipl.scan_csv(path, schema, tz="Asia/Shanghai", delimiter=";")
    >>> aipl.snapshot(june, model, as_of="2024-06-30").audience("acme", "P").ids()
    ['007']
    """
    checked, options = _schema(schema), read_options_of(read_options)
    bytes_ = one_byte("delimiter", delimiter), one_byte("quote", quote)
    if bytes_[0] == bytes_[1]:
        raise ParameterError("delimiter: it is the quote as well")
    inner = _core.Events.scan_csv(paths("path", path), checked._inner, text("tz", tz), _raises(on_error), *bytes_, options)
    return Events(inner, checked, on_error)


def from_arrow(data: Any, schema: EventSchema, *, tz: str, on_error: str = "reject") -> Events:
    """Events in memory: anything that exports an Arrow stream or batch, without that library being needed here.

    A table that can export its stream again is asked for it at each question: `pyarrow.Table` and `RecordBatch`, data frames of
    pandas and Polars, DuckDB relations, and the tables of this package. Of anything else (a `RecordBatchReader`, a scanner, a
    generator behind one) the stream is taken once; the first question keeps what it reads for the next ones.

    Parameters
    ----------
    data
        An object with `__arrow_c_stream__` or `__arrow_c_array__`.
    schema, tz, on_error
        As in `scan_parquet`.

    Raises
    ------
    TypeError
        If it exports no Arrow table.
    SchemaError, ParameterError
        As in `scan_parquet`. A `SourceError` at a question says that the stream failed, or that its columns have changed.

    Examples
    --------
    >>> events = aipl.from_arrow(table, schema, tz="Asia/Shanghai")
    >>> reader = table.to_reader()
    >>> once = aipl.from_arrow(reader, schema, tz="Asia/Shanghai")
    >>> [len(aipl.snapshot(once, model, as_of="2024-06-30").labels()) for _ in range(2)]
    [5, 5]
    """
    checked, zone, raises = _schema(schema), text("tz", tz), _raises(on_error)
    inner = _core.Events.from_arrow(data, *arrow_place("data", data), checked._inner, zone, raises)
    return Events(inner, checked, on_error)
