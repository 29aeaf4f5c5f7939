"""Many accounts, one person."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from aipl import _core
from aipl._arguments import Id, choice, count, identifier, paths, text, type_error
from aipl._errors import ParameterError, RejectedRowsWarning
from aipl._events import Events, Progress, arrow_place, checked_progress
from aipl._options import ReadOptions, read_options_of
from aipl._plain import plain
from aipl._report import Report
from aipl._table import Table

__all__ = ["IdType", "IdentityMap", "connected_components", "resolve_identities"]

Rows = Any

_FAMILIES = ("personal", "device", "first_party", "third_party")
_HASHES = ("md5", "sha256")


class IdType:
    """One type of identifier: a phone number, a device, an account of a platform, a member number.

    Where only a name is given, well-known names (`phone`, `mobile`, `email`, `idfa`, `imei`, `mac`, `device`, `device_id`, `imsi`,
    `oaid`, `aaid`, `gaid`, `android_id`, `cookie`, `member`, `member_id`, `one_id`) bring their family and normalizer; every other name
    is a third-party account whose values are trimmed.

    Parameters
    ----------
    name : str
        Its name, which is that of its column.
    joining : bool
        Whether rows that share a value belong to one person. A type that does not join is only carried: its values go to one person
        each, and connect nobody.
    single : bool
        Whether a person has at most one value, as of a member number. Links that would give a person two are refused, those of the
        lowest priority first.
    family : {"personal", "device", "first_party", "third_party"}, optional
        Devices do not count as people where it is counted how many people share an identifier.
    normalize : {"exact", "trim", "phone", "email", "idfa", "imei", "mac"}, optional
        How values are brought to one form: `phone` to 11 digits without 86, `email` trimmed and in lower case, `idfa` in upper case
        with dashes, `imei` as 14 or 15 digits in lower case, `mac` as 12 digits in upper case.
    hash : {"md5", "sha256"}, optional
        How values are hashed, where plain and hashed ones are mixed; values hashed in another way are left out and counted
        (`other_hash`). By default this is found out: if hashed values are met in the first rows, plain ones are hashed in the same way. Only for types with a form of their own (`phone` to `mac` above).
    ignore : list, optional
        Values that identify nobody, besides the built-in ones: blanks, zeros, numbers and addresses for tests, emulators.

    Notes
    -----
    Source: Quick Audience's ID mapping (definitions, "Identity"): families, priorities, single- and multi-valued, joining ids. The
    built-in lists and the rule of families are ours.

    Examples
    --------
    >>> aipl.IdType("phone")
    IdType('phone', family='personal', normalize='phone')
    >>> aipl.IdType("member", single=True)
    IdType('member', single=True, family='first_party', normalize='trim')
    """

    __slots__ = ("_data",)

    def __init__(
        self,
        name: str,
        *,
        joining: bool = True,
        single: bool = False,
        family: str | None = None,
        normalize: str | None = None,
        hash: str | None = None,
        ignore: Iterable[Id] = (),
    ) -> None:
        data: dict[str, Any] = json.loads(_core.IdentityMap.named_type(text("name", name)))
        for flag, value in (("joining", joining), ("single", single)):
            if not isinstance(value, bool):
                raise type_error(flag, "a bool", value)
            data[flag] = value
        if family is not None:
            data["family"] = choice("family", family, _FAMILIES)
        if normalize is not None:
            data["normalizer"] = choice("normalize", normalize, _core.IdentityMap.normalizers())
        if hash is not None:
            data["hash"] = choice("hash", hash, _HASHES)
        if isinstance(ignore, str | bytes) or not isinstance(ignore, Iterable):
            raise type_error("ignore", "a list of values", ignore)
        data["ignore"] = [str(identifier(f"ignore[{at}]", value)) for at, value in enumerate(ignore)]
        self._data = data

    @classmethod
    def _of(cls, data: dict[str, Any]) -> IdType:
        made = cls.__new__(cls)
        made._data = data
        return made

    @property
    def name(self) -> str:
        """Its name."""
        return str(self._data["name"])

    @property
    def joining(self) -> bool:
        """Whether a shared value joins rows to one person."""
        return bool(self._data["joining"])

    @property
    def single(self) -> bool:
        """Whether a person has at most one value."""
        return bool(self._data["single"])

    @property
    def family(self) -> str:
        """Its family."""
        return str(self._data["family"])

    @property
    def normalize(self) -> str:
        """How values are brought to one form."""
        return str(self._data["normalizer"])

    @property
    def hash(self) -> str | None:
        """How values are hashed; None finds out."""
        value: str | None = self._data["hash"]
        return value

    @property
    def ignore(self) -> list[str]:
        """Values that identify nobody, besides the built-in ones."""
        return list(self._data["ignore"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdType) and self._data == other._data

    def __hash__(self) -> int:
        return hash(json.dumps(self._data, sort_keys=True))

    def __repr__(self) -> str:
        parts = [repr(self.name)]
        parts += [] if self.joining else ["joining=False"]
        parts += ["single=True"] if self.single else []
        parts += [f"family={self.family!r}", f"normalize={self.normalize!r}"]
        parts += [] if self.hash is None else [f"hash={self.hash!r}"]
        parts += [f"ignore=[{len(self.ignore)} values]"] if self.ignore else []
        return f"IdType({', '.join(parts)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return IdType._of, (self._data,)


def _id_types(given: object) -> list[IdType]:
    # The order is the priority, so what has none is refused.
    if not isinstance(given, list | tuple):
        raise type_error("id_types", "a list of names and IdTypes", given)
    types = []
    for at, item in enumerate(given):
        if not isinstance(item, str | IdType):
            raise type_error(f"id_types[{at}]", "a str or an IdType", item)
        types.append(IdType(item) if isinstance(item, str) else item)
    return types


def _rows(rows: Rows, columns: Sequence[str], read_options: ReadOptions | None = None) -> _core.Rows:
    """Rows from events, files, or anything that exports an Arrow stream."""
    if isinstance(rows, Events):
        return _core.Rows.of_events(rows._inner)
    if isinstance(rows, str | os.PathLike) or (isinstance(rows, list | tuple) and rows and isinstance(rows[0], str | os.PathLike)):
        return _core.Rows.of_files(paths("rows", rows), list(columns), read_options_of(read_options))
    place, known, again = arrow_place("rows", rows)
    return _core.Rows.of_arrow(rows, place, known, again)


def _limit(name: str, value: object) -> int | None:
    if value is None:
        return None
    number = count(name, value, 1)
    if number >= 2**32:
        raise ParameterError(f"{name}: {number} is not below 4294967296; None sets no limit")
    return number


def _how(seen_at: str | None, source: str | None, tz: str, on_error: str) -> tuple[str | None, str | None, str, bool]:
    return (
        None if seen_at is None else text("seen_at", seen_at),
        None if source is None else text("source", source),
        text("tz", tz),
        choice("on_error", on_error, ("reject", "raise")) == "raise",
    )


def resolve_identities(
    rows: Rows,
    id_types: Iterable[str | IdType],
    *,
    max_people_per_id: int | None = 10,
    max_component: int | None = None,
    seen_at: str | None = None,
    source: str | None = None,
    tz: str = "UTC",
    on_error: str = "reject",
    read_options: ReadOptions | None = None,
    progress: Progress | None = None,
) -> IdentityMap:
    """Work out which accounts belong to one person: rows that share a value of a joining id type do.

    Parameters
    ----------
    rows
        Anything that exports an Arrow table (pandas, Polars, pyarrow, DuckDB, ...), scanned `Events` (the columns of their source), or paths of
        Parquet, CSV or Arrow IPC files. Either one row an account or login, with a column for each id type (others may be missing), or
        links with the columns `id_type_a`, `id_a`, `id_type_b`, `id_b`. Values may be null.
    id_types : list of str or IdType
        The id types in order of priority, the highest first. At least one must be joining.
    max_people_per_id : int or None
        A joining identifier that rows show with more than this many different values of one id type links nobody and belongs to nobody
        (reason `shared`). Carried values are counted, values of the family `device` are not, since a person has many devices. None
        counts nothing.
    max_component : int or None
        The most joining identifiers of a person. Of a component that is larger, links are taken from the strongest on; those that
        would make a person larger are refused.
    seen_at : str, optional
        The column that says when a row was seen; by default `seen_at`, if there is one. The oldest identifier names the person.
    source : str, optional
        The column that says where a row comes from; by default `source`, if there is one.
    tz : str
        The time zone of wall-clock times in `seen_at`.
    on_error : {"reject", "raise"}
        Whether values that are no identifiers of their type are left out and counted, or end the resolution.
    read_options : ReadOptions, optional
        How much a file of rows may ask for.
    progress : callable, optional
        Called about 20 times a second with the rows done and the rows in all (0 if that is not known).

    Returns
    -------
    IdentityMap

    Raises
    ------
    ColumnNotFoundError
        If the rows have no column of an id type.
    SchemaError
        If such a column holds no identifiers.
    ParameterError
        If id types or limits cannot be.
    RejectedRowsError
        If `on_error="raise"` and a value cannot be used.

    Warns
    -----
    RejectedRowsWarning
        Once, if values could not be used; `IdentityMap.report` has them.

    Notes
    -----
    Definition: the docs page "Identity". Rows that share an id value belong to one person, as in Quick Audience's ID mapping; the guards
    are ours. A row links its identifiers to the one of highest priority that joins. What is refused is in `IdentityMap.refused`.

    Examples
    --------
    >>> rows = pyarrow.table({"phone": ["139-1234-5679", "+86 13912345679", None, "0"], "device": ["d1", "d2", "d3", "d3"]})
    >>> people = aipl.resolve_identities(rows, ["phone", "device"])
    >>> people
    IdentityMap(2 persons, 4 ids: phone 1, device 3; 4 rows)
    >>> people.lookup("device", "d1") == people.lookup("device", "d2")
    True
    """
    types = _id_types(id_types)
    inner = _core.IdentityMap.resolve(
        _rows(rows, [id_type.name for id_type in types], read_options),
        json.dumps([id_type._data for id_type in types]),
        _limit("max_people_per_id", max_people_per_id),
        _limit("max_component", max_component),
        _how(seen_at, source, tz, on_error),
        checked_progress(progress),
    )
    return IdentityMap(inner)._told()


class IdentityMap:
    """Which identifiers belong to one person; made by `resolve_identities`.

    Immutable: `add`, `unlink` and `block` give a new map. A map keeps every row, so any link can be taken back, and persons are always what
    follows from all rows. A person's number is 63 bits made of its oldest identifier: the same for the same rows, and kept while rows are
    added, as long as that identifier stays the oldest of its person.

    Examples
    --------
    >>> rows = pyarrow.table({"phone": ["13912345679", "13912345679", "13712345670"], "taobao": ["t1", "t2", "t3"]})
    >>> people = aipl.resolve_identities(rows, ["phone", "taobao"])
    >>> people
    IdentityMap(2 persons, 5 ids: phone 2, taobao 3; 3 rows)
    >>> people.person(people.lookup("taobao", "t1"))
    [('phone', '13912345679'), ('taobao', 't1'), ('taobao', 't2')]
    >>> split = people.unlink(("phone", "13912345679"), ("taobao", "t2"))
    >>> len(split), split.lookup("taobao", "t2") == split.lookup("taobao", "t1")
    (3, False)
    """

    __slots__ = ("_counts", "_inner", "_report")

    def __init__(self, inner: _core.IdentityMap) -> None:
        if not isinstance(inner, _core.IdentityMap):
            raise TypeError("an IdentityMap comes from resolve_identities, from_arrow or from_parquet")
        self._inner = inner
        self._counts: tuple[int, int, int] = inner.counts()
        self._report: dict[str, Any] | None = None

    def _told(self, before: list[tuple[str, int]] | None = None, stacklevel: int = 3) -> IdentityMap:
        """Warns once of values that could not be used, and had not been told of before."""
        known = dict(before or [])
        fresh = [(reason, number - known.get(reason, 0)) for reason, number in self._inner.rejected()]
        rejected = [(reason, number) for reason, number in fresh if number]
        if rejected:
            reasons = ", ".join(f"{reason} {number:,}" for reason, number in rejected)
            total = sum(number for _, number in rejected)
            noun = "value" if total == 1 else "values"
            message = f"{total:,} {noun} could not be used ({reasons}); people.report() has the first examples"
            warnings.warn(message, RejectedRowsWarning, stacklevel=stacklevel)
        return self

    @property
    def id_types(self) -> list[IdType]:
        """The id types, in order of priority."""
        return [IdType._of(data) for data in json.loads(self._inner.id_types())]

    @property
    def max_people_per_id(self) -> int | None:
        """How many people an identifier may be seen with before it links nobody."""
        return self._inner.guards[0]

    @property
    def max_component(self) -> int | None:
        """The most joining identifiers of a person."""
        return self._inner.guards[1]

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return self._inner.nbytes

    def add(
        self,
        rows: Rows,
        *,
        seen_at: str | None = None,
        source: str | None = None,
        tz: str = "UTC",
        on_error: str = "reject",
        read_options: ReadOptions | None = None,
        progress: Progress | None = None,
    ) -> IdentityMap:
        """The map with more rows: persons are those of all rows together, as if they had been resolved at once.

        A person that comes of several keeps the number of the oldest; `merges` tells which became one. Rows, errors and warnings are
        those of `resolve_identities`. A column of which the map knows plain values cannot turn into hashed ones: resolve all rows again with
        `IdType(..., hash=...)`. There is no way back from `block` and `unlink` but the map they were called on.

        Examples
        --------
        >>> first = aipl.resolve_identities(pyarrow.table({"phone": ["13912345679", None], "device": ["d1", "d2"]}), ["phone", "device"])
        >>> both = first.add(pyarrow.table({"phone": ["13912345679"], "device": ["d2"]}))
        >>> len(first), len(both), both.lookup("device", "d2") in (first.lookup("device", "d1"), first.lookup("device", "d2"))
        (2, 1, True)
        >>> len(both.merges())
        1
        """
        names = [id_type.name for id_type in self.id_types]
        inner = self._inner.add(_rows(rows, names, read_options), _how(seen_at, source, tz, on_error), checked_progress(progress))
        return IdentityMap(inner)._told(self._inner.rejected())

    def unlink(self, left: tuple[str, Id], right: tuple[str, Id]) -> IdentityMap:
        """The map without the link between two identifiers that rows show together: as if no row had ever linked them.

        Rows that show the two are still there, and later rows do not link them either. They stay one person if other links join them;
        `links` lists the links of a person.

        Parameters
        ----------
        left, right : tuple of str and id
            Id type and value of each end.

        Raises
        ------
        IdentityError
            If one of them is not known, or no row links them directly.
        """
        return IdentityMap(self._inner.unlink(_typed("left", left), _typed("right", right)))

    def block(self, id_type: str, id: Id) -> IdentityMap:
        """The map with an identifier that links nobody and belongs to nobody any more, such as the tablet of a shop.

        Raises
        ------
        IdentityError
            If it is not known.

        Examples
        --------
        >>> rows = pyarrow.table({"phone": ["13912345679", "13712345670"], "device": ["shop", "shop"]})
        >>> people = aipl.resolve_identities(rows, ["phone", "device"])
        >>> len(people), len(people.block("device", "shop"))
        (1, 2)
        >>> people.block("device", "shop").refused().to_dicts()[0]["reason"]
        'blocked'
        """
        return IdentityMap(self._inner.block(*_typed("id", (id_type, id))))

    def lookup(self, id_type: str, id: Id) -> int | None:
        """The person of an identifier, in whatever form it is written; None if it was never seen, or belongs to nobody.

        Raises
        ------
        ParameterError
            If the map has no such id type.
        """
        return self._inner.lookup(*_typed("id", (id_type, id)))

    def person(self, person: int) -> list[tuple[str, str]]:
        """Id type and value of every identifier of a person, in order of priority and then of age.

        Raises
        ------
        IdentityError
            If there is no such person.
        """
        number = identifier("person", person)
        if isinstance(number, str):
            raise type_error("person", "an int", person)
        return self._inner.person(number)

    def persons(self) -> Table:
        """Every person with its identifiers: `person` (int64), `id_type`, `id` (text), in this order. Made while it is read."""
        return self._table("persons", self._inner.persons())

    def refused(self) -> Table:
        """Every link that was not taken, with the reason.

        Returns
        -------
        Table
            `id_type_a`, `id_a`, `id_type_b`, `id_b`; `reason`: `ignored` (an end is on an ignore list), `blocked`, `shared` (an end was
            seen with too many people), `unlinked`, `single_value` (the person would have two values of a single-valued type),
            `component_full`, `not_joining` (two values of one carried type), `carried_elsewhere` (the carried end belongs to another
            person); `rows` that ask for it, and when the first was `seen_at` (UTC, null if unknown).

        Examples
        --------
        >>> phones = [f"139{n:08}" for n in range(21, 33)]
        >>> rows = pyarrow.table({"phone": phones, "device": ["kiosk"] * 12})
        >>> people = aipl.resolve_identities(rows, ["phone", "device"])
        >>> len(people), len(people.refused()), people.refused().to_dicts()[0]["reason"], people.lookup("device", "kiosk")
        (12, 12, 'shared', None)
        """
        return self._table("refused", self._inner.refused())

    def ignored(self) -> Table:
        """Identifiers that belong to nobody: `id_type`, `id`, `reason` (`ignored`, `blocked`, `shared`). Blank values are only counted, in
        `report`."""
        return self._table("ignored", self._inner.ignored())

    def links(self, person: int) -> Table:
        """The links that rows show within a person: `id_type_a`, `id_a`, `id_type_b`, `id_b`, `rows`, `seen_at`.

        Raises
        ------
        IdentityError
            If there is no such person.
        """
        number = identifier("person", person)
        if isinstance(number, str):
            raise type_error("person", "an int", person)
        return self._table("links", self._inner.links(number))

    def merges(self) -> Table:
        """The log of merges: every link that joined two persons who had both been seen before it.

        Carried values connect nobody, so only links between joining ids merge. What one batch of rows shows at one time, or without times, is seen at once and merges nobody; so the log has entries for rows
        that were added, and for rows with `seen_at`. It is worked out from the rows that stand today: what was taken back is not in it.

        Returns
        -------
        Table
            `batch` (0 for the first rows, then one for each `add`), `seen_at`, `kept` and `merged` (persons as they were then), the
            link as `id_type_a`, `id_a`, `id_type_b`, `id_b`, and its `source`; in order of batch and time.
        """
        return self._table("merges", self._inner.merges())

    def report(self) -> dict[str, Any]:
        """The account of the map, as plain data.

        Returns
        -------
        dict
            `rows`, `batches`, `ids`, `persons`; `ids_per_person` and `largest` (identifiers of the largest person), and `sizes`, how many
            persons have how many `ids`; `id_types` with their `ids`, `blank` values, and identifiers that are `ignored`, `blocked` or
            `shared`; values that could not be used as `rejected` by reason with the first `examples`; `unlinked` links; `bytes`.

        Examples
        --------
        >>> rows = pyarrow.table({"phone": ["13912345679", "13912345679", "0"], "taobao": ["t1", "t2", "t3"]})
        >>> report = aipl.resolve_identities(rows, ["phone", "taobao"]).report()
        >>> report["persons"], report["sizes"], report["id_types"][0]["blank"]
        (2, [{'ids': 1, 'persons': 1}, {'ids': 3, 'persons': 1}], 1)
        """
        if self._report is None:
            self._report = json.loads(self._inner.report())
        copied: dict[str, Any] = json.loads(json.dumps(self._report))
        return copied

    def to_arrow(self) -> Any:
        """The map as a `pyarrow.Table`: its observations in long form, with its rules in the metadata. `from_arrow` reads it."""
        return self._stored().to_arrow()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._stored().__arrow_c_stream__(requested_schema)

    def _stored(self) -> Table:
        return self._table("observations", self._inner.observations())

    @staticmethod
    def from_arrow(data: Any) -> IdentityMap:
        """The map that `to_arrow` gave. The rows are resolved again; what could not be used when they were read is not stored.

        Raises
        ------
        SourceError
            If the table holds no map; its schema's metadata must be as it was.

        Examples
        --------
        >>> people = aipl.resolve_identities(pyarrow.table({"phone": ["13912345679"], "device": ["d1"]}), ["phone", "device"])
        >>> aipl.IdentityMap.from_arrow(people.to_arrow()).persons().to_pydict() == people.persons().to_pydict()
        True
        """
        arrow_place("data", data)
        return IdentityMap(_core.IdentityMap.from_observations(data))

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Store the map as a Parquet file, which appears whole or not at all. It holds identifiers of people in plain text.

        A checksum over rules and rows stands beside them; `from_parquet` compares it.

        Raises
        ------
        SourceError
            If it cannot be written.
        """
        self._inner.write_parquet(paths("path", path)[0])

    @staticmethod
    def from_parquet(path: str | os.PathLike[str]) -> IdentityMap:
        """The map that `to_parquet` stored.

        Its checksum is compared. Maps that were stored before there was one have none, and are read as they are.

        Raises
        ------
        SourceError
            If there is no such file, it holds no map, or its checksum does not agree.

        Examples
        --------
        >>> people = aipl.resolve_identities(pyarrow.table({"phone": ["13912345679"], "device": ["d1"]}), ["phone", "device"])
        >>> people.to_parquet(folder / "people.parquet")
        >>> aipl.IdentityMap.from_parquet(folder / "people.parquet")
        IdentityMap(1 person, 2 ids: phone 1, device 1; 1 row)
        """
        return IdentityMap(_core.IdentityMap.read_parquet(paths("path", path)[0]))

    def _table(self, function: str, inner: _core.Table) -> Table:
        rows, ids, persons = self._counts
        recipe = {"function": f"IdentityMap.{function}", "rows": rows, "ids": ids, "persons": persons, "version": _core.__version__}
        return Table(inner, Report(json.loads(self._inner.rows_report())), recipe)

    def __len__(self) -> int:
        return self._counts[2]

    def __repr__(self) -> str:
        rows, ids, persons = self._counts
        by_type = ", ".join(f"{plain(name)} {number:,}" for name, number in self._inner.ids_by_type())

        def counted(number: int, noun: str) -> str:
            return f"{number:,} {noun}{'' if number == 1 else 's'}"

        return f"IdentityMap({counted(persons, 'person')}, {counted(ids, 'id')}: {by_type}; {counted(rows, 'row')})"


def _typed(name: str, value: object) -> tuple[str, str]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise type_error(name, "a tuple of id type and value", value)
    return text(f"{name}: id_type", value[0]), str(identifier(f"{name}: id", value[1]))


def connected_components(links: Any, *, nodes: int | None = None) -> Table:
    """The connected components of a graph whose nodes are numbered from 0: the engine under `resolve_identities`, for dense numbers.

    Parameters
    ----------
    links
        Anything that exports an Arrow table of two integer columns; a row joins two nodes.
    nodes : int, optional
        How many nodes there are; by default one more than the greatest number.

    Returns
    -------
    Table
        `component` (uint32): for each node, in order, the least node of its component.

    Raises
    ------
    ParameterError
        If there are not two columns, or a number is null, negative, or not below `nodes`.

    Examples
    --------
    >>> links = pyarrow.table({"a": [3, 1], "b": [4, 3]})
    >>> aipl.connected_components(links, nodes=6).to_pydict()["component"]
    [0, 1, 2, 1, 1, 5]
    """
    arrow_place("links", links)
    inner = _core.connected_components(links, None if nodes is None else count("nodes", nodes))
    rows = len(inner)
    report = Report({"rows_total": rows, "rows_kept": rows, "rows_rejected": 0, "rejected": {}, "notes": []})
    return Table(inner, report, {"function": "connected_components", "nodes": rows, "version": _core.__version__})
