"""Movement of consumers between two days."""

from __future__ import annotations

import datetime
import html
import json
from collections.abc import Sequence
from typing import Any

from aipl import _arguments as check
from aipl import _core
from aipl import _question as question
from aipl._arguments import Scope
from aipl._audience import Audience, Universe
from aipl._errors import ParameterError
from aipl._events import Progress, checked_progress
from aipl._model import StageModel
from aipl._plain import plain
from aipl._question import Source
from aipl._report import Report, account
from aipl._table import Table

__all__ = ["Flow", "flow", "flow_triangle"]

_CLASSES = ("kept", "advanced", "regressed", "lost", "new", "returned")


class Flow:
    """Where the consumers of each stage were at the close of two days; made by `flow`.

    Tables have a column `scope` first, unless one scope was asked for by itself. Where a stage can be named, its code or name is
    taken, and `"out"` for being in none.

    Examples
    --------
    >>> moved = aipl.flow(events, model, start="2024-05-20", end="2024-06-30", scope="acme")
    >>> moved
    Flow(databank from 2024-05-20 to 2024-06-30: 1 scope, 5 consumers in a stage at one end)
    >>> moved.audience("P", "L").ids()
    ['u5']
    """

    __slots__ = ("_days", "_inner", "_mode", "_model", "_recipe", "_report", "_universe")

    def __init__(self, inner: _core.Flow, model: StageModel, days: tuple[str, str], mode: str, report: Report) -> None:
        self._inner = inner
        self._model = model
        self._days = days
        self._mode = mode
        self._report = report
        self._recipe: dict[str, Any] = json.loads(inner.recipe())
        self._universe = Universe(inner.universe)

    def _table(self, inner: _core.Table, name: str, **more: Any) -> Table:
        return Table(inner, self._report, {**self._recipe, "table": name, **more})

    def matrix(self) -> Table:
        """Consumers by stage at first and stage at last.

        Returns
        -------
        Table
            `from_stage`, `to_stage` (string codes, or `out`), `consumers` (int64). Every pair, zeros included; stages from the lowest,
            `out` last. Who is out on both days is not counted, so that pair is missing.

        Examples
        --------
        >>> moved = aipl.flow(events, model, start="2024-05-20", end="2024-06-30", scope="acme")
        >>> [row for row in moved.matrix().to_dicts() if row["consumers"]]  # doctest: +NORMALIZE_WHITESPACE
        [{'from_stage': 'P', 'to_stage': 'P', 'consumers': 1}, {'from_stage': 'P', 'to_stage': 'L', 'consumers': 1},
         {'from_stage': 'out', 'to_stage': 'A', 'consumers': 1}, {'from_stage': 'out', 'to_stage': 'I', 'consumers': 1},
         {'from_stage': 'out', 'to_stage': 'P', 'consumers': 1}]
        """
        return self._table(self._inner.matrix(), "matrix")

    def rates(self) -> Table:
        """Of the consumers in a stage at first, how many percent are in each stage, or out, at last.

        Returns
        -------
        Table
            `from_stage`, `to_stage`, `consumers`, `base` (int64, consumers in `from_stage` at first: the denominator of the DataBank),
            `percent` (float64; null where the base is 0). The percents of a stage add up to 100.

        Examples
        --------
        >>> rates = aipl.flow(events, model, start="2024-05-20", end="2024-06-30", scope="acme").rates().to_dicts()
        >>> [(row["to_stage"], row["percent"]) for row in rates if row["from_stage"] == "P" and row["consumers"]]
        [('P', 50.0), ('L', 50.0)]
        """
        return self._table(self._inner.rates(), "rates")

    def classes(self) -> Table:
        """What became of the consumers of each stage, and who came.

        Returns
        -------
        Table
            `from_stage`, `consumers`, `kept`, `advanced`, `regressed`, `lost`, `new`, `returned` (int64). For a stage, consumers = kept +
            advanced + regressed + lost. The last row, `out`, has those who were out at first and in a stage at last: consumers =
            new + returned, where `new` were in no stage on any day before.

        Notes
        -----
        The platforms' "conversion" is every other stage, higher or lower; the split into advanced and regressed, and `returned`,
        are ours. Definition: the docs page "Flow".

        Examples
        --------
        >>> classes = aipl.flow(events, model, start="2024-05-20", end="2024-06-30", scope="acme").classes().to_dicts()
        >>> classes[2]["consumers"], classes[2]["kept"], classes[2]["advanced"], classes[4]["new"]
        (2, 1, 1, 3)
        """
        return self._table(self._inner.classes(), "classes")

    def scenes(self, *, benchmark: Flow | Scope | None = None) -> Table:
        """The named flows (流转场景): acquisition 拉新, pooling 蓄水, seeding 种草, direct conversion 直接转化, seeded conversion 种草转化,
        repurchase 复购.

        Parameters
        ----------
        benchmark : Flow or scope, optional
            What to compare with: a scope of this flow, or another flow of one scope. Days, mode and model of the other flow are its own;
            the recipe has them.

        Returns
        -------
        Table
            `scene`, `name_zh`, `from_stages`, `to_stages`, `consumers`, `base` (consumers in the from-stages at first; null where `out`
            is among them), `percent`; the same of the benchmark as `benchmark_consumers`, `benchmark_base`, `benchmark_percent`, and
            `difference_consumers`, `difference_percent` (null without one).

        Raises
        ------
        ParameterError
            If the model has other than four to six stages, or the benchmark has several scopes.

        Notes
        -----
        The names are a platform's; the cells behind them are ours (docs page "Flow"). Models of four stages have no pooling, which
        is a move between the two lowest of five.

        Examples
        --------
        >>> scenes = aipl.flow(events, model, start="2024-05-20", end="2024-06-30", scope="acme").scenes().to_dicts()
        >>> [(row["scene"], row["consumers"]) for row in scenes if row["consumers"]]
        [('acquisition', 3), ('direct_conversion', 1), ('repurchase', 1)]
        """
        if benchmark is None:
            return self._table(self._inner.scenes(), "scenes")
        if isinstance(benchmark, Flow):
            if len(benchmark.scopes) != 1:
                raise ParameterError(f"benchmark: a flow of one scope is needed, not of {len(benchmark.scopes)}")
            return self._table(self._inner.scenes(benchmark._inner), "scenes", benchmark=benchmark.recipe)
        beside = check.scope("benchmark", benchmark)
        return self._table(self._inner.scenes(self._inner, beside), "scenes", benchmark=list(beside))

    def audience(
        self, from_stage: str | Sequence[str], to_stage: str | Sequence[str], *, scope: Scope | None = None
    ) -> Audience:
        """The consumers of a cell, or of a union of cells.

        Parameters
        ----------
        from_stage, to_stage : str or list of str
            Stages at first and at last, or `"out"`. With lists: in one of these at first and in one of those at last.
        scope : str, int or (brand, category), optional
            Needed if the flow has several scopes.

        Raises
        ------
        ParameterError
            If there is no such stage or scope, or both sides are `"out"`.

        Examples
        --------
        >>> moved = aipl.flow(events, model, start="2024-05-20", end="2024-06-30", scope="acme")
        >>> moved.audience("out", ["A", "interest"]).ids()
        ['u1', 'u2']
        """
        from_stages, to_stages = question.stages("from_stage", from_stage), question.stages("to_stage", to_stage)
        return Audience(self._inner.audience(self._scope(scope), from_stages, to_stages), self._universe)

    def class_audience(self, name: str, *, from_stage: str | None = None, scope: Scope | None = None) -> Audience:
        """The consumers of a class: kept, advanced, regressed, lost, new or returned.

        Parameters
        ----------
        name : str
            The class.
        from_stage : str, optional
            Only those in this stage at first.
        scope : str, int or (brand, category), optional
            Needed if the flow has several scopes.

        Raises
        ------
        ParameterError
            If there is no such class, stage or scope.

        Examples
        --------
        >>> aipl.flow(events, model, start="2024-05-20", end="2024-06-30", scope="acme").class_audience("new").ids()
        ['u1', 'u2', 'u3']
        """
        name = check.choice("name", name, _CLASSES)
        stage = None if from_stage is None else check.text("from_stage", from_stage)
        return Audience(self._inner.class_audience(self._scope(scope), name, stage), self._universe)

    def _scope(self, scope: Scope | None) -> tuple[check.Id, check.Id | None]:
        if scope is not None:
            return check.scope("scope", scope)
        scopes = self._inner.scopes
        if len(scopes) != 1:
            raise ParameterError(f"scope: the flow has {len(scopes)} scopes; name one")
        return check.scope("scope", scopes[0])

    @property
    def scopes(self) -> list[Any]:
        """The scopes, in order: `str` or `int`, or (brand, category) tuples."""
        return self._inner.scopes

    @property
    def universe(self) -> Universe:
        """The consumers that were seen."""
        return self._universe

    @property
    def model(self) -> StageModel:
        """The stage model."""
        return self._model

    @property
    def start(self) -> datetime.date:
        """The first day."""
        return datetime.date.fromisoformat(self._days[0])

    @property
    def end(self) -> datetime.date:
        """The last day."""
        return datetime.date.fromisoformat(self._days[1])

    @property
    def mode(self) -> str:
        """`"endpoint"` or `"peak"`."""
        return self._mode

    @property
    def report(self) -> Report:
        """What became of the rows."""
        return self._report

    @property
    def recipe(self) -> dict[str, Any]:
        """How to ask again: function, parameters, model, schema and source, as plain data."""
        return self._recipe

    def _summary(self) -> str:
        scopes, people = len(self._inner.scopes), sum(self.matrix().to_pydict()["consumers"])
        peak = ", peak" if self._mode == "peak" else ""
        nouns = "scope" if scopes == 1 else "scopes", "consumers" if scopes <= 1 else "consumer × scope pairs"
        return (
            f"{plain(self._model.id)} from {self._days[0]} to {self._days[1]}{peak}: "
            f"{scopes:,} {nouns[0]}, {people:,} {nouns[1]} in a stage at one end"
        )

    def __repr__(self) -> str:
        return f"Flow({self._summary()})"

    def _repr_html_(self) -> str:
        return f"<p>Flow: {html.escape(self._summary())}</p>{self.classes()._repr_html_()}"


def flow(
    source: Source,
    model: StageModel,
    *,
    start: datetime.date | str,
    end: datetime.date | str,
    scope: Scope | list[Scope] | None = None,
    within: Audience | None = None,
    mode: str = "endpoint",
    progress: Progress | None = None,
) -> Flow:
    """Follow every consumer from the close of one day to the close of another.

    Parameters
    ----------
    source : Events, EventLog or DataBank
        The events.
    model : StageModel
        The stages and their rules.
    start, end : datetime.date or "YYYY-MM-DD"
        The two days, in the events' time zone; `start` is before `end`.
    scope : scope, or list of scopes, optional
        A brand or store, a (brand, category) tuple, or a list of these. Default: every scope with an event or state that a rule could count.
    within : Audience, optional
        Only these consumers; of any universe, they are found by their identifiers.
    mode : {"endpoint", "peak"}
        Whether a consumer ends in the stage at the close of `end`, or in the highest stage reached on any day after `start`.
    progress : callable, optional
        As in `snapshot`.

    Returns
    -------
    Flow
        Distinct consumers by stage at both ends. Rates are of the consumers in the stage at the close of `start`.

    Raises
    ------
    ParameterError
        If the range is reversed or of one day, or a scope or the mode cannot be used.
    ModelError, SourceError, SchemaError, RejectedRowsError
        As in `snapshot`.

    Notes
    -----
    Definition: the docs page "Flow". All days before `start` are read, since they tell new consumers from returning ones.

    Examples
    --------
    >>> june = aipl.flow(events, model, start="2024-05-31", end="2024-06-30", scope="acme")
    >>> sum(june.classes().to_pydict()["advanced"])
    1
    """
    source, model = question.source(source), question.model(model)
    scopes, single = question.one_or_more(scope)
    days = check.day("start", start), check.day("end", end)
    mode = check.choice("mode", mode, ("endpoint", "peak"))
    limit = question.audience("within", within)
    inner = _core.Flow.follow(
        source._inner, model._inner, *days, scopes, single, limit, mode, checked_progress(progress)
    )
    return Flow(inner, model, days, mode, account(inner.report()))


def flow_triangle(
    source: Source,
    model: StageModel,
    *,
    days: Sequence[datetime.date | str],
    scope: Scope | list[Scope] | None = None,
    within: Audience | None = None,
    progress: Progress | None = None,
) -> Table:
    """The flow rates between every pair of a list of days, in one pass.

    Parameters
    ----------
    source, model, scope, within, progress
        As in `flow`.
    days : list of datetime.date or "YYYY-MM-DD"
        At least two different days, in any order.

    Returns
    -------
    Table
        `start`, `end` (date32), `scope` (unless one was named by itself), `from_stage`, `to_stage`, `consumers`, `base` (int64: consumers in
        `from_stage` at the close of `start`), `percent` (float64, null where the base is 0); by start, end, scope and stages. Each pair
        equals `Flow.rates` of its days, which may list more scopes: a flow knows all days before.

    Raises
    ------
    ParameterError
        If there are fewer than two days, or scopes × pairs are too many.

    Examples
    --------
    >>> table = aipl.flow_triangle(events, model, days=["2024-05-20", "2024-06-10", "2024-06-30"], scope="acme")
    >>> [(str(row["start"]), str(row["end"]), row["percent"]) for row in table.to_dicts()
    ...  if (row["from_stage"], row["to_stage"]) == ("P", "L")]
    [('2024-05-20', '2024-06-10', 50.0), ('2024-05-20', '2024-06-30', 50.0), ('2024-06-10', '2024-06-30', 0.0)]
    """
    source, model = question.source(source), question.model(model)
    if isinstance(days, str) or not isinstance(days, Sequence):
        raise check.type_error("days", "a list of days", days)
    listed = [check.day(f"days[{at}]", day) for at, day in enumerate(days)]
    scopes, single = question.one_or_more(scope)
    limit = question.audience("within", within)
    inner, report, recipe = _core.flow_triangle(
        source._inner, model._inner, listed, scopes, single, limit, checked_progress(progress)
    )
    return Table(inner, account(report), json.loads(recipe))
