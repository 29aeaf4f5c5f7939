"""Answers whose cells stand for people, and attributes of consumers."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from typing import Any

from aipl import _arguments as check
from aipl import _core
from aipl._arguments import Scope, text, type_error
from aipl._audience import Audience
from aipl._bank import DataBank
from aipl._errors import ParameterError
from aipl._events import Events
from aipl._identity import IdentityMap
from aipl._plain import plain
from aipl._question import Source
from aipl._report import account
from aipl._table import Table

__all__ = ["Attributes", "attributes"]


class Measured(Table):
    """A table of which every cell that counts people can give them; the source is asked again."""

    __slots__ = ("_bank", "_measured")

    def __init__(self, measured: _core.Measured, source: Source) -> None:
        # A log warned of rejected rows when it was loaded.
        report = account(measured.report(), warn=isinstance(source, Events))
        super().__init__(measured.table(0), report, json.loads(measured.recipe()))
        self._measured = measured
        self._bank = (source, source.commit) if isinstance(source, DataBank) else None

    def _more(self, number: int, name: str) -> Table:
        return Table(self._measured.table(number), self._report, {**self._recipe, "table": name})

    def _still(self) -> None:
        """Refuses to ask a bank again that has gone on."""
        if self._bank is not None and self._bank[0].commit != self._bank[1]:
            then = self._bank[1]
            raise ParameterError(f"the bank has gone on since this answer, from commit {then}; ask again, or ask bank.as_of_commit({then})")

    def _people(self, scope: Scope | None, *cell: str | None) -> Audience:
        of = None if scope is None else check.scope("scope", scope)
        self._still()
        return Audience._found(self._measured.audience(of, list(cell)))


def value_text(name: str, value: object) -> str | None:
    """A value of a table's column as the core knows it: `None` stands for no value."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise type_error(name, "a str, an int or None", value)


class Anything(enum.Enum):
    """In the place of a value that is not asked for: the cell is a total."""

    ANYTHING = "any"

    def __repr__(self) -> str:
        return "any"


def cell_of(name: str, value: object) -> tuple[str | None, str | None]:
    """A value of a cell, `None` being the lack of one, or none at all."""
    return ("any", None) if isinstance(value, Anything) else ("value", value_text(name, value))


class Attributes:
    """Tags of consumers, such as age band, city tier or strategy group; made by `attributes`.

    Examples
    --------
    >>> tags = aipl.attributes(pyarrow.table({"user": ["u1", "u2"], "age": ["18-24", "25-34"]}), consumer="user")
    >>> tags
    Attributes(2 consumers: age)
    >>> tags.tags, len(tags), tags.report
    (['age'], 2, {'consumers': 2, 'disagreeing': 0, 'rejected': {}})
    """

    __slots__ = ("_inner",)

    def __init__(self, inner: _core.Attributes) -> None:
        if not isinstance(inner, _core.Attributes):
            raise TypeError("Attributes come from attributes()")
        self._inner = inner

    @property
    def tags(self) -> list[str]:
        """Names of the tags."""
        return self._inner.tags

    @property
    def report(self) -> dict[str, Any]:
        """`consumers`; `disagreeing`: consumers whose rows say different things of a tag (the least value holds); `rejected` rows by reason."""
        consumers, disagreeing, rejected = self._inner.account()
        return {"consumers": consumers, "disagreeing": disagreeing, "rejected": json.loads(rejected)}

    def with_identity(self, people: IdentityMap, *, id_type: str, unknown: str = "keep") -> Attributes:
        """The same tags of persons, for events that are seen through the same map.

        Parameters
        ----------
        people : IdentityMap
            Who is who.
        id_type : str
            The id type of the consumer column.
        unknown : {"keep", "reject"}
            As in `Events.with_identity`.

        Examples
        --------
        >>> people = aipl.resolve_identities(pyarrow.table({"phone": ["13912345679"] * 2, "taobao": ["u1", "u2"]}), ["phone", "taobao"])
        >>> tags = aipl.attributes(pyarrow.table({"user": ["u1", "u2"], "age": ["18-24", None]}), consumer="user")
        >>> len(tags.with_identity(people, id_type="taobao"))
        1
        """
        if not isinstance(people, IdentityMap):
            raise type_error("people", "an IdentityMap", people)
        reject = check.choice("unknown", unknown, ("keep", "reject")) == "reject"
        return Attributes(self._inner.with_identity(people._inner, text("id_type", id_type), reject))

    def __len__(self) -> int:
        return len(self._inner)

    def __repr__(self) -> str:
        return f"Attributes({len(self):,} consumers: {plain(', '.join(self.tags))})"


def attributes(table: Any, *, consumer: str, tags: Iterable[str] | None = None) -> Attributes:
    """Read tags of consumers from a table, for `profile`, `crosstab` and `grow`.

    Parameters
    ----------
    table
        Anything that exports an Arrow table: one row a consumer; it is read now. If a consumer has several rows, the least value of
        each tag that is not null holds, whatever the order of rows, and `report["disagreeing"]` counts those that differ.
    consumer : str
        The column of the consumer, of the same identifiers as the events' (integers and their texts are the same).
    tags : list of str, optional
        Columns of integers, texts, days or truth values. Default: all others.

    Returns
    -------
    Attributes

    Raises
    ------
    ColumnNotFoundError, SchemaError
        If a column is not there, or of a type that is no label.

    Examples
    --------
    >>> aipl.attributes(pyarrow.table({"user": ["u1", "u2"], "age": ["18-24", None], "tier": [1, 2]}), consumer="user", tags=["tier"])
    Attributes(2 consumers: tier)
    """
    if not hasattr(table, "__arrow_c_stream__") and not hasattr(table, "__arrow_c_array__"):
        raise type_error("table", "an Arrow table (anything with __arrow_c_stream__)", table)
    named = None if tags is None else check.texts("tags", tags)
    return Attributes(_core.Attributes.read(table, text("consumer", consumer), named))


def attributes_or_none(value: object) -> _core.Attributes | None:
    if value is None:
        return None
    if not isinstance(value, Attributes):
        raise type_error("attributes", "Attributes (of aipl.attributes)", value)
    return value._inner


def numbers(name: str, value: Mapping[str, object], keys: tuple[str, ...]) -> dict[str, float]:
    """A mapping of some of the keys to numbers."""
    found = {}
    for key, number in value.items():
        check.choice(name, key, keys)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise type_error(f"{name}[{key!r}]", "a number", number)
        found[key] = decimal(f"{name}[{key!r}]", number)
    return found


def decimal(name: str, number: float) -> float:
    """A number as the core takes it."""
    try:
        return float(number)
    except OverflowError:
        raise ParameterError(f"{name}: the number is too large") from None
