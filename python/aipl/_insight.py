"""People, goods and place: what is special in an audience, crosstabs, penetration, RFM."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aipl import _arguments as check
from aipl import _core
from aipl import _question as question
from aipl._arguments import Scope, type_error
from aipl._audience import Audience
from aipl._errors import ParameterError
from aipl._events import Events, Progress, checked_progress
from aipl._measured import Anything, Attributes, Measured, attributes_or_none, cell_of, decimal, value_text
from aipl._question import Source
from aipl._report import Report, account
from aipl._table import Table

__all__ = ["Crosstab", "Penetration", "Profile", "Rfm", "crosstab", "penetration", "profile", "rfm"]

Day = datetime.date | str

_FIRST, _LAST = "1970-01-01", "2199-12-31"


def _range(start: Day | None, end: Day | None) -> tuple[str, str]:
    return (
        _FIRST if start is None else check.day("start", start),
        _LAST if end is None else check.day("end", end),
    )


class Profile(Measured):
    """Tags of an audience beside a base; a table, made by `profile`.

    Examples
    --------
    >>> buyers = aipl.snapshot(tagged, model, as_of="2024-06-30").audience("acme", "P")
    >>> aipl.profile(tagged, buyers, by=["channel"]).audience("channel", "app").ids()
    ['u3']
    """

    __slots__ = ()

    def audience(self, tag: str, value: str | int | None | Anything = Anything.ANYTHING, who: str = "audience") -> Audience:
        """The consumers with a value of a tag.

        Parameters
        ----------
        tag : str
            One of `by`.
        value : str, int or None
            `None` for those without one. Not given: all that the shares are of (`audience_total`, `base_total`).
        who : {"audience", "base"}
            Of the audience, or of the base.

        Examples
        --------
        >>> buyers = aipl.snapshot(tagged, model, as_of="2024-06-30").audience("acme", "P")
        >>> table = aipl.profile(tagged, buyers, by=["channel"])
        >>> table.audience("channel", "store").ids(), table.audience("channel", "app", who="base").ids(), len(table.audience("channel"))
        (['u4'], ['u1', 'u2', 'u3', 'u5'], 2)
        """
        group = check.choice("who", who, ("audience", "base"))
        return self._people(None, group, check.text("tag", tag), *cell_of("value", value))


def profile(
    source: Source,
    audience: Audience,
    *,
    by: str | Iterable[str],
    base: Audience | None = None,
    attributes: Attributes | None = None,
    start: Day | None = None,
    end: Day | None = None,
    behaviors: Iterable[str] | None = None,
    scopes: Iterable[Scope] | None = None,
    progress: Progress | None = None,
) -> Profile:
    """What is special in an audience: the share of each tag value in it, beside its share in a base (target group index, TGI).

    Parameters
    ----------
    source : Events, EventLog or DataBank
        The events.
    audience : Audience
        Who is described.
    by : str or list of str
        Tags of `attributes`, or label fields of events (`category`, `channel`, `city`, an own attribute): what the consumer has done events with.
    base : Audience, optional
        Whom the audience is compared with. Default: everybody with an event that is looked at.
    attributes : Attributes, optional
        Tags of consumers; a name in both is the tag.
    start, end : datetime.date or "YYYY-MM-DD", optional
        Only events of these days.
    behaviors : list of str, optional
        Only events of these behaviors. Default: all.
    scopes : list, optional
        Only events with these brands.
    progress : callable, optional
        As in `snapshot`.

    Returns
    -------
    Profile
        `tag`, `value` (string; null: those without one), `audience` (int64: consumers of the audience with the value), `audience_total`, `share`, `base`, `base_total`, `base_share`,
        `tgi` (100 × share ÷ base_share), `tgi_low`, `tgi_high` (95 %), `difference` (standardized: the difference of shares ÷ their mean standard deviation), `small` (fewer than 30
        of the audience: too few to act on); in order of `by` and value. Only consumers with an event that is looked at count, in audience and base.
        A consumer with several values of a field counts for each, so its shares may add up to more than 1. Null where there is nothing to
        divide by. Choose an audience within its base: a value that nobody of the base has, has no index, yet a large difference.

    Raises
    ------
    ParameterError
        If a name is neither a tag nor a mapped label field, a behavior is unknown, or the range is reversed.

    Notes
    -----
    Definition: the docs page "Consumer assets" (TGI). The interval is that of independent samples, wider than need be where the audience is a part
    of its base.

    Examples
    --------
    >>> buyers = aipl.snapshot(tagged, model, as_of="2024-06-30").audience("acme", "P")
    >>> for row in aipl.profile(tagged, buyers, by="channel").to_dicts():
    ...     print(row["value"], row["audience"], row["audience_total"], row["base"], row["base_total"], row["tgi"], row["small"])
    app 1 2 4 5 62.5 True
    store 1 2 1 5 250.0 True
    """
    source = question.source(source)
    who = question.audience("audience", audience)
    if who is None:
        raise type_error("audience", "an Audience", audience)
    acts = None if behaviors is None else check.texts("behaviors", behaviors)
    if acts == []:
        raise ParameterError("behaviors: the list of behaviors is empty")
    inner = _core.profile(
        source._inner,
        who,
        [check.text("by", by)] if isinstance(by, str) else check.texts("by", by),
        _range(start, end),
        question.audience("base", base),
        acts,
        check.scopes("scopes", scopes),
        attributes_or_none(attributes),
        checked_progress(progress),
    )
    return Profile(inner, source)


class Crosstab(Measured):
    """Buyers, orders or GMV by two dimensions; a table, made by `crosstab`.

    Examples
    --------
    >>> aipl.crosstab(tagged, rows="channel", columns="brand").audience("app", "acme").ids()
    ['u3', 'u5']
    """

    __slots__ = ()

    def audience(
        self, row: str | int | None | Anything = Anything.ANYTHING, column: str | int | None | Anything = Anything.ANYTHING
    ) -> Audience:
        """The buyers of a cell, or, with only a row, only a column or neither, of a total.

        Parameters
        ----------
        row, column : str, int or None
            `None` stands for no value.

        Examples
        --------
        >>> table = aipl.crosstab(tagged, rows="channel", columns="brand")
        >>> table.audience("store", "acme").ids(), table.audience(column="acme").ids()
        (['u4'], ['u3', 'u4', 'u5'])
        """
        return self._people(None, *cell_of("row", row), *cell_of("column", column))


def crosstab(
    source: Source,
    *,
    rows: str,
    columns: str,
    measure: str = "people",
    start: Day | None = None,
    end: Day | None = None,
    scopes: Iterable[Scope] | None = None,
    within: Audience | None = None,
    attributes: Attributes | None = None,
    progress: Progress | None = None,
) -> Crosstab:
    """People, goods and place: buyers, orders or GMV by two dimensions, with an index of each cell.

    Parameters
    ----------
    source, attributes, progress
        As in `profile`.
    rows, columns : str
        Tags of `attributes` (people), or label fields of purchases such as `category`, `item`, `brand` (goods), `channel`, `city`, `store` (place).
    measure : {"people", "orders", "gmv"}
        Distinct buyers, distinct orders, or what was paid less what was refunded.
    start, end : datetime.date or "YYYY-MM-DD", optional
        Only purchases of these days.
    scopes : list, optional
        Only these brands.
    within : Audience, optional
        Only these consumers.

    Returns
    -------
    Crosstab
        `row`, `column` (string; null for none), the measure under its name (int64; float64 for `gmv`), `row_total`, `column_total`, `total` (people and orders are counted
        once in each), `share` (of the column's total), `tgi` (100 × share ÷ the row's share of the total), `people` (distinct buyers of the cell, where these are
        not the measure), `small` (fewer than 30 of them). Every cell with a purchase or refund, in order of values.

    Notes
    -----
    Definition: the docs page "Consumer assets" (people, goods, place). The platform's modules are listed, not their formulas; this is ours.

    Examples
    --------
    >>> for row in aipl.crosstab(tagged, rows="channel", columns="brand", measure="orders").to_dicts():
    ...     print(row["row"], row["column"], row["orders"], row["column_total"], row["share"], row["people"])
    app acme 3 4 0.75 2
    store acme 1 4 0.25 1
    """
    source = question.source(source)
    inner = _core.crosstab(
        source._inner,
        check.text("rows", rows),
        check.text("columns", columns),
        check.choice("measure", measure, ("people", "orders", "gmv")),
        _range(start, end),
        check.scopes("scopes", scopes),
        question.audience("within", within),
        attributes_or_none(attributes),
        checked_progress(progress),
    )
    return Crosstab(inner, source)


class Penetration(Measured):
    """Penetration of categories and brands; a table, made by `penetration`.

    Examples
    --------
    >>> aipl.penetration(tagged, period=("2024-06-01", "2024-06-30")).audience("tea").ids()
    ['u3', 'u5']
    """

    __slots__ = ()

    def audience(self, category: str | int | None = None, scope: Scope | None = None) -> Audience:
        """The buyers of a category, or of a brand in it; without both, the population that penetration is a share of (`reference`).

        Examples
        --------
        >>> table = aipl.penetration(tagged, period=("2024-06-01", "2024-06-30"))
        >>> table.audience("tea", "acme").ids(), len(table.audience())
        (['u3', 'u5'], 2)
        """
        return self._people(scope, value_text("category", category))


def penetration(
    source: Source,
    *,
    period: tuple[Day, Day],
    category: str | int | None = None,
    scopes: Iterable[Scope] | None = None,
    reference: Audience | None = None,
    progress: Progress | None = None,
) -> Penetration:
    """How many buy a category, how many of these a brand, and what the brand's share of the category's GMV is made of.

    Parameters
    ----------
    source, progress
        As in `profile`. The schema must map `category`; hand in the events of all brands, not of one's own alone.
    period : pair of days
        First and last day.
    category : str or int, optional
        Only this category. Default: all.
    scopes : list, optional
        Only these brands; the category still counts all.
    reference : Audience, optional
        The population: only its members count, and category penetration is a share of it. Default: all buyers of the period.

    Returns
    -------
    Penetration
        One row a category and brand: `category` (string), `scope`, `reference` (int64), `category_buyers`, `category_penetration` (÷ reference), `brand_buyers`, `brand_penetration`
        (÷ category_buyers), `relative_frequency` (orders a buyer of the brand ÷ of the category), `relative_price` (GMV an order ÷ of the category), `gmv_share` (= brand_penetration ×
        relative_frequency × relative_price), `requirements_share` (brand_gmv ÷ what the brand's buyers spent in the category), `category_orders`, `brand_orders`, `category_gmv`,
        `brand_gmv`. Shares are of one; null where there is nothing to divide by.

    Notes
    -----
    Definition: the docs page "Consumer assets" (penetration): standard measures. An order with several brands of a category is one order of it.

    Examples
    --------
    >>> row = aipl.penetration(tagged, period=("2024-06-01", "2024-06-30")).to_dicts()[0]
    >>> row["category"], row["category_buyers"], row["brand_penetration"], row["gmv_share"]
    ('tea', 2, 1.0, 1.0)
    """
    source = question.source(source)
    inner = _core.penetration(
        source._inner,
        check.period("period", period),
        value_text("category", category),
        check.scopes("scopes", scopes),
        question.audience("reference", reference),
        checked_progress(progress),
    )
    return Penetration(inner, source)


class Rfm(Table):
    """Buyers with their scores and types; a table, made by `rfm`.

    Examples
    --------
    >>> scored = aipl.rfm(spending, as_of="2024-06-30")
    >>> scored.audience("high_value").ids()
    ['u5']
    """

    __slots__ = ("_rfm",)

    def __init__(self, inner: _core.Rfm, source: Source) -> None:
        table, report, recipe = inner.table()
        super().__init__(table, account(report, warn=isinstance(source, Events)), json.loads(recipe))
        self._rfm = inner

    def summary(self) -> Table:
        """The eight types of each brand.

        Returns
        -------
        Table
            `scope`, `type`, `consumers` (int64), `share` (of the brand's buyers), `gmv`, `gmv_share`, and the means `recency` (days), `frequency`, `monetary`; by R, F and M, high
            first (111, 110, 101, 100, 011, …), zeros included, where shares and means are null if there is nothing to divide by.

        Examples
        --------
        >>> [(row["type"], row["consumers"]) for row in aipl.rfm(spending, as_of="2024-06-30").summary().to_dicts() if row["consumers"]]
        [('high_value', 1), ('general_develop', 1), ('potential', 1)]
        """
        table, report, recipe = self._rfm.summary()
        return Table(table, Report(json.loads(report)), {**json.loads(recipe), "table": "summary"})

    def audience(self, type: str, scope: Scope | None = None) -> Audience:
        """The buyers of a type, of one brand or of any.

        Parameters
        ----------
        type : str
            `high_value` (R, F and M high), `key_keep` (011), `key_develop` (101), `key_win_back` (001), `general_value` (110), `general_keep` (010), `general_develop` (100) or
            `potential` (000).
        scope : scope, optional
            One of the table's.

        Examples
        --------
        >>> aipl.rfm(spending, as_of="2024-06-30").audience("general_develop", "acme").ids()
        ['u3']
        """
        of = None if scope is None else check.scope("scope", scope)
        return Audience._found(self._rfm.audience(check.text("type", type), of))


def _thresholds(scheme: Mapping[str, object]) -> tuple[list[int], list[int], list[float]]:
    """Thresholds of a scheme, one or several each."""

    def listed(name: str) -> list[Any]:
        if name not in scheme:
            raise ParameterError(f"scheme: {name!r} is missing; recency (days), frequency (orders) and monetary (amount) are needed")
        value = scheme[name]
        values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        for at, item in enumerate(values):
            if isinstance(item, bool) or not isinstance(item, int | float):
                raise type_error(f"scheme[{name!r}][{at}]", "a number", item)
        return values

    names = ("recency", "frequency", "monetary")
    for name in scheme:
        check.choice("scheme", name, names)
    days, orders, amounts = (listed(name) for name in names)
    whole = [
        [check.count(f"scheme[{name!r}][{at}]", item) for at, item in enumerate(values)]
        for name, values in (("recency", days), ("frequency", orders))
    ]
    return whole[0], whole[1], [decimal("scheme['monetary']", item) for item in amounts]


def rfm(
    source: Source,
    *,
    as_of: Day,
    window: int = 365,
    scheme: str | Mapping[str, object] = "mean",
    scopes: Iterable[Scope] | None = None,
    progress: Progress | None = None,
) -> Rfm:
    """RFM: how recently, how often and for how much each consumer bought of each brand, and the eight types that this makes.

    Parameters
    ----------
    source, scopes, progress
        As in `profile`. The schema must map `amount`.
    as_of : datetime.date or "YYYY-MM-DD"
        The day.
    window : int
        Orders of so many days up to it.
    scheme : {"mean", "quintile"} or dict
        `mean`: high (score 2, else 1) is at least the mean of the brand's buyers (for recency, at most the mean of days). `quintile`: scores 1 to 5 by fifths of the brand's buyers (mid-rank),
        high is at least the mean score. A dict of thresholds for `recency` (falling days), `frequency` and `monetary` (rising): a score is one more than the number
        of thresholds reached; with one threshold, who reaches it is high, with several, who has at least the mean score.

    Returns
    -------
    Rfm
        Every buyer of the window, in order of consumer and scope: `consumer`, `scope`, `recency` (int64: days since the last order), `frequency` (orders), `monetary` (float64: what was
        paid less what was refunded), `r_score`, `f_score`, `m_score` (int64, more is better), `type`.

    Raises
    ------
    ParameterError
        If the schema maps no amount, or thresholds are not in order.

    Notes
    -----
    Definition: the docs page "Consumer assets" (RFM). The scores and names of types are published; which combination bears which name is the usual
    convention, and ours.

    Examples
    --------
    >>> for row in aipl.rfm(spending, as_of="2024-06-30").to_dicts():
    ...     print(row["consumer"], row["recency"], row["frequency"], row["monetary"], row["type"])
    u3 2 1 30.0 general_develop
    u4 177 1 20.0 potential
    u5 29 2 100.0 high_value
    """
    source = question.source(source)
    thresholds = _thresholds(scheme) if isinstance(scheme, Mapping) else None
    word = "custom" if thresholds else check.choice("scheme", scheme, ("mean", "quintile"))
    inner = _core.Rfm.ask(
        source._inner,
        check.day("as_of", as_of),
        check.scopes("scopes", scopes),
        check.small("window", window),
        word,
        thresholds,
        checked_progress(progress),
    )
    return Rfm(inner, source)
