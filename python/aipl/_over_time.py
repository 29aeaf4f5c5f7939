"""Stages over time: trend, one consumer's history and events, and what goes with a move."""

from __future__ import annotations

import datetime
import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

from aipl import _arguments as check
from aipl import _core
from aipl import _question as question
from aipl._arguments import Id, Scope
from aipl._audience import Audience
from aipl._events import Events, Progress, checked_progress
from aipl._model import StageModel
from aipl._question import Source
from aipl._report import Report, account
from aipl._table import Table

__all__ = ["Timeline", "history", "timeline", "transition_drivers", "trend"]


def trend(
    source: Source,
    model: StageModel,
    *,
    start: datetime.date | str,
    end: datetime.date | str,
    scopes: Iterable[Scope] | None = None,
    step: str = "day",
    measure: str = "stock",
    progress: Progress | None = None,
) -> Table:
    """Count consumers by stage at the end of every day, week or month, for all scopes in one pass.

    Parameters
    ----------
    source : Events, EventLog or DataBank
        The events.
    model : StageModel
        The stages and their rules.
    start, end : datetime.date or "YYYY-MM-DD"
        First and last day, in the events' time zone.
    scopes : list, optional
        Only these. Default: every scope that an event or state could count for on some day of the range.
    step : {"day", "week", "month"}
        Weeks end on Sunday. The last step ends with `end` if that comes first.
    measure : {"stock", "entries", "exits", "union"}
        `stock`: consumers in the stage at the close of the step's last day. `entries`, `exits`: how often consumers came into the stage
        or left it on the days of the step, day by day, so that one who comes in twice counts twice, and entries − exits is the
        change of the stock. `union`: distinct consumers in the stage on any day since `start` (the kind of count behind F of FAST).
    progress : callable, optional
        As in `snapshot`.

    Returns
    -------
    Table
        `day` (date32, the last day of the step), `scope`, `stage` (string code), `consumers` (int64): every day × scope × stage in this
        order, zeros included.

    Raises
    ------
    ParameterError
        If the range is reversed, a step or measure is not one of the choices, or the table would have over 100 million rows.
    ModelError, SourceError, SchemaError, RejectedRowsError
        As in `snapshot`.

    Notes
    -----
    Definition: the docs page "Flow". A trend of stocks equals a snapshot of each day.

    Examples
    --------
    >>> table = aipl.trend(events, model, start="2024-06-25", end="2024-07-15", step="week")
    >>> [(str(row["day"]), row["consumers"]) for row in table.to_dicts() if row["stage"] == "A"]
    [('2024-06-30', 1), ('2024-07-07', 0), ('2024-07-14', 0), ('2024-07-15', 0)]
    """
    source, model = question.source(source), question.model(model)
    inner, report, recipe = _core.trend(
        source._inner,
        model._inner,
        check.day("start", start),
        check.day("end", end),
        check.scopes("scopes", scopes),
        check.choice("step", step, ("day", "week", "month")),
        check.choice("measure", measure, ("stock", "entries", "exits", "union")),
        checked_progress(progress),
    )
    return Table(inner, account(report), json.loads(recipe))


def history(
    source: Source,
    model: StageModel,
    *,
    consumer: Id,
    scope: Scope | list[Scope] | None = None,
    progress: Progress | None = None,
) -> Table:
    """The stages of one consumer: every run of days in one stage.

    Parameters
    ----------
    source, model, progress
        As in `trend`.
    consumer : str or int
        Whose.
    scope : scope, or list of scopes, optional
        With which brand, store or (brand, category). Default: all.

    Returns
    -------
    Table
        `scope` (unless one was named by itself), `stage` (string code), `first_day`, `last_day` (date32); by scope and day. Days out of every
        stage are the gaps. Days to come are as they will be if nothing more happens; `last_day` is null where the stage then
        lasts to the end of time (2199-12-31). An unknown consumer has no rows.

    Examples
    --------
    >>> for row in aipl.history(events, model, consumer="u5", scope="acme").to_dicts():
    ...     print(row["stage"], row["first_day"], row["last_day"])
    P 2024-05-01 2024-05-31
    L 2024-06-01 2025-04-30
    P 2025-05-01 2026-11-27
    """
    source, model = question.source(source), question.model(model)
    scopes, single = question.one_or_more(scope)
    inner, report, recipe = _core.history(
        source._inner, model._inner, check.identifier("consumer", consumer), scopes, single, checked_progress(progress)
    )
    return Table(inner, account(report), json.loads(recipe))


class Timeline(Table):
    """One consumer's events in order of time; made by `timeline`.

    Examples
    --------
    >>> aipl.timeline(events, consumer="u5", scope="acme")
    Timeline(2 acts in all, 2 with 'acme')
    """

    __slots__ = ("_acts", "_scope")

    def __init__(self, inner: _core.Table, report: Report, recipe: dict[str, Any], acts: int, scope: Id | None) -> None:
        super().__init__(inner, report, recipe)
        self._acts = acts
        self._scope = scope

    @property
    def acts(self) -> int:
        """Events of the consumer with all brands; the rows of this table are those with the brand asked for."""
        return self._acts

    def _summary(self) -> str:
        noun = "act" if self._acts == 1 else "acts"
        return f"{self._acts:,} {noun} in all" + ("" if self._scope is None else f", {len(self):,} with {self._scope!r}")

    def __repr__(self) -> str:
        return f"Timeline({self._summary()})"

    def _repr_html_(self) -> str:
        return f"<p>Timeline: {html.escape(self._summary())}</p>{super()._repr_html_()}"


def timeline(
    source: Source, *, consumer: Id, scope: Id | None = None, progress: Progress | None = None
) -> Timeline:
    """The events of one consumer in order of time.

    Parameters
    ----------
    source : Events, EventLog or DataBank
        The events. Lazy events are read whole; a log finds the consumer at once.
    consumer : str or int
        Whose.
    scope : str or int, optional
        Only those with this brand. Default: all.

    Returns
    -------
    Timeline
        `time` (timestamp in µs with the events' time zone), `brand`, `behavior` (standard or own name), then every other mapped field
        by its name, in a log those that were loaded. An unknown consumer has no rows.

    Examples
    --------
    >>> for row in aipl.timeline(events, consumer="u5").to_dicts():
    ...     print(row["time"], row["brand"], row["behavior"])
    2024-05-01 00:00:00+08:00 acme purchase
    2024-06-01 00:00:00+08:00 acme purchase
    """
    source = question.source(source)
    brand = None if scope is None else check.identifier("scope", scope)
    inner, report, recipe, acts = _core.timeline(
        source._inner, check.identifier("consumer", consumer), brand, checked_progress(progress)
    )
    # A log warned when it was loaded.
    told = account(report, warn=isinstance(source, Events))
    return Timeline(inner, told, json.loads(recipe), acts, brand)


def transition_drivers(
    source: Source,
    model: StageModel,
    *,
    start: datetime.date | str,
    end: datetime.date | str,
    scope: Scope,
    from_stage: str,
    to_stage: str | Sequence[str],
    by: str = "touchpoint",
    within: Audience | None = None,
    progress: Progress | None = None,
) -> Table:
    """Compare what those who moved from a stage saw in between with what those saw who did not.

    The figures show association, not cause: whoever is about to buy also sees more.

    Parameters
    ----------
    source, model, within, progress
        As in `flow`.
    start, end : datetime.date or "YYYY-MM-DD"
        Events count from the day after `start` to `end`.
    scope : str, int or (brand, category)
        The one scope that stages and events are of.
    from_stage : str
        The base is everybody in this stage at the close of `start`.
    to_stage : str or list of str
        Movers are those of the base in one of these at the close of `end` (`"out"`: those who were lost); stayers are all others.
    by : str
        What was seen: `behavior`, or a mapped label field such as `touchpoint`, `channel`, `item` or an own attribute.

    Returns
    -------
    Table
        One row a value that anybody of the base saw, most movers first: `value`; `movers`, `stayers` who saw it, of `movers_total`,
        `stayers_total` (int64); `coverage_percent` of the base, `mover_percent`, `stayer_percent`; `rate_with`, `rate_without` (percent who moved of
        those who saw it and of those who did not); `lift` (rate_with ÷ rate_without); `tgi` (100 × mover coverage ÷ stayer coverage) with
        `tgi_low`, `tgi_high` (95 %); `last_touch` (movers for whom it was the last value before the event that moved them; of events at one instant the order is that of behaviors, then of values),
        `last_touch_percent` of all movers; `small` (fewer than 30 movers saw it: too few to act on). Null where a denominator is 0;
        `tgi` also where no mover saw the value.

    Raises
    ------
    ParameterError
        If the range is reversed or of one day, or a stage, the scope or the field cannot be used.

    Notes
    -----
    Definition: the docs page "Flow" (trigger and barrier). No platform publishes a formula; these are ours.

    Examples
    --------
    >>> table = aipl.transition_drivers(events, model, start="2024-05-20", end="2024-06-30", scope="acme",
    ...                                 from_stage="P", to_stage="L", by="behavior")
    >>> row = table.to_dicts()[0]
    >>> row["value"], row["movers"], row["stayers"], row["rate_with"], row["small"]
    ('purchase', 1, 0, 100.0, True)
    """
    source, model = question.source(source), question.model(model)
    days = check.day("start", start), check.day("end", end)
    limit = question.audience("within", within)
    inner, report, recipe = _core.transition_drivers(
        source._inner,
        model._inner,
        days,
        check.scope("scope", scope),
        check.text("from_stage", from_stage),
        question.stages("to_stage", to_stage),
        check.text("by", by),
        limit,
        checked_progress(progress),
    )
    return Table(inner, account(report, warn=isinstance(source, Events)), json.loads(recipe))
