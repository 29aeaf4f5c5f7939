"""Stages of every consumer at the close of one day."""

from __future__ import annotations

import datetime
import html
import json
from collections.abc import Iterable
from typing import Any

from aipl import _core
from aipl import _arguments as check
from aipl import _question as question
from aipl._arguments import Scope
from aipl._audience import Audience, Universe
from aipl._events import Progress, checked_progress
from aipl._model import StageModel
from aipl._plain import plain
from aipl._question import Source
from aipl._report import Report, account
from aipl._table import Table

__all__ = ["Snapshot", "snapshot"]


class Snapshot:
    """The stages of all consumers with every scope at the close of a day; made by `snapshot`.

    Examples
    --------
    >>> snap = aipl.snapshot(events, model, as_of="2024-06-30")
    >>> snap
    Snapshot(databank on 2024-06-30: 1 scope, 5 consumers in a stage)
    >>> snap.scopes
    ['acme']
    """

    __slots__ = ("_as_of", "_inner", "_model", "_recipe", "_report", "_universe")

    def __init__(self, inner: _core.Snapshot, model: StageModel, as_of: str, report: Report) -> None:
        self._inner = inner
        self._model = model
        self._as_of = as_of
        self._report = report
        self._recipe: dict[str, Any] = json.loads(inner.recipe())
        self._universe: Universe | None = None

    def counts(self) -> Table:
        """Distinct consumers by scope and stage.

        Returns
        -------
        Table
            `scope` (the type of the brand or store column, int64 or string; for brand and category the text `brand/category`),
            `stage` (string, the model's code), `consumers` (int64). Every scope with every stage, zeros included; scopes in order,
            stages from the lowest.

        Examples
        --------
        >>> [row["consumers"] for row in aipl.snapshot(events, model, as_of="2024-06-30").counts().to_dicts()]
        [1, 1, 2, 1]
        """
        return Table(self._inner.counts(), self._report, {**self._recipe, "table": "counts"})

    def labels(self, scope: Scope | None = None) -> Table:
        """The stage of each consumer, as a stream that is made while it is read.

        Parameters
        ----------
        scope : str, int or (brand, category), optional
            Only this scope.

        Returns
        -------
        Table
            `consumer` (int64 or string, as it came in), `scope` and `stage` as in `counts`. Only consumers in a stage, sorted by
            consumer (integers by value, text by bytes) and scope.

        Raises
        ------
        ParameterError
            If there is no such scope; the message names the nearest.

        Examples
        --------
        >>> aipl.snapshot(events, model, as_of="2024-06-30").labels("acme").to_dicts()[0]
        {'consumer': 'u1', 'scope': 'acme', 'stage': 'A'}
        """
        wanted = None if scope is None else check.scope("scope", scope)
        shown = scope if scope is None or isinstance(scope, str | int) else list(scope)
        return Table(self._inner.labels(wanted), self._report, {**self._recipe, "table": "labels", "scope": shown})

    def audience(self, scope: Scope, stage: str) -> Audience:
        """The consumers in a stage of a scope.

        Parameters
        ----------
        scope : str, int or (brand, category)
            A scope of this snapshot; integers and their text are interchangeable.
        stage : str
            Code or name of a stage.

        Raises
        ------
        ParameterError
            If there is no such scope or stage; the message names the choices.

        Examples
        --------
        >>> aipl.snapshot(events, model, as_of="2024-06-30").audience("acme", "loyalty").ids()
        ['u5']
        """
        inner = self._inner.audience(check.scope("scope", scope), check.text("stage", stage))
        return Audience(inner, self.universe)

    @property
    def scopes(self) -> list[Any]:
        """The scopes, in order: `str` or `int`, or (brand, category) tuples.

        One is listed if an event or state of it could still count on the day, or if it was named in `scopes`.
        """
        return self._inner.scopes

    @property
    def universe(self) -> Universe:
        """The consumers that were seen: those with an event or state that could still count on the day; of a bank, all of it."""
        if self._universe is None:
            # One object for all audiences of this snapshot, so that a pickle of several carries it once.
            self._universe = Universe(self._inner.universe())
        return self._universe

    @property
    def model(self) -> StageModel:
        """The stage model."""
        return self._model

    @property
    def as_of(self) -> datetime.date:
        """The day."""
        return datetime.date.fromisoformat(self._as_of)

    @property
    def report(self) -> Report:
        """What became of the rows."""
        return self._report

    @property
    def recipe(self) -> dict[str, Any]:
        """How to ask again: function, parameters, model, schema and source, as plain data."""
        return self._recipe

    def _summary(self) -> str:
        scopes, labels = len(self._inner.scopes), self._inner.label_count()
        noun = "scope" if scopes == 1 else "scopes"
        people = "consumer in a stage" if labels == 1 else "consumers in a stage"
        # A consumer can be in a stage of several scopes.
        people = people if scopes <= 1 else "consumer × scope pairs in a stage"
        return f"{plain(self._model.id)} on {self._as_of}: {scopes:,} {noun}, {labels:,} {people}"

    def __repr__(self) -> str:
        return f"Snapshot({self._summary()})"

    def _repr_html_(self) -> str:
        return f"<p>Snapshot: {html.escape(self._summary())}</p>{self.counts()._repr_html_()}"


def snapshot(
    source: Source,
    model: StageModel,
    *,
    as_of: datetime.date | str,
    scopes: Iterable[Scope] | None = None,
    progress: Progress | None = None,
) -> Snapshot:
    """Label every consumer with every scope at the close of a day.

    Parameters
    ----------
    source : Events, EventLog or DataBank
        The events; lazy ones are read once. A bank that keeps the day (`DataBank.materialize`) reads no event.
    model : StageModel
        The stages and their rules.
    as_of : datetime.date or "YYYY-MM-DD"
        The day, in the events' time zone. Events after it never count. A `datetime` is refused.
    scopes : list, optional
        Only these brands (stores, or (brand, category) tuples, as the model's scope says). Default: every scope of which an event or
        state could still count on the day.
    progress : callable, optional
        Called about 20 times a second with the rows done and the rows in all (0 if that is not known). What it raises ends the question.

    Returns
    -------
    Snapshot
        Distinct consumers; each is in one stage of a scope or out. The window of a rule of N days is the closed range
        [as_of - N + 1, as_of].

    Raises
    ------
    ParameterError
        If the day or a scope cannot be used.
    ModelError
        If the model asks for something that the schema does not have, such as a behavior or a category.
    SourceError, SchemaError
        If a file or stream cannot be read.
    RejectedRowsError
        If the events say `on_error="raise"` and a row is rejected.
    KeyboardInterrupt
        Within half a second of Ctrl-C.

    Warns
    -----
    RejectedRowsWarning
        Once, if rows were rejected; `Snapshot.report` has them.

    Notes
    -----
    Definition: the docs pages "Stages" and "Time". Difference from the platforms: exact as of any day, and the closed window, which no
    public source states.

    Examples
    --------
    >>> snap = aipl.snapshot(events, model, as_of="2024-06-30", scopes=["acme"])
    >>> snap.counts().to_pydict()["consumers"]
    [1, 1, 2, 1]
    """
    source, model = question.source(source), question.model(model)
    day = check.day("as_of", as_of)
    inner = _core.Snapshot.take(
        source._inner, model._inner, day, check.scopes("scopes", scopes), checked_progress(progress)
    )
    return Snapshot(inner, model, day, account(inner.report()))
