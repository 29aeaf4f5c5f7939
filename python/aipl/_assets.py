"""The numbers a brand is steered by: FAST, consumer assets, GROW."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from typing import Any

from aipl import _arguments as check
from aipl import _core
from aipl import _question as question
from aipl._arguments import Scope
from aipl._audience import Audience
from aipl._errors import ParameterError
from aipl._events import Events, Progress, checked_progress
from aipl._measured import Attributes, Measured, attributes_or_none, numbers, value_text
from aipl._model import StageModel
from aipl._question import Source
from aipl._report import account
from aipl._table import Table

__all__ = [
    "ConsumerEquity",
    "Fast",
    "Grow",
    "consumer_equity",
    "fast",
    "grow",
    "grow_opportunity",
]

Day = datetime.date | str


class Fast(Measured):
    """FAST of each scope; a table, made by `fast`.

    Examples
    --------
    >>> health = aipl.fast(events, model, start="2024-06-24", end="2024-06-30")
    >>> health.audience("acme", "aipl_end").ids()
    ['u1', 'u2', 'u3', 'u4', 'u5']
    """

    __slots__ = ()

    def audience(self, scope: Scope, who: str) -> Audience:
        """The consumers behind a number.

        Parameters
        ----------
        scope : scope
            One of the table's.
        who : {"fertility", "aipl_start", "aipl_end", "advanced", "superiority", "thriving", "outside"}
            A column of the table, or `outside`: members in no stage at the end.

        Examples
        --------
        >>> aipl.fast(events, model, start="2024-06-24", end="2024-06-30").audience("acme", "advanced").ids()
        []
        """
        return self._people(scope, check.text("who", who))


def fast(
    source: Source,
    model: StageModel,
    *,
    start: Day,
    end: Day,
    scopes: Iterable[Scope] | None = None,
    panel: Iterable[Scope] | None = None,
    members: str = "member",
    acts: Iterable[str] | None = None,
    mode: str = "endpoint",
    force: bool = False,
    progress: Progress | None = None,
) -> Fast:
    """FAST: how many consumers a brand can run (F), how many move up (A), its members (S), and how many of these act (T).

    Parameters
    ----------
    source : Events, EventLog or DataBank
        The events.
    model : StageModel
        The stages.
    start, end : datetime.date or "YYYY-MM-DD"
        First and last day; DataBank shows A by the week, so `end` = `start` + 7 is its view.
    scopes : list, optional
        Only these. Default: every scope that an event or state could count for.
    panel : list of scopes, optional
        Brands of the category (with the brand itself, if it is to be one of them): percentiles and indices are taken among them. At least 10.
    members : str
        The state of super users.
    acts : list of str, optional
        Behaviors that count as an act. Default: add_to_cart, favorite, sample_claim, share, comment, like, follow, review.
    mode : {"endpoint", "peak"}
        Whether A counts who is higher at the end than at the start, or who was higher on any day after it.
    force : bool
        Take a panel of fewer than 10 brands.
    progress : callable, optional
        As in `snapshot`.

    Returns
    -------
    Fast
        One row a scope: `scope`; `fertility` (int64: distinct consumers in any stage on any day of the range); `aipl_start`, `aipl_end` (in a stage at
        the close of these days); `advanced`, `advancing_rate` (÷ aipl_start); `superiority` (members at the close of `end`); `thriving` (of these, with an act
        in the 180 days up to `end`), `thriving_rate` (÷ superiority); `fertility_percentile`, `advancing_percentile`, `superiority_percentile`, `thriving_percentile` (mid-rank
        in the panel, 0 to 100), `fertility_index`, `superiority_index` (0 for the least of the panel, 100 for the greatest, on the scale of ln(1 + x)). Rates
        are shares of one; null where there is nobody, or no panel.

    Raises
    ------
    ParameterError
        If the range is reversed, a behavior is unknown, or the panel is too small.

    Notes
    -----
    Definition: the docs page "Consumer assets" (FAST). The platform publishes F and S as indices whose algorithm is not public; percentile and
    index here, and the denominator of A, are ours.

    Examples
    --------
    >>> row = aipl.fast(events, model, start="2024-06-24", end="2024-06-30").to_dicts()[0]
    >>> row["fertility"], row["aipl_start"], row["aipl_end"], row["advanced"], row["advancing_rate"], row["superiority"]
    (5, 3, 5, 0, 0.0, 0)
    """
    source, model = question.source(source), question.model(model)
    inner = _core.fast(
        source._inner,
        model._inner,
        (check.day("start", start), check.day("end", end)),
        check.scopes("scopes", scopes),
        check.scopes("panel", panel),
        bool(force),
        check.text("members", members),
        None if acts is None else check.texts("acts", acts),
        check.choice("mode", mode, ("endpoint", "peak")) == "peak",
        checked_progress(progress),
    )
    return Fast(inner, source)


class ConsumerEquity(Measured):
    """Consumer assets by scope and stage; a table, made by `consumer_equity`.

    Examples
    --------
    >>> equity = aipl.consumer_equity(spending, model, as_of="2024-06-30", horizon=30, snapshots=1)
    >>> equity.totals().to_dicts()[0]["consumers"]
    5
    """

    __slots__ = ("_asked", "_source")

    def __init__(self, measured: _core.Measured, source: Source, asked: tuple[Any, ...]) -> None:
        super().__init__(measured, source)
        self._source = source
        self._asked = asked

    def totals(self) -> Table:
        """The three factors of each scope.

        Returns
        -------
        Table
            `scope`, `consumers` (V), `conversion` (C: expected buyers ÷ consumers), `value` (W: asset ÷ expected buyers), `asset` = V × C × W.

        Examples
        --------
        >>> equity = aipl.consumer_equity(spending, model, as_of="2024-06-30", horizon=30, snapshots=1)
        >>> equity.totals().columns
        ['scope', 'consumers', 'conversion', 'value', 'asset']
        """
        return self._more(1, "totals")

    def compare(self, as_of0: Day, as_of1: Day | None = None, *, method: str = "lmdi", progress: Progress | None = None) -> Table:
        """What made the assets of one day into those of another, with everything else as it was asked here; each is worked out as of its own day.

        Parameters
        ----------
        as_of0, as_of1 : datetime.date or "YYYY-MM-DD"
            The two days. Default of the second: the day of this answer.
        method : {"lmdi", "shapley"}
            How the change is split; LMDI needs factors above 0, and is Shapley's where one is not.

        Returns
        -------
        Table
            `scope`, `asset_before`, `asset_after`, `change`, and its parts, which add up to it: `consumers_part`, `conversion_part`, `value_part`.

        Examples
        --------
        >>> equity = aipl.consumer_equity(spending, model, as_of="2024-06-30", horizon=30, snapshots=1)
        >>> row = equity.compare("2024-06-25").to_dicts()[0]
        >>> row["change"] == row["consumers_part"] + row["conversion_part"] + row["value_part"]
        True
        """
        model, as_of, scopes, horizon, snapshots, every, category_spend = self._asked
        days = check.day("as_of0", as_of0), as_of if as_of1 is None else check.day("as_of1", as_of1)
        split = check.choice("method", method, ("lmdi", "shapley"))
        self._still()
        inner, report, recipe = _core.compare_equity(
            self._source._inner,
            model,
            days,
            scopes,
            horizon,
            snapshots,
            every,
            category_spend,
            split,
            checked_progress(progress),
        )
        return Table(inner, account(report, warn=False), json.loads(recipe))

    def audience(self, scope: Scope, stage: str | None = None, who: str = "consumers") -> Audience:
        """The consumers of a stage.

        Parameters
        ----------
        scope : scope
            One of the table's.
        stage : str, optional
            Code or name. Default: all stages.
        who : {"consumers", "past_consumers", "past_buyers"}
            In it on the day; on any of the past days; or with an order in the horizon after such a day. Each is in the audience once, while the
            columns of the past count a consumer for every past day.

        Examples
        --------
        >>> equity = aipl.consumer_equity(spending, model, as_of="2024-06-30", horizon=30, snapshots=1)
        >>> equity.audience("acme", "loyalty").ids(), equity.audience("acme", "purchase", who="past_buyers").ids()
        (['u5'], ['u5'])
        """
        group = check.choice("who", who, ("consumers", "past_consumers", "past_buyers"))
        return self._people(scope, group, None if stage is None else check.text("stage", stage))


def consumer_equity(
    source: Source,
    model: StageModel,
    *,
    as_of: Day,
    horizon: int = 365,
    spend: str = "brand",
    snapshots: int = 3,
    every: int = 30,
    scopes: Iterable[Scope] | None = None,
    progress: Progress | None = None,
) -> ConsumerEquity:
    """Consumer assets: what the consumers of each stage are worth over a horizon.

    asset = Σ people in the stage × share of them that buys × what a buyer spends, the latter two as they were after past days.

    Parameters
    ----------
    source, model, scopes, progress
        As in `fast`. The schema must map `amount`.
    as_of : datetime.date or "YYYY-MM-DD"
        The day.
    horizon : int
        Purchases in so many days after a day are what its stages are worth.
    spend : {"brand", "category"}
        Whether a buyer is worth what he spends with the brand, or what he spends in its categories times its share of them (then the schema
        must map `category`).
    snapshots : int
        How many past days conversion and value are taken from: `as_of` − `horizon`, and
    every : int
        each so many days before.

    Returns
    -------
    ConsumerEquity
        One row a scope and stage: `scope`, `stage`, `consumers` (int64, in the stage at the close of `as_of`), `past_consumers` (on the past days, added up),
        `past_buyers` (of these, with an order in the horizon after), `conversion` (past_buyers ÷ past_consumers, unless pooled), `conversion_low`, `conversion_high` (95 % Wilson), `value` (what
        a buyer spent in the horizon, in units of the amount column), `asset` (consumers × conversion × value), `pooled` (fewer than 30 past buyers:
        conversion and value are those of this stage with the next higher, or, where these do not suffice, lower ones).

    Raises
    ------
    ParameterError
        If the horizon is longer than the history (on some past day nobody is in a stage of the scopes asked for), or the schema maps no amount.

    Notes
    -----
    Definition: the docs page "Consumer assets". The three factors and that the asset is money are published; the formula is ours.

    Examples
    --------
    >>> equity = aipl.consumer_equity(spending, model, as_of="2024-06-30", horizon=30, snapshots=1)
    >>> row = equity.to_dicts()[2]
    >>> row["stage"], row["consumers"], row["past_consumers"], row["past_buyers"], row["conversion"], row["pooled"]
    ('P', 2, 2, 1, 0.5, True)
    """
    source, model = question.source(source), question.model(model)
    day = check.day("as_of", as_of)
    asked = (
        check.scopes("scopes", scopes),
        check.small("horizon", horizon),
        check.small("snapshots", snapshots),
        check.small("every", every),
        check.choice("spend", spend, ("brand", "category")) == "category",
    )
    inner = _core.consumer_equity(source._inner, model._inner, day, *asked, checked_progress(progress))
    return ConsumerEquity(inner, source, (model._inner, day, *asked))


class Grow(Measured):
    """The split of each scope's change of GMV, by group; a table, made by `grow`.

    Examples
    --------
    >>> change = aipl.grow(spending, period0=("2024-05-01", "2024-05-31"), period1=("2024-06-01", "2024-06-30"))
    >>> change.totals().to_dicts()[0]["change"]
    30.0
    """

    __slots__ = ("_by",)

    def __init__(self, measured: _core.Measured, source: Source, by: list[str]) -> None:
        super().__init__(measured, source)
        self._by = by

    def totals(self) -> Table:
        """The sums of money of each scope over its groups.

        Examples
        --------
        >>> change = aipl.grow(spending, period0=("2024-05-01", "2024-05-31"), period1=("2024-06-01", "2024-06-30"), by="customers")
        >>> change.totals().columns[:4]
        ['scope', 'gmv_before', 'gmv_after', 'change']
        """
        return self._more(1, "totals")

    def audience(self, scope: Scope, who: str, *values: str | int | None) -> Audience:
        """The buyers of a scope and group.

        Parameters
        ----------
        scope : scope
            One of the table's.
        who : {"buyers_before", "buyers_after"}
            Of the first period or the second.
        *values : str, int or None
            The values of the group, in the order of `by`.

        Examples
        --------
        >>> change = aipl.grow(spending, period0=("2024-05-01", "2024-05-31"), period1=("2024-06-01", "2024-06-30"), by="customers")
        >>> change.audience("acme", "buyers_after", "existing").ids()
        ['u5']
        """
        if len(values) != len(self._by):
            raise ParameterError(f"values: one for each of {self._by} is needed, not {len(values)}")
        cell = [value_text(f"values[{at}]", value) for at, value in enumerate(values)]
        return self._people(scope, check.choice("who", who, ("buyers_before", "buyers_after")), *cell)


def grow(
    source: Source,
    *,
    period0: tuple[Day, Day],
    period1: tuple[Day, Day],
    by: str | Iterable[str] | None = None,
    method: str = "lmdi",
    scopes: Iterable[Scope] | None = None,
    lookback: int = 365,
    launch: str | None = None,
    attributes: Attributes | None = None,
    progress: Progress | None = None,
) -> Grow:
    """GROW: by how much more buyers, more orders a buyer, higher prices and a wider range changed each brand's GMV.

    Parameters
    ----------
    source, progress
        As in `fast`. The schema must map `amount`.
    period0, period1 : pair of days
        First and last day of the earlier and the later period.
    by : str or list of str, optional
        Label fields of events (`category`, `channel`, …), tags of `attributes`, or `customers` (new or existing in the period): the change is split
        within each group, and groups add up. `customers` is always that, and names of the table's own columns are refused.
    method : {"lmdi", "shapley"}
        How the change of buyers × orders a buyer × GMV an order is split. LMDI needs factors above 0, and is Shapley's where one is not.
    scopes : list, optional
        Only these brands.
    lookback : int
        For `customers`: days without an order before the first of the period that make a buyer new.
    launch : str, optional
        A field with the launch date of the item (text, `YYYY-MM-DD`; other values are not new, and the report says so): what was bought in `period1` of items launched after `period0` is `new_products`.
    attributes : Attributes, optional
        Tags of consumers for `by`.

    Returns
    -------
    Grow
        One row a scope and group: `scope`, the columns of `by` (string), `gmv_before`, `gmv_after`, `change`, and its parts, which add up to it: `penetration`
        (G), `repurchase` (R), `price` (O), `extension` and `new_products` (W); `buyers_before`, `buyers_after`, `orders_before`, `orders_after` (int64, new products left
        out). In order of scope, of the values of fields and tags, then of customers. Extension is the change of groups of a field or tag that had no order in one of the periods.

    Raises
    ------
    ParameterError
        If periods are reversed or overlap, a field is unknown, or the schema maps no amount.

    Notes
    -----
    Definition: the docs page "Consumer assets" (GROW). That each lever's score is the GMV it adds is published; the algebra is ours.

    Examples
    --------
    >>> row = aipl.grow(spending, period0=("2024-05-01", "2024-05-31"), period1=("2024-06-01", "2024-06-30")).to_dicts()[0]
    >>> row["gmv_before"], row["gmv_after"], row["penetration"] + row["repurchase"] + row["price"]
    (50.0, 80.0, 30.0)
    """
    source = question.source(source)
    names = [] if by is None else [check.text("by", by)] if isinstance(by, str) else check.texts("by", by)
    inner = _core.grow(
        source._inner,
        (check.period("period0", period0), check.period("period1", period1)),
        check.scopes("scopes", scopes),
        names,
        check.choice("method", method, ("lmdi", "shapley")),
        check.small("lookback", lookback),
        None if launch is None else check.text("launch", launch),
        attributes_or_none(attributes),
        checked_progress(progress),
    )
    return Grow(inner, source, names)


def grow_opportunity(
    source: Source,
    *,
    period: tuple[Day, Day],
    benchmark: str | Mapping[str, float] = "mean",
    panel: Iterable[Scope] | None = None,
    scopes: Iterable[Scope] | None = None,
    progress: Progress | None = None,
) -> Table:
    """What each brand would gain if one of buyers, orders a buyer and GMV an order stood at a benchmark, the others as they are.

    Parameters
    ----------
    source, scopes, progress
        As in `grow`.
    period : pair of days
        First and last day.
    benchmark : {"mean", "median"} or dict
        Of the brands of the panel that have buyers in the period; or values for some of `buyers`, `frequency` (orders a buyer), `price` (GMV an order).
    panel : list of scopes, optional
        Brands of the category. Default: all of the source, of which many may be tiny.

    Returns
    -------
    Table
        Three rows a scope: `scope`, `lever` (`penetration`, `repurchase`, `price`), `value`, `benchmark`, `opportunity` (float64, in units of the amount column; negative
        where the brand is ahead), `opportunity_share` (of the sum of the positive ones; null for others).

    Notes
    -----
    Definition: the docs page "Consumer assets" (GROW). Ours; no platform publishes the formula.

    Examples
    --------
    >>> table = aipl.grow_opportunity(spending, period=("2024-06-01", "2024-06-30"), benchmark={"buyers": 4})
    >>> [(row["lever"], row["value"], row["opportunity"]) for row in table.to_dicts()][:1]
    [('penetration', 2.0, 80.0)]
    """
    source = question.source(source)
    given = None
    if isinstance(benchmark, Mapping):
        keys = ("buyers", "frequency", "price")
        found = numbers("benchmark", benchmark, keys)
        given = (found.get(keys[0]), found.get(keys[1]), found.get(keys[2]))
    word = "given" if given is not None else check.choice("benchmark", benchmark, ("mean", "median"))
    inner, report, recipe = _core.grow_opportunity(
        source._inner, check.period("period", period), check.scopes("scopes", scopes), check.scopes("panel", panel), word, given,
        checked_progress(progress),
    )
    return Table(inner, account(report, warn=isinstance(source, Events)), json.loads(recipe))
