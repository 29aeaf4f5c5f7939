"""What became of groups of consumers: concentration of an audience, cohorts on later days, retention."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

from aipl import _arguments as check
from aipl import _core
from aipl import _question as question
from aipl._arguments import Scope, type_error
from aipl._audience import Audience
from aipl._errors import ParameterError
from aipl._events import Progress, checked_progress
from aipl._measured import Measured
from aipl._model import StageModel
from aipl._question import Source
from aipl._table import Table

__all__ = ["CohortTrack", "Concentration", "Retention", "cohort_track", "concentration", "retention"]

Day = datetime.date | str


def _needed(audience: object) -> _core.Audience:
    who = question.audience("audience", audience)
    if who is None:
        raise type_error("audience", "an Audience", audience)
    return who


class Concentration(Measured):
    """How much of each stage lies in an audience; a table, made by `concentration`.

    Examples
    --------
    >>> some = aipl.snapshot(events, model, as_of="2024-06-30").audience("acme", "P")
    >>> aipl.concentration(events, model, some, start="2024-06-29", end="2024-06-30").audience("acme", "2024-06-30", "P").ids()
    ['u3', 'u4']
    """

    __slots__ = ()

    def audience(self, scope: Scope, day: Day, stage: str = "active", who: str = "in_audience") -> Audience:
        """The consumers in a stage (by code or name, or `active`) at the close of a day.

        Parameters
        ----------
        scope, day, stage
            A row of the table.
        who : {"in_audience", "consumers"}
            Those of the audience, or all.

        Examples
        --------
        >>> some = aipl.snapshot(events, model, as_of="2024-06-30").audience("acme", "P")
        >>> table = aipl.concentration(events, model, some, start="2024-06-29", end="2024-06-30")
        >>> len(table.audience("acme", "2024-06-29")), len(table.audience("acme", "2024-06-30", who="consumers"))
        (2, 5)
        """
        group = check.choice("who", who, ("in_audience", "consumers"))
        return self._people(scope, check.text("stage", stage), check.day("day", day), group)


def concentration(
    source: Source,
    model: StageModel,
    audience: Audience,
    *,
    start: Day,
    end: Day,
    scope: Scope | list[Scope] | None = None,
    step: str = "day",
    progress: Progress | None = None,
) -> Concentration:
    """How many percent of a brand's active consumers, and of each stage, are in an audience, day by day.

    Parameters
    ----------
    source : Events, EventLog or DataBank
        The events.
    model : StageModel
        The stages.
    audience : Audience
        The target group.
    start, end : datetime.date or "YYYY-MM-DD"
        First and last day.
    scope : scope or list of scopes, optional
        Default: every scope that an event or state could count for.
    step : {"day", "week", "month"}
        How far apart the days are; weeks end on Sunday.
    progress : callable, optional
        As in `snapshot`.

    Returns
    -------
    Concentration
        `day` (date32), `scope`, `stage` (`active`, which is all stages together, then each code), `consumers` (int64, in it at the close of the day), `in_audience` (of these),
        `concentration` (percent; null where nobody is in it). Every day × scope × stage, in this order.

    Notes
    -----
    Definition: the docs page "Consumer assets" (concentration): the platform's own formulas.

    Examples
    --------
    >>> some = aipl.snapshot(events, model, as_of="2024-06-30").audience("acme", "P")
    >>> table = aipl.concentration(events, model, some, start="2024-06-30", end="2024-06-30")
    >>> [(row["stage"], row["consumers"], row["in_audience"], row["concentration"]) for row in table.to_dicts()][:4:3]
    [('active', 5, 2, 40.0), ('P', 2, 2, 100.0)]
    """
    source, model = question.source(source), question.model(model)
    inner = _core.concentration(
        source._inner,
        model._inner,
        _needed(audience),
        (check.day("start", start), check.day("end", end)),
        question.one_or_more(scope)[0],
        check.choice("step", step, ("day", "week", "month")),
        checked_progress(progress),
    )
    return Concentration(inner, source)


class CohortTrack(Measured):
    """The stages of a frozen audience on later days; a table, made by `cohort_track`.

    Examples
    --------
    >>> reached = aipl.snapshot(events, model, as_of="2024-05-31").audience("acme", "P")
    >>> aipl.cohort_track(events, model, reached, days=["2024-06-30"]).audience("acme", "2024-06-30", "L").ids()
    ['u5']
    """

    __slots__ = ()

    def summary(self) -> Table:
        """In the chain, and bought, by day and scope.

        Returns
        -------
        Table
            `day` (date32), `scope`, `audience` (int64, its size: the denominator of all shares), `in_chain`, `in_chain_share`, `bought` (with an order on any day from the first of the
            days to this one), `bought_share`.

        Examples
        --------
        >>> reached = aipl.snapshot(events, model, as_of="2024-05-31").audience("acme", "P")
        >>> row = aipl.cohort_track(events, model, reached, days=["2024-05-31", "2024-06-30"]).summary().to_dicts()[1]
        >>> row["audience"], row["in_chain"], row["bought"], row["bought_share"]
        (2, 2, 1, 0.5)
        """
        return self._more(1, "summary")

    def audience(self, scope: Scope, day: Day, who: str) -> Audience:
        """The consumers of the audience in a stage (by code or name, `in_chain` for any, `out` for none) at the close of a day, or those who have `bought`
        since the first.

        Examples
        --------
        >>> reached = aipl.snapshot(events, model, as_of="2024-05-31").audience("acme", "P")
        >>> aipl.cohort_track(events, model, reached, days=["2024-05-31", "2024-06-30"]).audience("acme", "2024-06-30", "bought").ids()
        ['u5']
        """
        return self._people(scope, check.text("who", who), check.day("day", day))


def cohort_track(
    source: Source,
    model: StageModel,
    audience: Audience,
    *,
    days: Sequence[Day] | None = None,
    start: Day | None = None,
    end: Day | None = None,
    scope: Scope | list[Scope] | None = None,
    progress: Progress | None = None,
) -> CohortTrack:
    """Freeze an audience, such as those whom a campaign reached, and see the stages it is in on later days.

    Parameters
    ----------
    source, model, scope, progress
        As in `concentration`.
    audience : Audience
        Who is tracked.
    days : list of days, or
        The days that are looked at.
    start, end : datetime.date or "YYYY-MM-DD"
        every day from the first to the last.

    Returns
    -------
    CohortTrack
        `day` (date32), `scope`, `stage` (codes from the lowest, then `out`), `consumers` (int64), `share` (of the whole audience). Every day × scope × stage. Whoever of the audience
        the events do not know is `out`.

    Raises
    ------
    ParameterError
        If neither `days` nor `start` and `end` are given, or both; if the model has a stage `in_chain` or `bought`.

    Notes
    -----
    Definition: the docs page "Consumer assets" (cohort tracking).

    Examples
    --------
    >>> reached = aipl.snapshot(events, model, as_of="2024-05-31").audience("acme", "P")
    >>> table = aipl.cohort_track(events, model, reached, days=["2024-06-30"])
    >>> [(row["stage"], row["consumers"], row["share"]) for row in table.to_dicts() if row["consumers"]]
    [('P', 1, 0.5), ('L', 1, 0.5)]
    """
    source, model = question.source(source), question.model(model)
    if days is not None:
        if start is not None or end is not None:
            raise ParameterError("days: pass either days= or start= and end=")
        if isinstance(days, str) or not isinstance(days, Sequence):
            raise type_error("days", "a list of days", days)
        listed = [check.day(f"days[{at}]", day) for at, day in enumerate(days)]
    elif start is None or end is None:
        raise ParameterError("days: pass either days= or start= and end=")
    else:
        first, last = (datetime.date.fromisoformat(day) for day in (check.day("start", start), check.day("end", end)))
        if first > last:
            raise ParameterError(f"end: {last} is before start {first}")
        listed = [(first + datetime.timedelta(days=day)).isoformat() for day in range((last - first).days + 1)]
    inner = _core.cohort_track(
        source._inner, model._inner, _needed(audience), listed, question.one_or_more(scope)[0], checked_progress(progress)
    )
    return CohortTrack(inner, source)


class Retention(Measured):
    """Cohorts and how many of them came back; a table, made by `retention`.

    Examples
    --------
    >>> table = aipl.retention(events, start="2024-05-01", end="2024-06-30")
    >>> table.audience("acme", "2024-05-01", 1).ids()
    ['u5']
    """

    __slots__ = ()

    def audience(self, scope: Scope, cohort: Day, period: int | None = None) -> Audience:
        """The consumers of a cohort, by the first day of its unit: all, or those who came back in a period.

        Examples
        --------
        >>> aipl.retention(events, start="2024-05-01", end="2024-06-30").audience("acme", "2024-06-01").ids()
        ['u3']
        """
        wanted = None if period is None else str(check.count("period", period))
        return self._people(scope, check.day("cohort", cohort), wanted)


def retention(
    source: Source,
    *,
    start: Day,
    end: Day,
    unit: str = "month",
    mode: str = "calendar",
    kind: str = "exact",
    behaviors: Iterable[str] = ("purchase",),
    scopes: Iterable[Scope] | None = None,
    progress: Progress | None = None,
) -> Retention:
    """Of the consumers who began in a day, week or month, how many came back in each later one.

    Parameters
    ----------
    source, progress
        As in `concentration`. All earlier events of the behaviors are looked at, so that only true beginners are in a cohort.
    start, end : datetime.date or "YYYY-MM-DD"
        First and last day of the range in which consumers begin and come back.
    unit : {"day", "week", "month"}
        Cohorts are calendar units; weeks end on Sunday.
    mode : {"calendar", "rolling"}
        Whether periods are the later calendar units, or 1, 7 or 30 days each from the consumer's own first day on.
    kind : {"exact", "on_or_after"}
        Whether who came back in the period counts, or who came back in it or later.
    behaviors : list of str
        What begins a cohort, and counts as coming back.
    scopes : list, optional
        Only these brands.

    Returns
    -------
    Retention
        `scope`, `cohort` (date32: the first day of the unit, which may lie before `start`), `period` (int64: 0 is the cohort's own), `cohort_size`, `retained` (int64), `rate`
        (retained ÷ cohort_size), `complete` (whether the whole period lies in the range for every consumer of the cohort; if not, the cell is censored and will
        grow). Period 0 counts who came back on a later day of it. With `on_or_after`, a cell can still grow after it is complete.

    Notes
    -----
    Definition: the docs page "Consumer assets" (retention): field standard.

    Examples
    --------
    >>> for row in aipl.retention(events, start="2024-05-01", end="2024-06-30").to_dicts():
    ...     print(row["cohort"], row["period"], row["cohort_size"], row["retained"], row["rate"], row["complete"])
    2024-05-01 0 1 0 0.0 True
    2024-05-01 1 1 1 1.0 True
    2024-06-01 0 1 0 0.0 True
    """
    source = question.source(source)
    inner = _core.retention(
        source._inner,
        (check.day("start", start), check.day("end", end)),
        check.scopes("scopes", scopes),
        check.choice("unit", unit, ("day", "week", "month")),
        check.choice("mode", mode, ("calendar", "rolling")) == "rolling",
        check.choice("kind", kind, ("exact", "on_or_after")) == "on_or_after",
        check.texts("behaviors", behaviors),
        checked_progress(progress),
    )
    return Retention(inner, source)
