"""The durable data bank of a brand."""

from __future__ import annotations

import datetime
import json
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from types import EllipsisType, TracebackType
from typing import Any

from aipl import _core
from aipl._arguments import choice, count, day, text, type_error
from aipl._audience import Audience, Universe
from aipl._errors import LostDataWarning, ParameterError, RejectedRowsWarning, StoreLockedError
from aipl._events import Events, Progress, checked_progress, from_arrow, scan_csv, scan_ipc, scan_parquet
from aipl._identity import IdentityMap, IdType, Rows, _how, _id_types, _limit, _rows
from aipl._model import StageModel
from aipl._plain import quoted
from aipl._schema import EventSchema

__all__ = ["DataBank"]

Path = str | os.PathLike[str]

_GIB = 1 << 30


class DataBank:
    """The durable data bank of a brand: a directory that grows by batches and answers every question at once.

    Made by `DataBank.create` and `DataBank.open`. Every function that takes events takes a bank. Batches go in whole or not at all,
    once each; whatever happens to the process, a batch that was acknowledged is there. Consumers keep their numbers for ever, so all
    audiences of a bank combine, also those of different days.

    One handle at a time can write, any number can read, in any process; a handle that reads sees the state that it opened until
    `refresh`. A handle does not survive a fork: open the bank again in the child. Close a handle, or use it in a `with` statement, to let
    the next writer in.

    Notes
    -----
    Definition: the docs page "DataBank". The files are Parquet, Roaring bitmaps and a SQLite catalog, which other tools can read; their
    format is written down in `FORMAT.md` of the Rust crate. The name is that of Alibaba's product; the store is ours.

    Examples
    --------
    >>> bank = aipl.DataBank.create(folder / "bank", schema, tz="Asia/Shanghai", model=model)
    >>> bank.ingest(events, batch_id="2024-06-30")["rows_added"]
    6
    >>> bank
    DataBank('.../bank', rw: 6 events, 5 consumers, 1 batch, 2024-01-05 to 2024-06-29)
    >>> aipl.snapshot(bank, model, as_of="2024-06-30").counts().to_pydict()["consumers"]
    [1, 1, 2, 1]
    >>> bank.close()
    """

    __slots__ = ("_inner", "_universe")

    def __init__(self, inner: _core.DataBank) -> None:
        if not isinstance(inner, _core.DataBank):
            raise TypeError("open a DataBank by DataBank.open or DataBank.create")
        self._inner = inner
        self._universe: tuple[int, Universe] | None = None

    @staticmethod
    def create(path: Path, schema: EventSchema, *, tz: str, model: StageModel | None = None) -> DataBank:
        """Make a bank in a directory that is new or empty, and open it to write.

        Parameters
        ----------
        path : str or os.PathLike
            The directory. Only its owner can read it.
        schema : EventSchema
            How the columns of the bank's sources are mostly called. The fields that it maps are those that the bank keeps.
        tz : str
            The time zone of calendar days.
        model : StageModel, optional
            The model of `materialize`.

        Raises
        ------
        StoreError
            If there is something at the path.
        SchemaError, ParameterError
            If the zone is unknown, or the model does not fit the schema.

        Examples
        --------
        >>> with aipl.DataBank.create(folder / "bank", schema, tz="Asia/Shanghai") as bank:
        ...     bank.info()["rows"]
        0
        """
        if not isinstance(schema, EventSchema):
            raise type_error("schema", "an EventSchema", schema)
        inner = _core.DataBank.create(_path(path), schema._inner, text("tz", tz), _model(model))
        return DataBank(inner)

    @staticmethod
    def open(path: Path, mode: str = "r", *, timeout: float = 0) -> DataBank:
        """Open a bank. Its catalog is proven before anything is said of it; no repair is ever needed.

        Parameters
        ----------
        path : str or os.PathLike
            The directory.
        mode : {"r", "rw"}
            To ask only, or to write as well.
        timeout : float
            Seconds to wait for another writer to finish.

        Raises
        ------
        StoreError
            If there is no bank.
        StoreLockedError
            If another handle writes, with mode `"rw"`; the message says which process and since when.
        CorruptStoreError, FormatVersionError
            If the catalog is damaged, or of a later version of the library.

        Examples
        --------
        >>> aipl.DataBank.create(folder / "bank", schema, tz="Asia/Shanghai").close()
        >>> aipl.DataBank.open(folder / "bank")
        DataBank('.../bank', r: 0 events, 0 consumers, 0 batches)
        """
        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            raise type_error("timeout", "a number of seconds", timeout)
        if not timeout >= 0:
            raise ParameterError(f"timeout: {timeout!r} is not ≥ 0 seconds")
        named, mode, deadline = _path(path), choice("mode", mode, ("r", "rw")), time.monotonic() + timeout
        while True:
            # Waiting here, and not in the core, leaves Ctrl-C its say.
            try:
                return DataBank(_core.DataBank.open(named, mode, 0.0))
            except StoreLockedError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(min(0.05, max(0.0, deadline - time.monotonic())))

    def ingest(
        self,
        events: Any,
        *,
        batch_id: str,
        memory_limit: int = _GIB,
        compact: bool = True,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Take in a batch of events: all of it or nothing. Interrupted, it may be either; run again, it is taken in once.

        A batch that the bank has already, with the same content, is left as it is (`replayed`), so a job that failed half-way is simply
        run again. Late events and backfills are welcome. Where the schema maps `event_id`, copies of events that the bank holds are left
        out.

        Parameters
        ----------
        events : Events, path, list of paths, or Arrow table
            Paths (Parquet, `.csv`, `.tsv`, `.arrow`, `.feather`) and tables are read with the schema and zone of the bank.
        batch_id : str
            Names the batch for ever, such as the day that it is of; 1 to 256 bytes.
        memory_limit : int
            About how many bytes the rows of the batch may take in memory, at least 64 MiB; more of them are sorted in parts on disk first. What
            is known of consumers comes on top: about 12 bytes and the identifier for each of the bank, more for new ones.
        compact : bool
            Whether small segments are merged once there are sixteen of a size.
        progress : callable, optional
            As of `snapshot`.

        Returns
        -------
        dict
            `batch_id`, `commit`, `replayed`; rows: `rows_read` = `rows_added` + `rows_rejected` + `rows_ignored` + `rows_duplicate` +
            `rows_expired`; `new_consumers`; `rejected` by reason with `examples`; `notes`; `dropped_days` (kept days that the batch
            changes); `segments_compacted`; `bytes` written; `parts_spilled`; `seconds` and `compaction_seconds`.

        Raises
        ------
        StoreError
            If the bank has the batch with other content, or was opened to read.
        SchemaError
            If the events do not fit: a field that the bank does not keep, identifiers of another type, another zone.
        NoSpaceError
            If the disk is full; nothing is changed then.
        RejectedRowsError
            If the events say `on_error="raise"` and a row is rejected; nothing is changed then.

        Examples
        --------
        >>> bank = aipl.DataBank.create(folder / "bank", schema, tz="Asia/Shanghai")
        >>> bank.ingest(table, batch_id="june")["rows_added"], bank.ingest(table, batch_id="june")["replayed"]
        (6, True)
        >>> bank.ingest(table.slice(1), batch_id="june")
        Traceback (most recent call last):
            ...
        aipl.StoreError: batch_id: the bank has batch "june" with other content (6 rows then, 5 now); ...
        """
        if not isinstance(events, Events):
            events = self._opened(events)
        limit = count("memory_limit", memory_limit)
        report = self._inner.ingest(
            events._inner, text("batch_id", batch_id), limit, bool(compact), checked_progress(progress)
        )
        told: dict[str, Any] = json.loads(report)
        return told

    def _opened(self, events: object) -> Events:
        schema, tz = self.source_schema, self.tz
        given: list[object] = list(events) if isinstance(events, Sequence) and not isinstance(events, str) else [events]
        listed = [item for item in given if isinstance(item, str | os.PathLike)]
        if not listed or len(listed) < len(given):
            return from_arrow(events, schema, tz=tz)
        ending = os.path.splitext(os.fspath(listed[0]))[1].lower()
        if ending in (".csv", ".tsv", ".txt"):
            return scan_csv(listed, schema, tz=tz, delimiter="\t" if ending == ".tsv" else ",")
        scan = scan_ipc if ending in (".arrow", ".ipc", ".feather", ".arrows") else scan_parquet
        return scan(listed, schema, tz=tz)

    def ingest_links(
        self,
        rows: Rows,
        *,
        batch_id: str,
        id_types: Iterable[str | IdType] | None = None,
        id_type: str | None = None,
        unknown: str | None = None,
        max_people_per_id: int | None | EllipsisType = ...,
        max_component: int | None | EllipsisType = ...,
        seen_at: str | None = None,
        source: str | None = None,
        on_error: str = "reject",
        forget_expired: bool = False,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Take in a batch of identity rows: all of it or nothing, once. From the first one on, every question counts persons.

        The bank keeps accounts as they came, and a person has the number of its oldest account. So a batch of links rewrites no event, the
        answer is that of a bank that was built anew with all links, and a question costs what it costs without links. Audiences of
        persons combine until the next batch of links; saved ones keep their accounts, and are the persons who have one of these. Kept
        days stay as long as no account that was there when they were kept moves from one person to another.

        Parameters
        ----------
        rows, seen_at, source, on_error, progress
            As of `resolve_identities`.
        batch_id : str
            As of `ingest`; batches of events and links share one list.
        id_types : list of str or IdType
            The id types, in order of priority. Settled by the first batch of links; later ones leave it out.
        id_type : str
            The id type of the bank's consumers. Settled by the first batch as well.
        unknown : {"keep", "reject"}, optional
            Whether a consumer that no link knows is a person of its own (the default), or no event of it counts. Settled by the first batch.
        max_people_per_id, max_component : int or None, optional
            As of `resolve_identities`; settled by the first batch (10 and None there, unless they are given).
        forget_expired : bool
            Drop kept days that could not be made again, since their events are expired. If not, links that would drop one are refused.

        Returns
        -------
        dict
            `batch_id`, `commit`, `replayed`; rows: `rows_read`, `rows_added` (with an identifier that can be one), and `rejected` values by
            reason with `examples`; `persons` and `ids` afterwards, `accounts_moved` (accounts of the bank that are another person's than
            before), `dropped_days` (kept days that no longer hold, since accounts moved), `seconds`.

        Raises
        ------
        ParameterError
            If the first batch comes without id types, a later one with other rules, or links would drop a kept day for good.
        StoreError, ColumnNotFoundError, SchemaError, RejectedRowsError
            As of `ingest` and `resolve_identities`.

        Warns
        -----
        RejectedRowsWarning
            Once, if there are values that cannot be identifiers.

        Examples
        --------
        >>> bank = aipl.DataBank.create(folder / "bank", schema, tz="Asia/Shanghai")
        >>> _ = bank.ingest(events, batch_id="june")
        >>> links = pyarrow.table({"phone": ["13912345679", "13912345679"], "account": ["u1", "u5"]})
        >>> bank.ingest_links(links, batch_id="links of june", id_types=["phone", "account"], id_type="account")["persons"]
        1
        >>> aipl.snapshot(bank, model, as_of="2024-06-30").counts().to_pydict()["consumers"]
        [0, 1, 2, 1]
        """
        people = self.identity
        types = people.id_types if id_types is None and people is not None else _id_types(id_types or [])
        rules = None
        if (id_types, id_type, unknown, max_people_per_id, max_component) != (None, None, None, ..., ...):
            if people is None and (id_types is None or id_type is None):
                missing = "id_types" if id_types is None else "id_type"
                raise ParameterError(f"{missing}: the first batch of links says which id types there are, and which one consumers are")
            settled = self.info()["identity"] or {"id_type": id_type, "unknown": "keep"}
            limits = (10, None) if people is None else (people.max_people_per_id, people.max_component)
            rules = (
                json.dumps([kind._data for kind in types]),
                limits[0] if max_people_per_id is ... else _limit("max_people_per_id", max_people_per_id),
                limits[1] if max_component is ... else _limit("max_component", max_component),
                text("id_type", settled["id_type"] if id_type is None else id_type),
                choice("unknown", settled["unknown"] if unknown is None else unknown, ("keep", "reject")) == "reject",
            )
        told: dict[str, Any] = json.loads(
            self._inner.ingest_links(
                _rows(rows, [kind.name for kind in types]),
                text("batch_id", batch_id),
                rules,
                (_how(seen_at, source, self.tz, on_error), forget_expired),
                checked_progress(progress),
            )
        )
        if told["rejected"] and not told["replayed"]:
            reasons = ", ".join(f"{reason} {number:,}" for reason, number in told["rejected"].items())
            message = f"values could not be used ({reasons}); the report has the first examples"
            warnings.warn(message, RejectedRowsWarning, stacklevel=2)
        return told

    @property
    def identity(self) -> IdentityMap | None:
        """The map of all links that were taken in; None before the first."""
        inner = self._inner.identity()
        return None if inner is None else IdentityMap(inner)

    def files(self, folder: str = "segments") -> list[str]:
        """Paths of the files that count: `"segments"`, `"ids"`, `"bitmaps"` or `"links"`; for DuckDB, Polars and the like.

        They stay in place while this handle is open.

        Examples
        --------
        >>> bank = aipl.DataBank.create(folder / "bank", schema, tz="Asia/Shanghai")
        >>> _ = bank.ingest(events, batch_id="june")
        >>> [pyarrow.parquet.read_table(path).num_rows for path in bank.files()]
        [6]
        """
        return [os.fspath(path) for path in self._inner.files(text("folder", folder))]

    def compact(self, *, progress: Progress | None = None) -> dict[str, Any]:
        """Merge all segments, so that questions read fewer files. Readers go on reading the old files until `vacuum` removes them.

        Returns
        -------
        dict
            `segments` merged `into` so many, `rows`, `bytes_before`, `bytes_after`, `seconds`.
        """
        told: dict[str, Any] = json.loads(self._inner.compact(checked_progress(progress)))
        return told

    def vacuum(self) -> dict[str, Any]:
        """Remove files that neither the newest commit nor any open reader needs. Earlier commits can be read until then.

        Files that no commit names, which an interrupted process leaves, go once they are ten minutes old.

        Returns
        -------
        dict
            `files` removed, their `bytes`, how many were `kept_for_readers`, and how many `kept_young`.
        """
        told: dict[str, Any] = json.loads(self._inner.vacuum())
        return told

    def expire(self, *, before: datetime.date | str) -> dict[str, Any]:
        """Remove the events before a day for ever, all but joins and leaves (`member_join`, `member_leave`, `follow`, `unfollow`).

        Days that were materialized stay answerable. Other questions whose rules look further back than `before` are refused with a
        `StoreError` from then on, rather than answered from half of the events. Batches that come later have their rows of
        expired days left out and counted. `timeline` shows what is left, and notes it. Where no event goes (`rows` is 0),
        nothing is recorded: no question is refused, and later batches keep their rows.

        Raises
        ------
        ParameterError
            If the bank's own model has a rule without a window (`uni_marketing`, say): no later day could be answered.

        Examples
        --------
        >>> bank = aipl.DataBank.create(folder / "bank", schema, tz="Asia/Shanghai", model=model)
        >>> _ = bank.ingest(events, batch_id="june"), bank.materialize("2024-06-30")
        >>> bank.expire(before="2024-06-01")["rows"]
        2
        >>> aipl.snapshot(bank, model, as_of="2024-06-30").counts().to_pydict()["consumers"]
        [1, 1, 2, 1]
        >>> aipl.snapshot(bank, model, as_of="2024-06-29")
        Traceback (most recent call last):
            ...
        aipl.StoreError: events before 2024-06-01 are expired and the question needs them from ...
        """
        told: dict[str, Any] = json.loads(self._inner.expire(day("before", before)))
        return told

    def materialize(self, as_of: datetime.date | str, *, model: StageModel | None = None) -> dict[str, Any]:
        """Keep the stages of a day as sets: snapshots, daily trends and flows of it read no event, even when those are expired.

        A later batch with events on or before the day drops it again. The model is the bank's own unless another is named; a kept day
        answers questions with an equal model only.

        Returns
        -------
        dict
            `day`, `model`, `commit`, `scopes`, `consumers` (in a stage, counted once a scope), `bytes`, `replayed` (it was kept
            already).

        Examples
        --------
        >>> bank = aipl.DataBank.create(folder / "bank", schema, tz="Asia/Shanghai", model=model)
        >>> _ = bank.ingest(events, batch_id="june")
        >>> bank.materialize("2024-06-30")["consumers"], bank.kept_days()
        (5, [{'day': datetime.date(2024, 6, 30), 'model': 'databank', 'whole': True}])
        """
        told: dict[str, Any] = json.loads(self._inner.materialize(day("as_of", as_of), _model(model)))
        return told

    def drop_day(self, as_of: datetime.date | str, *, model: StageModel | None = None) -> None:
        """Drop a kept day."""
        self._inner.drop_day(day("as_of", as_of), _model(model))

    def drop_batch(self, batch_id: str | Iterable[str]) -> dict[str, Any]:
        """Take a batch out, also one that can no longer be read: its events or links count no more, and its id can be used again.

        The commit before still has it (`as_of_commit`), until `vacuum`. Consumers keep their numbers, saved audiences stay as they
        were saved, and kept days that the batch had a part in are dropped. Batches that were merged into one segment can be told apart
        as long as the files of before the merge are there; after `vacuum` they only go together. Batches of links go from the newest back.

        Parameters
        ----------
        batch_id : str or iterable of str
            The batch, or several that go together.

        Returns
        -------
        dict
            `batch_ids`, `commit`, `rows` that no longer count, `rows_rewritten` of other batches, `lost_ids` (consumers whose identifiers
            could no longer be read; no event is of them, they count in saved audiences, and are in no list of ids), `dropped_days`,
            `lost_days` (of these, days that look back on expired events and cannot be kept again as they were), `later_batches` and
            `later_copies`: batches that stay, and how many of their rows were left out as copies by `event_id` when they came. The
            events may have been those that went, and are then gone with them. The bank does not know which, so it is at most so many.

        Raises
        ------
        ParameterError
            If the bank has no such batch; the message names the nearest.
        StoreError
            If it can only go together with others; the message names all of them.

        Warns
        -----
        LostDataWarning
            If there are `later_copies`: taking out `later_batches` too and ingesting them again brings the events back. If there are
            `lost_ids` or `lost_days`.

        Examples
        --------
        >>> bank = aipl.DataBank.create(folder / "bank", schema, tz="Asia/Shanghai")
        >>> _ = bank.ingest(events, batch_id="wrong file")
        >>> bank.drop_batch("wrong file")["rows"], bank.info()["rows"]
        (6, 0)
        """
        ids = [batch_id] if isinstance(batch_id, str) else list(batch_id)
        told: dict[str, Any] = json.loads(self._inner.drop_batches([text("batch_id", one) for one in ids]))
        for message in _lost_with(told):
            warnings.warn(message, LostDataWarning, stacklevel=2)
        return told

    def kept_days(self) -> list[dict[str, Any]]:
        """The days that are kept, in order: `day`, `model`, and `whole`, whether a flow from it can tell new from returning consumers."""
        return [
            {"day": datetime.date.fromisoformat(kept), "model": model, "whole": whole}
            for kept, model, whole in self._inner.kept_days()
        ]

    def as_of_commit(self, seq: int) -> DataBank:
        """The bank as it was after a commit, to ask only.

        Raises
        ------
        ParameterError
            If there is no such commit.
        StoreError
            If `vacuum` has removed its files.

        Examples
        --------
        >>> bank = aipl.DataBank.create(folder / "bank", schema, tz="Asia/Shanghai")
        >>> first = bank.ingest(table.slice(0, 4), batch_id="a")["commit"]
        >>> _ = bank.ingest(table.slice(4), batch_id="b")
        >>> bank.as_of_commit(first).info()["rows"], bank.info()["rows"]
        (4, 6)
        """
        return DataBank(self._inner.as_of_commit(count("seq", seq, 1)))

    def commits(self) -> list[dict[str, Any]]:
        """What was committed, in order: `commit`, `at`, `kind`, `batch_id`, `rows_added`, `files_added`, `files_removed`.

        A commit of `drop_batch` has `dropped_batches` besides.
        """
        told: list[dict[str, Any]] = json.loads(self._inner.commits())
        return told

    def refresh(self) -> int:
        """Move a handle that reads to the newest commit, and give its number."""
        return self._inner.refresh()

    def save_audience(self, name: str, audience: Audience, *, note: str = "") -> dict[str, Any]:
        """Keep an audience of this bank under a name, as a new version of it.

        Of persons all accounts are kept: later links change who they are, and not which accounts they are of.

        Returns
        -------
        dict
            `name`, `version`, `size`, `note`, `made` (how the audience was made) and `of_commit`.

        Raises
        ------
        ParameterError
            If the audience was made from something else, or before the newest links. Bring identifiers that last: those of
            consumers by `Audience.from_ids(ids, bank)`, those of persons by `Audience.from_ids(old.ids(id_type=...), bank, id_type=...)`, which gives a report beside.

        Examples
        --------
        >>> bank = aipl.DataBank.create(folder / "bank", schema, tz="Asia/Shanghai")
        >>> _ = bank.ingest(events, batch_id="june")
        >>> loyal = aipl.snapshot(bank, model, as_of="2024-06-30").audience("acme", "L")
        >>> bank.save_audience("loyal", loyal, note="for the anniversary")["version"]
        1
        >>> bank.audience("loyal").ids(), [saved["made"] for saved in bank.audiences()]
        (['u5'], ['acme L on 2024-06-30 (databank)'])
        """
        if not isinstance(audience, Audience):
            raise type_error("audience", "an Audience", audience)
        told: dict[str, Any] = json.loads(self._inner.save_audience(text("name", name), audience._inner, text("note", note)))
        return told

    def audience(self, name: str, version: int | None = None) -> Audience:
        """A saved audience: its newest version, or the one that is named. Under links, the persons who have one of its accounts.

        Raises
        ------
        ParameterError
            If there is none; the message names the nearest, or the versions.
        """
        wanted = None if version is None else min(count("version", version, 1), 2**32 - 1)
        return Audience(self._inner.audience(text("name", name), wanted), self.universe)

    def audiences(self) -> list[dict[str, Any]]:
        """Every version of every saved audience: `name`, `version`, `size`, `note`, `made`, `of_commit`."""
        told: list[dict[str, Any]] = json.loads(self._inner.audiences())
        return told

    def drop_audience(self, name: str) -> None:
        """Take all versions of an audience off the list."""
        self._inner.drop_audience(text("name", name))

    def events(self) -> Events:
        """The bank's events as lazy events, in columns that bear the names of their fields; for identity maps, exports and checks."""
        columns = json.loads(self._inner.schema())
        return Events(self._inner.events(), _schema_of(columns), "reject")

    def info(self) -> dict[str, Any]:
        """What the bank holds, as plain data: rows, consumers, batches, days, files and bytes, kept days, audiences."""
        told: dict[str, Any] = json.loads(self._inner.info())
        return told

    def verify(self) -> dict[str, Any]:
        """Read every byte and check it: the catalog and the chain of its commits, all checksums, and that events, consumers and sets fit.

        Every column, identifier, link and set is decoded as a question decodes it, so that what would make a question fail is found.

        Returns
        -------
        dict
            How much was looked at: `commits`, `files`, `bytes`, `rows`, `sets`; and `orphans`, files that no commit names.

        Raises
        ------
        CorruptStoreError
            Naming the first file that is damaged.
        """
        told: dict[str, Any] = json.loads(self._inner.verify())
        return told

    def backup(self, path: Path) -> int:
        """Copy the newest state into a directory that is new or empty, checked; gives the bytes. Safe beside a writer.

        The copy is a bank of its own: it goes its own way from here, so its audiences do not combine with those of this one.
        """
        return self._inner.backup(_path(path))

    def close(self) -> None:
        """Let the next writer in. Answers that were given stay good; the handle itself answers nothing more."""
        self._inner.close()

    def __enter__(self) -> DataBank:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def source_schema(self) -> EventSchema:
        """The mapping of columns that the bank was created with."""
        return _schema_of(json.loads(self._inner.source_schema()))

    @property
    def schema(self) -> EventSchema:
        """The fields as the bank keeps them, each in a column of its own name."""
        return _schema_of(json.loads(self._inner.schema()))

    @property
    def model(self) -> StageModel | None:
        """The model of `materialize`."""
        model = self._inner.model()
        return None if model is None else StageModel.from_json(model)

    @property
    def tz(self) -> str:
        """The time zone of calendar days."""
        return self._inner.tz

    @property
    def commit(self) -> int:
        """The number of the commit that this handle sees."""
        return self._inner.commit

    @property
    def universe(self) -> Universe:
        """Every consumer of the bank, with lasting numbers."""
        if self._universe is None or self._universe[0] != self.commit:
            self._universe = (self.commit, Universe(self._inner.universe()))
        return self._universe[1]

    def __repr__(self) -> str:
        info = self.info()

        def counted(name: str, number: int, plural: str) -> str:
            return f"{number:,} {name if number == 1 else plural}"

        parts = [
            counted("event", info["rows"], "events"),
            counted("consumer", info["consumers"], "consumers"),
            counted("batch", info["batches"], "batches"),
        ]
        if info["first_day"]:
            parts.append(f"{info['first_day']} to {info['last_day']}")
        return f"DataBank({info['path']!r}, {info['mode']}: {', '.join(parts)})"


def _path(path: object) -> str:
    if not isinstance(path, str | os.PathLike):
        raise type_error("path", "a str or an os.PathLike", path)
    named = os.path.expanduser(os.fspath(path))
    if not isinstance(named, str) or not named:
        raise ParameterError("path: it is empty, or no text")
    return text("path", named)


def _model(model: object) -> _core.StageModel | None:
    if model is None:
        return None
    if not isinstance(model, StageModel):
        hint = f"; use StageModel.preset({quoted(model)})" if isinstance(model, str) else ""
        raise TypeError(f"model: a StageModel is needed, not {type(model).__name__}{hint}")
    return model._inner


def _schema_of(data: dict[str, Any]) -> EventSchema:
    more = {name: data[name] for name in ("behaviors", "time_unit") if data[name] is not None}
    if data["own_behaviors"]:
        more["own_behaviors"] = data["own_behaviors"]
    if data["attributes"]:
        more["attributes"] = data["attributes"]
    return EventSchema(**data["columns"], **more)


def _lost_with(told: dict[str, Any]) -> Iterator[str]:
    """What is gone with batches that were taken out, besides their own events."""
    if told["later_copies"]:
        yield (
            f"up to {told['later_copies']:,} events are gone that later batches had too, whose rows were left out as copies when they came; "
            f"to bring them back, drop these batches too and ingest them again: {', '.join(map(repr, told['later_batches']))}"
        )
    if told["lost_ids"]:
        yield f"the ids of {told['lost_ids']:,} consumers are lost with a damaged file; they count in saved audiences, and are in no list"
    if told["lost_days"]:
        yield f"kept days that look back on expired events are dropped, and cannot be kept again as they were: {', '.join(told['lost_days'])}"
