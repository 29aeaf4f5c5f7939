"""Sets of consumers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from aipl import _core
from aipl._arguments import Id, count, identifier, text, type_error
from aipl._errors import LostDataWarning, ParameterError
from aipl._plain import plain

if TYPE_CHECKING:
    from aipl._bank import DataBank as _DataBank
    from aipl._flow import Flow as _Flow
    from aipl._log import EventLog as _EventLog
    from aipl._snapshot import Snapshot as _Snapshot

__all__ = ["Audience", "MatchReport", "Universe"]


class Universe:
    """The consumers of one answer; audiences of equal universes combine.

    Two universes are equal if they hold the same consumers, or are states of one bank, whose consumers keep their numbers. Has `len`, `in`,
    and can be pickled. A pickle carries a checksum, which is compared on reading; those made before there was one are
    read as they are.

    Examples
    --------
    >>> universe = aipl.snapshot(events, model, as_of="2024-06-30").universe
    >>> universe
    Universe(5 consumers)
    >>> "u1" in universe
    True
    """

    __slots__ = ("_inner",)

    def __init__(self, inner: _core.Universe) -> None:
        if not isinstance(inner, _core.Universe):
            raise TypeError("a Universe comes from a snapshot, or from the audience of one")
        self._inner = inner

    @property
    def fingerprint(self) -> str:
        """128 bits that tell universes apart, as hexadecimal text."""
        return self._inner.fingerprint

    @property
    def id_type(self) -> str:
        """`"int64"` or `"text"`."""
        return self._inner.id_type

    @property
    def lost_ids(self) -> int:
        """Consumers of a bank whose identifiers are lost with a damaged file (see `DataBank.drop_batch`). They count in `len`."""
        return self._inner.lost_ids

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self._inner.nbytes

    def __len__(self) -> int:
        return len(self._inner)

    def __contains__(self, consumer: object) -> bool:
        try:
            return self._inner.contains(identifier("consumer", consumer))
        except ParameterError:
            return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Universe) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __copy__(self) -> Universe:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Universe:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _universe, (self._inner.to_bytes(),)

    def __repr__(self) -> str:
        return f"Universe({len(self):,} consumers)"


def _universe(data: bytes) -> Universe:
    return Universe(_core.Universe.from_bytes(data))


@dataclass(frozen=True)
class MatchReport:
    """What became of the values that an audience was made of.

    Attributes
    ----------
    values : int
        Values given.
    blank, malformed : int
        Of these, values that are nothing, and values that have not the form of their id type.
    distinct : int
        Different values of the right form.
    matched : int
        Of the different values, those that belong to a person.
    unmatched : list[str]
        The others, in order.
    persons : int
        Different persons found.
    outside : int
        Of these, persons who are not in the universe: they have no event in it.

    Examples
    --------
    >>> people = aipl.resolve_identities(pyarrow.table({"phone": ["13912345679"], "taobao": ["u3"]}), ["phone", "taobao"])
    >>> snap = aipl.snapshot(events.with_identity(people, id_type="taobao"), model, as_of="2024-06-30")
    >>> uploaded, match = aipl.Audience.from_ids(["+86 139-1234-5679", "13712345670", ""], snap, id_type="phone")
    >>> uploaded.ids(id_type="taobao"), match.matched, match.unmatched, match.blank
    (['u3'], 1, ['13712345670'], 1)
    """

    values: int
    blank: int
    malformed: int
    distinct: int
    matched: int
    unmatched: list[str]
    persons: int
    outside: int

    @property
    def match_rate(self) -> float | None:
        """`matched` over `distinct`; None if there is nothing to match."""
        return self.matched / self.distinct if self.distinct else None


class Audience:
    """An immutable set of consumers.

    Audiences of one universe combine with `|`, `&`, `-` and `^`; `<=` asks for a subset. They have `len`, `in`, `==`, iterate over
    their ids in order, export one Arrow column `consumer`, and can be copied, pickled (with their universe) and kept as bytes (without).

    `len` counts all consumers. Where a bank has lost identifiers with a damaged file (see `DataBank.drop_batch`), `lost_ids` of them
    have none any more: they are in no list, export or sample, and each of these warns.

    Notes
    -----
    Definition: the docs page "Audiences". Intersection, union and difference are 交并差 of the platforms.

    Examples
    --------
    >>> snap = aipl.snapshot(events, model, as_of="2024-06-30")
    >>> buyers = snap.audience("acme", "P") | snap.audience("acme", "L")
    >>> buyers
    Audience(3 consumers: (acme P on 2024-06-30 (databank) | acme L on 2024-06-30 (databank)))
    >>> buyers.ids(), "u3" in buyers, len(buyers - snap.audience("acme", "L"))
    (['u3', 'u4', 'u5'], True, 2)
    """

    __slots__ = ("_inner", "_universe")

    def __init__(self, inner: _core.Audience, universe: Universe | None) -> None:
        if not isinstance(inner, _core.Audience):
            raise TypeError("an Audience comes from a snapshot, from_bytes or from_ids")
        self._inner = inner
        self._universe = universe

    @classmethod
    def _found(cls, inner: _core.Audience) -> Audience:
        """What an analysis found, with the universe that it found it in."""
        return cls(inner, None if inner.universe is None else Universe(inner.universe))

    @staticmethod
    def from_bytes(data: bytes, universe: Universe | _Snapshot | _Flow | _EventLog | _DataBank | Audience | None = None) -> Audience:
        """Read what `to_bytes` wrote.

        Parameters
        ----------
        data : bytes
            The bytes.
        universe : Universe, or Snapshot, Flow, EventLog, DataBank or Audience, optional
            Whose consumers are numbered. Without it the audience can be counted and combined, but not listed.

        Raises
        ------
        AudienceError
            If the bytes are no audience, or damaged.
        UniverseMismatchError
            If they belong to another universe.

        Examples
        --------
        >>> snap = aipl.snapshot(events, model, as_of="2024-06-30")
        >>> kept = snap.audience("acme", "P").to_bytes()
        >>> aipl.Audience.from_bytes(kept, snap).ids()
        ['u3', 'u4']
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise type_error("data", "bytes", data)
        known = None if universe is None else _known(universe)
        return Audience(_core.Audience.from_bytes(bytes(data), None if known is None else known._inner), known)

    @overload
    @staticmethod
    def from_ids(
        ids: Iterable[Id], universe: Universe | _Snapshot | _Flow | _EventLog | _DataBank | Audience, *, id_type: None = None
    ) -> Audience: ...

    @overload
    @staticmethod
    def from_ids(
        ids: Iterable[Id | None], universe: Universe | _Snapshot | _Flow | _EventLog | _DataBank | Audience, *, id_type: str
    ) -> tuple[Audience, MatchReport]: ...

    @staticmethod
    def from_ids(
        ids: Iterable[Id | None], universe: Universe | _Snapshot | _Flow | _EventLog | _DataBank | Audience, *, id_type: str | None = None
    ) -> Audience | tuple[Audience, MatchReport]:
        """The consumers of a universe that have these ids; ids that are not in it are left out.

        Parameters
        ----------
        ids : list of str or int
            Consumers' ids; with `id_type` the values of any id type, in whatever form they are written, and None for nothing.
        universe : Universe, or Snapshot, Flow, EventLog, DataBank or Audience
            Whose consumers.
        id_type : str, optional
            An id type of the identity map that the events were seen through. Then a `MatchReport` comes with the audience.

        Raises
        ------
        TypeError
            If an id is neither `str` nor `int`.
        AudienceError
            If there is an `id_type`, and consumers are not persons of an identity map.
        ParameterError
            If the map has no such id type.

        Examples
        --------
        >>> snap = aipl.snapshot(events, model, as_of="2024-06-30")
        >>> aipl.Audience.from_ids(["u1", "u5", "stranger"], snap).ids()
        ['u1', 'u5']
        """
        if isinstance(ids, str) or not isinstance(ids, Iterable):
            raise type_error("ids", "a list of str or int", ids)
        known = _known(universe)
        if id_type is not None:
            # Arrow's arrays iterate over scalars of their own.
            plain = ids.to_pylist() if hasattr(ids, "to_pylist") else ids
            values = [None if _is_missing(value) else identifier(f"ids[{at}]", value) for at, value in enumerate(plain)]
            made = f"{len(values):,} given values of {text('id_type', id_type)}"
            inner, report = _core.Audience.of_type(values, known._inner, id_type, made)
            return Audience(inner, known), MatchReport(**json.loads(report))
        given = [identifier(f"ids[{at}]", value) for at, value in enumerate(ids)]
        return Audience(_core.Audience.from_ids(given, known._inner, f"{len(given):,} given ids"), known)

    @property
    def universe(self) -> Universe | None:
        """The consumers that are numbered; None if the audience was read without them."""
        return self._universe

    @property
    def lost_ids(self) -> int:
        """Consumers in it whose identifiers are lost with a damaged file of a bank; 0 if it was read without its universe.

        `len(audience) - audience.lost_ids` is the number of ids that it lists.
        """
        return self._inner.lost_ids

    def _warn_lost(self) -> None:
        if lost := self.lost_ids:
            message = f"{lost:,} of {len(self):,} consumers are left out: their ids were lost with a damaged file of the bank"
            warnings.warn(message, LostDataWarning, stacklevel=3)

    @property
    def made(self) -> str:
        """How the audience was made, in words."""
        return self._inner.made

    @property
    def nbytes(self) -> int:
        """Bytes of the set in memory; the universe is shared and not counted."""
        return self._inner.nbytes

    def ids(self, *, id_type: str | None = None) -> list[Any]:
        """Ids of the consumers, `str` or `int` as they came in, in order (integers by value, text by bytes).

        Parameters
        ----------
        id_type : str, optional
            Where the events were seen through an identity map: all values of this id type that the persons have, each once, in order
            and in their one form. A person may have several, or none.

        Raises
        ------
        AudienceError
            If the audience was read without its universe; with `id_type`, if consumers are not persons of an identity map. A
            pickled universe does not bring its map along.
        ParameterError
            If the map has no such id type.

        Warns
        -----
        LostDataWarning
            If consumers have no id any more (`lost_ids`); they are left out.
        """
        self._warn_lost()
        return self._inner.ids() if id_type is None else self._inner.ids_of_type(text("id_type", id_type))

    def sample(self, n: int, seed: int = 0) -> Audience:
        """`n` consumers drawn without replacement, or all if there are no more.

        The same seed draws the same consumers; a larger `n` adds to a smaller one's. A consumer's lot depends on the seed and its own
        id alone.

        Examples
        --------
        >>> everyone = aipl.snapshot(events, model, as_of="2024-06-30").audience("acme", "P")
        >>> everyone.sample(1) <= everyone
        True
        """
        self._warn_lost()
        return Audience(self._inner.sample(count("n", n), count("seed", seed)), self._universe)

    def overlap(self, other: Audience) -> int:
        """How many consumers are in both, without making that set."""
        return self._inner.overlap(_audience("other", other)._inner)

    def is_subset(self, other: Audience) -> bool:
        """Whether all consumers here are there too; the same as `self <= other`."""
        return self._inner.is_subset(_audience("other", other)._inner)

    def to_bytes(self) -> bytes:
        """The set in the portable Roaring format, then the fingerprint of its universe and a checksum."""
        return self._inner.to_bytes()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        self._warn_lost()
        return self._inner.table().__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        return self._inner.table().__arrow_c_schema__()

    def _combined(self, other: object, operation: str) -> Any:
        if not isinstance(other, Audience):
            return NotImplemented
        inner: _core.Audience = getattr(self._inner, operation)(other._inner)
        return Audience._found(inner)

    def __or__(self, other: Audience) -> Audience:
        result: Audience = self._combined(other, "union")
        return result

    def __and__(self, other: Audience) -> Audience:
        result: Audience = self._combined(other, "intersection")
        return result

    def __sub__(self, other: Audience) -> Audience:
        result: Audience = self._combined(other, "difference")
        return result

    def __xor__(self, other: Audience) -> Audience:
        result: Audience = self._combined(other, "symmetric_difference")
        return result

    def __le__(self, other: Audience) -> bool:
        return self.is_subset(other) if isinstance(other, Audience) else NotImplemented

    def __lt__(self, other: Audience) -> bool:
        return self.is_subset(other) and len(self) < len(other) if isinstance(other, Audience) else NotImplemented

    def __ge__(self, other: Audience) -> bool:
        return other.is_subset(self) if isinstance(other, Audience) else NotImplemented

    def __gt__(self, other: Audience) -> bool:
        return other.is_subset(self) and len(other) < len(self) if isinstance(other, Audience) else NotImplemented

    def __len__(self) -> int:
        return len(self._inner)

    def __bool__(self) -> bool:
        return len(self) > 0

    def __contains__(self, consumer: object) -> bool:
        try:
            known = identifier("consumer", consumer)
        except ParameterError:
            # Text that is no UTF-8 and integers beyond 64 bits are in no data.
            return False
        return self._inner.contains(known)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.ids())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Audience) and self._inner.equals(other._inner)

    def __hash__(self) -> int:
        return hash((self._inner.fingerprint, len(self), self._inner.nbytes))

    def __copy__(self) -> Audience:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Audience:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.to_bytes(), self._universe, self.made)

    def __repr__(self) -> str:
        noun = "consumer" if len(self) == 1 else "consumers"
        return f"Audience({len(self):,} {noun}: {plain(self.made)})"


def _is_missing(value: object) -> bool:
    """None, NaN, and the missing value of pandas, which is not equal to anything."""
    return value is None or (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType")


def _restored(data: bytes, universe: Universe | None, made: str) -> Audience:
    return Audience(_core.Audience.from_bytes(data, None if universe is None else universe._inner, made), universe)


def _audience(name: str, value: object) -> Audience:
    if not isinstance(value, Audience):
        raise type_error(name, "an Audience", value)
    return value


def _known(value: object) -> Universe:
    if isinstance(value, Universe):
        return value
    if isinstance(value, Audience) and value.universe is None:
        raise ParameterError("universe: this audience was read without its universe")
    known = getattr(value, "universe", None)
    if isinstance(known, Universe):
        return known
    raise type_error("universe", "a Universe, or a Snapshot, Flow, EventLog, DataBank or Audience", value)
