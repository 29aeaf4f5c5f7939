"""What a brand sold, and to how many: GMV and annual active consumers, new and existing customers."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from aipl import _arguments as check
from aipl import _core
from aipl import _question as question
from aipl._arguments import Scope
from aipl._audience import Audience
from aipl._events import Progress, checked_progress
from aipl._measured import Measured
from aipl._question import Source

__all__ = ["AacBridge", "GmvAac", "NewVsExisting", "aac_bridge", "gmv_aac", "new_vs_existing"]

Day = datetime.date | str


class GmvAac(Measured):
    """GMV and annual active consumers by day and scope; a table, made by `gmv_aac`.

    Examples
    --------
    >>> table = aipl.gmv_aac(spending, start="2024-05-01", end="2024-06-30")
    >>> table.audience("acme", "2024-06-30", "aac").ids()
    ['u3', 'u4', 'u5']
    """

    __slots__ = ()

    def audience(self, scope: Scope, day: Day, who: str) -> Audience:
        """The consumers behind a number.

        Parameters
        ----------
        scope : scope
            One of the table's.
        day : datetime.date or "YYYY-MM-DD"
            The last day of a step, as in the table.
        who : {"buyers", "aac"}
            Those with an order in the step, or in the days that make an active consumer.

        Examples
        --------
        >>> aipl.gmv_aac(spending, start="2024-05-01", end="2024-06-30").audience("acme", "2024-05-31", "buyers").ids()
        ['u5']
        """
        return self._people(scope, check.choice("who", who, ("buyers", "aac")), check.day("day", day))


def gmv_aac(
    source: Source,
    *,
    start: Day,
    end: Day,
    scopes: Iterable[Scope] | None = None,
    step: str = "month",
    active_days: int = 365,
    progress: Progress | None = None,
) -> GmvAac:
    """What each brand sold by day, week or month, and how many annual active consumers it has at the end of each.

    Parameters
    ----------
    source, scopes, progress
        As in `fast`.
    start, end : datetime.date or "YYYY-MM-DD"
        First and last day.
    step : {"day", "week", "month"}
        Weeks end on Sunday. The last step ends with `end` if that comes first.
    active_days : int
        An active consumer has an order in so many days.

    Returns
    -------
    GmvAac
        `day` (date32, the last day of the step), `scope`, `gmv` (float64, the nearest to the exact sum: purchases of the step less what was refunded of them up to
        `end`), `orders`, `buyers` (int64, distinct), `aov` (gmv ÷ orders), `frequency` (orders ÷ buyers), `aac` (int64), `gmv_per_aac`. Every step × brand, in this order.
        Null where there is nothing to divide by, and money where the schema maps no amount.

    Notes
    -----
    Definition: the docs page "Consumer assets" (GMV and AAC; orders and refunds). That an active consumer has a confirmed order in the past 12 months is
    published for the platform; 365 days, and a brand's, is ours.

    Examples
    --------
    >>> for row in aipl.gmv_aac(spending, start="2024-05-01", end="2024-06-30").to_dicts():
    ...     print(row["day"], row["gmv"], row["orders"], row["buyers"], row["aov"], row["aac"])
    2024-05-31 50.0 1 1 50.0 2
    2024-06-30 80.0 2 2 40.0 3
    """
    source = question.source(source)
    inner = _core.gmv_aac(
        source._inner,
        (check.day("start", start), check.day("end", end)),
        check.scopes("scopes", scopes),
        check.choice("step", step, ("day", "week", "month")),
        check.small("active_days", active_days),
        checked_progress(progress),
    )
    return GmvAac(inner, source)


class AacBridge(Measured):
    """How annual active consumers of one day became those of a later one; a table, made by `aac_bridge`.

    Examples
    --------
    >>> bridge = aipl.aac_bridge(spending, start="2024-05-31", end="2024-06-30", scope="acme")
    >>> bridge.audience("acme", "new").ids()
    ['u3']
    """

    __slots__ = ()

    def audience(self, scope: Scope, who: str) -> Audience:
        """The consumers of a class: `start`, `new`, `returned`, `lapsed` or `end`.

        Examples
        --------
        >>> aipl.aac_bridge(spending, start="2024-05-31", end="2024-06-30").audience("acme", "lapsed").ids()
        []
        """
        return self._people(scope, check.text("who", who))


def aac_bridge(
    source: Source,
    *,
    start: Day,
    end: Day,
    scope: Scope | list[Scope] | None = None,
    active_days: int = 365,
    progress: Progress | None = None,
) -> AacBridge:
    """The bridge of annual active consumers: end = start + new + returned − lapsed.

    Parameters
    ----------
    source, active_days, progress
        As in `gmv_aac`. All earlier orders are looked at, to tell new from returned.
    start, end : datetime.date or "YYYY-MM-DD"
        Two days, at whose close active consumers are counted.
    scope : scope or list of scopes, optional
        Default: all brands.

    Returns
    -------
    AacBridge
        One row a brand with a purchase or refund: `scope`, `start`, `new` (active at the end, their first order after `start`), `returned` (active at the end and not at the start,
        with an order before), `lapsed` (active at the start and not at the end), `end` (int64, distinct consumers).

    Notes
    -----
    Definition: the docs page "Consumer assets" (GMV and AAC); the classes are ours.

    Examples
    --------
    >>> aipl.aac_bridge(spending, start="2024-05-31", end="2024-06-30").to_dicts()
    [{'scope': 'acme', 'start': 2, 'new': 1, 'returned': 0, 'lapsed': 0, 'end': 3}]
    """
    source = question.source(source)
    inner = _core.aac_bridge(
        source._inner,
        (check.day("start", start), check.day("end", end)),
        question.one_or_more(scope)[0],
        check.small("active_days", active_days),
        checked_progress(progress),
    )
    return AacBridge(inner, source)


class NewVsExisting(Measured):
    """What new and existing customers bought; a table, made by `new_vs_existing`.

    Examples
    --------
    >>> table = aipl.new_vs_existing(spending, start="2024-06-01", end="2024-06-30")
    >>> table.audience("acme", "new").ids()
    ['u3']
    """

    __slots__ = ()

    def audience(self, scope: Scope, customers: str) -> Audience:
        """The `new` or the `existing` buyers of a brand.

        Examples
        --------
        >>> aipl.new_vs_existing(spending, start="2024-06-01", end="2024-06-30").audience("acme", "existing").ids()
        ['u5']
        """
        return self._people(scope, check.choice("customers", customers, ("new", "existing")))


def new_vs_existing(
    source: Source,
    *,
    start: Day,
    end: Day,
    lookback: int = 365,
    scope: Scope | list[Scope] | None = None,
    progress: Progress | None = None,
) -> NewVsExisting:
    """What new and existing customers of each brand bought in a period.

    Parameters
    ----------
    source, progress
        As in `gmv_aac`.
    start, end : datetime.date or "YYYY-MM-DD"
        First and last day of the period.
    lookback : int
        A buyer is new whose first order of the period has none in so many days before it.
    scope : scope or list of scopes, optional
        Default: all brands.

    Returns
    -------
    NewVsExisting
        Two rows a brand: `scope`, `customers` (`new`, `existing`), `buyers` (int64), `buyers_share` (of all buyers of the period), `orders`, `gmv`, `gmv_share`, `aov` (gmv ÷ orders),
        `frequency` (orders ÷ buyers), `lookback` (days). Shares are of one.

    Notes
    -----
    Definition: the docs page "Consumer assets" (new and existing). No look-back is published; the rule and its 365 days are ours.

    Examples
    --------
    >>> for row in aipl.new_vs_existing(spending, start="2024-06-01", end="2024-06-30").to_dicts():
    ...     print(row["customers"], row["buyers"], row["gmv"], row["gmv_share"])
    new 1 30.0 0.375
    existing 1 50.0 0.625
    """
    source = question.source(source)
    inner = _core.new_vs_existing(
        source._inner,
        (check.day("start", start), check.day("end", end)),
        question.one_or_more(scope)[0],
        check.small("lookback", lookback),
        checked_progress(progress),
    )
    return NewVsExisting(inner, source)
