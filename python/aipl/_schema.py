"""Which column of the data is what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from aipl import _core
from aipl._arguments import text, type_error
from aipl._errors import SchemaError
from aipl._plain import quoted

__all__ = ["EventSchema"]

_REQUIRED = ("consumer", "brand", "behavior", "time")
_NOT_COLUMNS = (*_REQUIRED, "behaviors", "own_behaviors", "attributes", "time_unit", "_inner")


@dataclass(frozen=True, kw_only=True, repr=False, eq=True)
class EventSchema:
    """Maps columns of the data, and raw values of the behavior column, to what this package works with.

    `consumer`, `brand`, `behavior` and `time` are required, the rest is optional. Two fields may name the same column. An
    `EventSchema` is immutable, compares by value and can be pickled.

    Parameters
    ----------
    consumer, brand : str
        Columns of identifiers: any integer type or text.
    behavior : str
        Column of what was done: text or integers.
    time : str
        Column of when: dates, timestamps with or without a zone, ISO text, or integers with `time_unit`.
    category, item, store, channel, touchpoint, city : str, optional
        Columns of identifiers or labels. Models with `scope = "category"` or `"store"` need the column of that name.
    order_id : str, optional
        Column that `count = "distinct_orders"` counts.
    event_id : str, optional
        Column that identifies an event; rows of one consumer with the same `event_id` count once.
    amount, quantity, rating, cost : str, optional
        Columns of numbers, held with 6 decimals and added exactly. The unit is yours.
    behaviors : dict, optional
        Raw values of the behavior column (`str` or `int`) to behavior names, or to None to ignore the rows. A raw value that is
        not named here makes a rejected row. Without it the column holds the standard names themselves.
    own_behaviors : list of str, optional
        Behavior names of your own, besides the standard ones.
    attributes : dict of str to str, optional
        Own names to columns of texts, numbers, truth values or days, for `where` and `sum` in models, and for what analyses tell events apart by.
    time_unit : {"d", "s", "ms", "us", "ns"}, optional
        Unit of an integer time column, counted from 1970-01-01 00:00 UTC.

    Raises
    ------
    SchemaError
        If a name is empty, or a behavior does not exist; the message names the field and the nearest choice.

    Notes
    -----
    Definition: the docs page "Events and schemas". The names of behaviors follow the behavior table of Quick Audience; see the
    docs page "Sources" for what is ours.

    Examples
    --------
    >>> schema = aipl.EventSchema(consumer="user_id", brand="brand", behavior="action", time="ts",
    ...                           behaviors={"pv": "view", "buy": "purchase", "heartbeat": None})
    >>> schema
    EventSchema(consumer='user_id', brand='brand', behavior='action', time='ts', behaviors={'pv': 'view', 'buy': 'purchase', \
'heartbeat': None})
    >>> aipl.EventSchema(consumer="u", brand="b", behavior="a", time="t", behaviors={"pv": "veiw"})
    Traceback (most recent call last):
        ...
    aipl.SchemaError: EventSchema.behaviors["pv"]: "veiw" is not a behavior; did you mean "view"? ...
    """

    consumer: str
    brand: str
    behavior: str
    time: str
    category: str | None = None
    item: str | None = None
    store: str | None = None
    channel: str | None = None
    touchpoint: str | None = None
    order_id: str | None = None
    event_id: str | None = None
    amount: str | None = None
    quantity: str | None = None
    rating: str | None = None
    cost: str | None = None
    city: str | None = None
    behaviors: Mapping[str | int, str | None] | None = None
    own_behaviors: Iterable[str] | None = None
    attributes: Mapping[str, str] | None = None
    time_unit: str | None = None
    _inner: _core.Schema = field(init=False, compare=False)

    def __post_init__(self) -> None:
        # Copies of what the caller may still change.
        object.__setattr__(self, "behaviors", _behaviors(self.behaviors))
        object.__setattr__(self, "own_behaviors", _own_behaviors(self.own_behaviors))
        object.__setattr__(self, "attributes", _attributes(self.attributes))
        optional = {
            entry.name: text(f"EventSchema.{entry.name}", getattr(self, entry.name))
            for entry in fields(self)
            if entry.name not in _NOT_COLUMNS and getattr(self, entry.name) is not None
        }
        empty = [name for name, column in optional.items() if not column]
        if empty:
            raise SchemaError(f"EventSchema.{empty[0]}: names no column; leave it out instead")
        required = [text(f"EventSchema.{name}", getattr(self, name)) for name in _REQUIRED]
        unit = None if self.time_unit is None else text("EventSchema.time_unit", self.time_unit)
        inner = _core.Schema(
            (required[0], required[1], required[2], required[3]),
            optional,
            dict(self.attributes or {}),
            None if self.behaviors is None else {str(raw): name for raw, name in self.behaviors.items()},
            list(self.own_behaviors or []),
            unit,
        )
        object.__setattr__(self, "_inner", inner)

    def _given(self) -> dict[str, Any]:
        given = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.init}
        return {name: value for name, value in given.items() if value is not None}

    def __repr__(self) -> str:
        return f"EventSchema({', '.join(f'{name}={value!r}' for name, value in self._given().items())})"

    def __hash__(self) -> int:
        return hash(repr(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._given(),)


def _rebuild(given: dict[str, Any]) -> EventSchema:
    return EventSchema(**given)


def _behaviors(mapping: object) -> dict[str, str | None] | None:
    if mapping is None:
        return None
    if not isinstance(mapping, Mapping):
        raise type_error("EventSchema.behaviors", "a dict of raw value to behavior (or None)", mapping)
    found: dict[str, str | None] = {}
    for raw, name in mapping.items():
        if isinstance(raw, bool) or not isinstance(raw, str | int):
            raise type_error(f"EventSchema.behaviors[{quoted(raw)}]", "a raw value of type str or int", raw)
        if name is not None:
            name = text(f"EventSchema.behaviors[{quoted(raw)}]", name)
        key = text("EventSchema.behaviors", str(raw))
        if found.setdefault(key, name) != name:
            raise SchemaError(f"EventSchema.behaviors: {quoted(key)} is mapped twice")
    return found


def _own_behaviors(names: object) -> tuple[str, ...] | None:
    if names is None:
        return None
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise type_error("EventSchema.own_behaviors", "a list of names", names)
    return tuple(text("EventSchema.own_behaviors", name) for name in names)


def _attributes(mapping: object) -> dict[str, str] | None:
    if mapping is None:
        return None
    if not isinstance(mapping, Mapping):
        raise type_error("EventSchema.attributes", "a dict of own name to column", mapping)
    return {
        text("EventSchema.attributes", name): text(f"EventSchema.attributes[{quoted(name)}]", column)
        for name, column in mapping.items()
    }
