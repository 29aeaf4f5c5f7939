"""Members, fans and their benefits."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from aipl import _arguments as check
from aipl import _core
from aipl import _question as question
from aipl._arguments import Scope
from aipl._audience import Audience
from aipl._errors import ParameterError
from aipl._events import Progress, checked_progress
from aipl._measured import Measured
from aipl._model import StageModel
from aipl._question import Source

__all__ = ["Benefits", "Membership", "benefits", "membership"]

Day = datetime.date | str


class Membership(Measured):
    """Members and fans of each brand; a table, made by `membership`.

    Examples
    --------
    >>> aipl.membership(clubs, start="2024-06-01", end="2024-06-30").audience("acme", "new_members").ids()
    ['u2']
    """

    __slots__ = ()

    def audience(self, scope: Scope, who: str) -> Audience:
        """The consumers of a group: `members_start`, `members`, `new_members`, `lost_members`, `fans_start`, `fans`, `new_fans`, `lost_fans`, `members_and_fans`, `nonmember_visitors`, `buyers`,
        `member_buyers`, `nonmember_buyers`, `member_repeat_buyers` or `nonmember_repeat_buyers`.

        Examples
        --------
        >>> aipl.membership(clubs, start="2024-06-01", end="2024-06-30").audience("acme", "member_buyers").ids()
        ['u1']
        """
        return self._people(scope, check.text("who", who))


def membership(
    source: Source,
    *,
    start: Day,
    end: Day,
    scopes: Iterable[Scope] | None = None,
    members: str = "member",
    fans: str = "fan",
    progress: Progress | None = None,
) -> Membership:
    """Members and fans of each brand at both ends of a period, and what members bought in it beside others.

    Parameters
    ----------
    source : Events, EventLog or DataBank
        The events, with join and leave events or a table of states (`Events.with_states`).
    start, end : datetime.date or "YYYY-MM-DD"
        First and last day of the period.
    scopes : list, optional
        Only these brands.
    members, fans : str
        The states of members and of fans.
    progress : callable, optional
        As in `snapshot`.

    Returns
    -------
    Membership
        One row a scope: `members_start`, `members`, `new_members`, `lost_members`, `fans_start`, `fans`, `new_fans`, `lost_fans`, `members_and_fans`, `nonmember_visitors`, `buyers`, `member_buyers`,
        `nonmember_buyers`, `member_repeat_buyers`, `nonmember_repeat_buyers` (buyers on two days or more; int64, distinct consumers); `join_rate` (new_members ÷ nonmember_visitors),
        `member_buyers_share` (÷ buyers), `orders`, `member_orders`, `nonmember_orders`, `member_orders_share`, `gmv`, `member_gmv`, `nonmember_gmv`, `member_gmv_share`, and `member_` and
        `nonmember_` `frequency` (orders ÷ buyers), `aov` (gmv ÷ orders), `repurchase_rate` (repeat buyers ÷ buyers).
        `…_start` is at the close of the day before `start`, others at the close of `end`; new and lost are the difference of these two states, so that who
        leaves and joins again is neither. Visitors have any event in the period. An order is a member's whose buyer is a member at the close of its day.

    Notes
    -----
    Definition: the docs page "Consumer assets" (membership). New by difference of states, members ∩ fans, and the member order are published; join rate and the
    comparison with others are ours.

    Examples
    --------
    >>> row = aipl.membership(clubs, start="2024-06-01", end="2024-06-30").to_dicts()[0]
    >>> row["members_start"], row["members"], row["new_members"], row["buyers"], row["member_buyers"], row["member_gmv_share"]
    (1, 2, 1, 2, 1, 0.75)
    """
    source = question.source(source)
    inner = _core.membership(
        source._inner,
        (check.day("start", start), check.day("end", end)),
        check.scopes("scopes", scopes),
        check.text("members", members),
        check.text("fans", fans),
        checked_progress(progress),
    )
    return Membership(inner, source)


class Benefits(Measured):
    """Coupons from issue to use; a table, made by `benefits`.

    Examples
    --------
    >>> aipl.benefits(coupons, start="2024-06-01", end="2024-06-30", issued="coupon_issue", used="coupon_use").audience("acme", "used").ids()
    ['u1']
    """

    __slots__ = ()

    def audience(self, scope: Scope, step: str, group: str | None = None) -> Audience:
        """The consumers of a step (`issued`, `claimed`, `used`) of a brand, of one group or all.

        Examples
        --------
        >>> table = aipl.benefits(coupons, start="2024-06-01", end="2024-06-30", issued="coupon_issue", used="coupon_use")
        >>> table.audience("acme", "issued").ids()
        ['u1', 'u2']
        """
        return self._people(scope, check.text("step", step), None if group is None else check.text("group", group))


def benefits(
    source: Source,
    *,
    start: Day,
    end: Day,
    used: str,
    claimed: str | None = None,
    issued: str | None = None,
    coupon: str | None = None,
    discount: str | None = None,
    by: str | None = None,
    model: StageModel | None = None,
    lookback: int = 365,
    scopes: Iterable[Scope] | None = None,
    progress: Progress | None = None,
) -> Benefits:
    """Coupons of each brand in a period: issued, claimed, used, and what was bought with them.

    Parameters
    ----------
    source, scopes, progress
        As in `membership`.
    start, end : datetime.date or "YYYY-MM-DD"
        First and last day.
    used, claimed, issued : str
        The behaviors of these steps, usually own ones of the schema; a step that is not named is null.
    coupon : str, optional
        A label field that names the coupon, to count distinct ones.
    discount : str, optional
        A measure with the discount given, of uses and of the orders that they name.
    by : {"stage", "customers"}, optional
        Tell consumers apart by their stage at the close of the day before `start` (then `model` is needed), or into existing customers, with an order in the `lookback` days
        before `start`, and new ones, which are all others.
    model : StageModel, optional
        The stages.
    lookback : int
        Days.

    Returns
    -------
    Benefits
        One row a scope (and `stage` or `customers`): `issued`, `issued_people`, `issued_coupons`, and so for `claimed` and `used` (int64: events, distinct consumers, distinct coupons);
        `claim_rate` (claimed ÷ issued), `redemption_rate_of_issued` (used ÷ issued), `redemption_rate_of_claimed` (used ÷ claimed); `orders` (that a use names by `order_id`), `orders_share` (of all orders of the
        period), `amount_driven` (GMV of these orders, and amounts of uses that name none), `discount`. Rates are of one; null where there is nothing to divide by.

    Raises
    ------
    ParameterError
        If a behavior, field or measure is not there, or `by="stage"` has no model.

    Notes
    -----
    Definition: the docs page "Consumer assets" (benefits). Nothing here says what coupons caused: they serve price discrimination and pull sales forward;
    that takes a hold-out.

    Examples
    --------
    >>> row = aipl.benefits(coupons, start="2024-06-01", end="2024-06-30", issued="coupon_issue", used="coupon_use", coupon="coupon").to_dicts()[0]
    >>> row["issued"], row["issued_people"], row["issued_coupons"], row["used"], row["redemption_rate_of_issued"], row["amount_driven"]
    (3, 2, 2, 1, 0.3333333333333333, 30.0)
    """
    source = question.source(source)
    if by is not None:
        check.choice("by", by, ("stage", "customers"))
    if (by == "stage") != (model is not None):
        raise ParameterError("model: it is needed for by='stage', and only for that")

    def optional(name: str, value: str | None) -> str | None:
        return None if value is None else check.text(name, value)

    inner = _core.benefits(
        source._inner,
        (check.day("start", start), check.day("end", end)),
        (optional("issued", issued), optional("claimed", claimed), check.text("used", used)),
        check.scopes("scopes", scopes),
        optional("coupon", coupon),
        optional("discount", discount),
        by,
        None if model is None else question.model(model)._inner,
        check.small("lookback", lookback),
        checked_progress(progress),
    )
    return Benefits(inner, source)
