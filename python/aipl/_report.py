"""The account of rows that every result carries."""

from __future__ import annotations

import json
import warnings
from typing import Any

from aipl._errors import RejectedRowsWarning
from aipl._plain import plain

__all__ = ["Report"]


class Report:
    """What became of the rows of one question, and what it cost.

    Attributes
    ----------
    rows_total : int
        Rows of the source. The five counts below add up to it.
    rows_skipped : int
        Passed over by statistics of the file, never looked at.
    rows_ignored : int
        With a behavior that the schema maps to nothing.
    rows_rejected : int
        Not acceptable as events.
    rows_not_needed : int
        Read, but without effect on the question, such as an event outside every window.
    rows_kept : int
        Gone into the answer.
    rejected : dict[str, int]
        Rejected rows by reason.
    examples : list[dict]
        The first five rejected rows of each reason: `file`, `row` (from 0; for CSV the line, from 1), `reason`, `column`, `detail`.
    notes : list[str]
        Rules that could not match this schema, and named scopes in which nobody is in a stage.
    seconds : float
        How long the question took.
    bytes : int
        Size of the files behind the question.
    threads : int
        Threads it ran on.

    A question looks only at rows and columns that can matter to it; `Events.validate` looks at all of them.

    Examples
    --------
    >>> report = aipl.snapshot(events, model, as_of="2024-06-30").report
    >>> report.rows_total, report.rows_rejected, report.rejected
    (6, 0, {})
    >>> json.dumps(report.to_dict())  # plain data # doctest: +ELLIPSIS
    '{"rows_total": 6, ...}'
    """

    rows_total: int
    rows_skipped: int
    rows_ignored: int
    rows_rejected: int
    rows_not_needed: int
    rows_kept: int
    rejected: dict[str, int]
    examples: list[dict[str, Any]]
    notes: list[str]
    bytes: int
    seconds: float
    threads: int

    def __init__(self, data: dict[str, Any]) -> None:
        self.__dict__.update(data)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        data: dict[str, Any] = json.loads(json.dumps(self.__dict__))
        return data

    def __getitem__(self, key: str) -> Any:
        return self.__dict__[key]

    def keys(self) -> list[str]:
        """The names of the entries, so that `dict(report)` works."""
        return list(self.__dict__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Report) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        counts = [
            f"{name} {getattr(self, f'rows_{name}'):,}"
            for name in ("kept", "not_needed", "skipped", "ignored", "rejected")
        ]
        lines = [f"Report({self.rows_total:,} rows: {', '.join(counts)}; {self.seconds:.2f} s, {self.threads} threads)"]
        lines += [f"  rejected {reason}: {count:,}" for reason, count in self.rejected.items()]
        lines += [f"  note: {plain(note)}" for note in self.notes]
        return "\n".join(lines)


def account(text: str, stacklevel: int = 3, *, warn: bool = True) -> Report:
    """The report of a question, with one warning if rows were rejected."""
    report = Report(json.loads(text))
    if warn and report.rows_rejected:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in report.rejected.items())
        noun = "row" if report.rows_rejected == 1 else "rows"
        message = f"{report.rows_rejected:,} {noun} rejected ({reasons}); the result's .report has the first examples"
        warnings.warn(message, RejectedRowsWarning, stacklevel=stacklevel)
    return report
