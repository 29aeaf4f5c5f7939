"""Events in memory, ready for any number of questions."""

from __future__ import annotations

import copy
import json
from typing import Any

from aipl import _core
from aipl._audience import Universe
from aipl._report import Report
from aipl._schema import EventSchema

__all__ = ["EventLog"]


class EventLog:
    """Events in memory, in order of consumer, brand and time; made by `Events.load`.

    Every function that takes events takes a log, and answers the same. A log is read and ordered once; a question then costs a
    fraction of a scan. All audiences that are made from one log are of one universe, so they combine. Its rows are rows of the source:
    copies of one `event_id` are all kept, and count as one event where stages are found.

    Examples
    --------
    >>> log = events.load()
    >>> log
    EventLog(6 events, 5 consumers, 1 brand, 2024-01-05 to 2024-06-29)
    >>> aware = aipl.snapshot(log, model, as_of="2024-06-30").audience("acme", "A")
    >>> lost = aipl.flow(log, model, start="2024-06-25", end="2024-07-10", scope="acme").audience("A", "out")
    >>> (aware & lost).ids()
    ['u1']
    """

    __slots__ = ("_info", "_inner", "_report", "_schema", "_universe")

    def __init__(self, inner: _core.EventLog, schema: EventSchema, report: Report) -> None:
        self._inner = inner
        self._schema = schema
        self._report = report
        self._universe = Universe(inner.universe)
        self._info: dict[str, Any] = json.loads(inner.info())

    def info(self) -> dict[str, Any]:
        """What the log holds, as plain data.

        Returns
        -------
        dict
            `rows`, `consumers`, `brands` (counts); `first_day`, `last_day` (text, `None` if there is no event); `fields` (optional
            fields that were loaded); `bytes` in all, `bytes_by_column`, and `bytes_per_event` without the values that columns point
            into; `rows_rejected`, `rows_ignored` and `rejected` by reason, of the rows that were read.

        Examples
        --------
        >>> info = events.load().info()
        >>> info["rows"], info["consumers"], info["brands"], info["last_day"], info["fields"]
        (6, 5, 1, '2024-06-29', [])
        >>> sorted(info["bytes_by_column"])
        ['behavior', 'brand', 'brand (values)', 'consumer', 'consumer (values)', 'time']
        """
        return copy.deepcopy(self._info)

    @property
    def schema(self) -> EventSchema:
        """The mapping of columns."""
        return self._schema

    @property
    def tz(self) -> str:
        """The time zone of calendar days."""
        return self._inner.tz

    @property
    def universe(self) -> Universe:
        """Every consumer with an event or a state."""
        return self._universe

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return int(self._info["bytes"])

    @property
    def report(self) -> Report:
        """What became of the rows that were read."""
        return self._report

    def __len__(self) -> int:
        return len(self._inner)

    def __repr__(self) -> str:
        info = self._info
        def counted(name: str) -> str:
            count = len(self) if name == "events" else info[name]
            return f"{count:,} {name[:-1] if count == 1 else name}"

        what = ", ".join(map(counted, ("events", "consumers", "brands")))
        days = f", {info['first_day']} to {info['last_day']}" if info["first_day"] else ""
        return f"EventLog({what}{days})"
