"""GMV and what is made of it once more, straight from the page "Consumer assets", one event at a time: an oracle for the analyses.

An event is a dict with `consumer`, `brand`, `behavior`, `day` (a `datetime.date`), `order_id`, `amount` (a `Decimal`) and labels, each
None where there is none. An answer is a list of rows as tables show them, each with the sets of consumers behind its numbers. Sums are
fractions. Where the page is silent the twin does as the library does, and says so.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from fractions import Fraction
from statistics import median
from typing import Any

Event = dict[str, Any]
Row = dict[str, Any]
Answer = list[tuple[Row, dict[Any, set[str]]]]
Period = tuple[dt.date, dt.date]
DAY = dt.timedelta(days=1)

TYPES = {
    "111": "high_value", "011": "key_keep", "101": "key_develop", "001": "key_win_back",
    "110": "general_value", "010": "general_keep", "100": "general_develop", "000": "potential",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """Money of one row: on its order's day, and `order` where it makes its consumer a buyer."""

    consumer: str
    brand: str
    day: dt.date
    money: Fraction
    order: tuple[Any, ...] | None
    event: Event


def money_rows(events: Iterable[Event], days: Period) -> list[Event]:
    return [event for event in events if event["behavior"] in ("purchase", "refund") and days[0] <= event["day"] <= days[1]]


def lines(events: Iterable[Event], days: Period) -> list[Line]:
    """What the rows of the days that are looked at come to, by the rules of orders and refunds.

    The page does not say which days a question looks at, nor where the money of a refund stands that bears other labels than its order:
    here rows of other days are as good as absent, and money has the labels of its own row.
    """
    bought: dict[tuple[Any, ...], list[Event]] = {}
    refunds = []
    for at, event in enumerate(money_rows(events, days)):
        if event["behavior"] == "refund":
            refunds.append(event)
        else:
            name = at if event["order_id"] is None else event["order_id"]
            bought.setdefault((event["consumer"], event["brand"], name), []).append(event)
    given: dict[tuple[Any, ...], list[Event]] = {}
    found = []
    for event in refunds:
        order = (event["consumer"], event["brand"], event["order_id"])
        if order in bought:
            given.setdefault(order, []).append(event)
        elif event["order_id"] is None:
            found.append(Line(event["consumer"], event["brand"], event["day"], -back(event), None, event))
    for order, rows in bought.items():
        found += lines_of(order, rows, given.get(order, []))
    return found


def back(refund: Event) -> Fraction:
    """Money given back, whatever its sign."""
    return abs(Fraction(refund["amount"] or 0))


def lines_of(order: tuple[Any, ...], rows: list[Event], refunds: list[Event]) -> list[Line]:
    """Of one order. Which of several refunds without an amount takes back what is left, the page does not say: here the first row."""
    day = min(row["day"] for row in rows)
    paid = sum((Fraction(row["amount"] or 0) for row in rows), Fraction(0))
    moneys = [-back(refund) for refund in refunds]
    whole = [at for at, refund in enumerate(refunds) if refund["amount"] is None]
    if whole:
        moneys[whole[0]] = -max(paid + sum(moneys), Fraction(0))
    stands = None if refunds and -sum(moneys) >= paid else order
    found = [Line(*order[:2], day, Fraction(row["amount"] or 0), stands, row) for row in rows]
    return found + [Line(*order[:2], day, money, None, refund) for money, refund in zip(moneys, refunds, strict=True)]


# --- what lines come to -----------------------------------------------------------------------------------------------


def total(of: Iterable[Line]) -> Fraction:
    return sum((line.money for line in of), Fraction(0))


def orders(of: Iterable[Line]) -> set[Any]:
    return {line.order for line in of if line.order}


def baskets(of: Iterable[Line]) -> set[Any]:
    """Orders over brands: one with several brands is one, by the docstring of `penetration`; `crosstab` counts so, too."""
    return {(line.order[0], line.order[2]) for line in of if line.order}


def buyers(of: Iterable[Line]) -> set[str]:
    return {line.consumer for line in of if line.order}


def within(of: Iterable[Line], days: Period) -> list[Line]:
    return [line for line in of if days[0] <= line.day <= days[1]]


def ratio(above: int | Fraction, below: int | Fraction) -> float | None:
    return float(Fraction(above) / Fraction(below)) if below else None


def by_text(value: Any) -> tuple[bool, Any]:
    """A key that sorts what is none first."""
    return value is not None, value


# --- GMV and active consumers -----------------------------------------------------------------------------------------


def steps(start: dt.date, end: dt.date, step: str) -> list[Period]:
    """First and last day of each step."""
    closes: dict[str, Callable[[dt.date], bool]] = {
        "day": lambda _: True, "week": lambda day: day.weekday() == 6, "month": lambda day: (day + DAY).day == 1,
    }  # fmt: skip
    found, first = [], start
    for day in (start + DAY * at for at in range((end - start).days + 1)):
        if closes[step](day) or day == end:
            found.append((first, day))
            first = day + DAY
    return found


def gmv_aac(events: list[Event], start: dt.date, end: dt.date, step: str = "month", active_days: int = 365) -> Answer:
    periods = steps(start, end, step)
    looked = (start - DAY * (active_days - 1), end)
    every, found = lines(events, looked), []
    for (first, last), brand in itertools.product(periods, sorted({event["brand"] for event in money_rows(events, looked)})):
        own = [line for line in every if line.brand == brand]
        sold, active = within(own, (first, last)), buyers(within(own, (last - DAY * (active_days - 1), last)))
        gmv, count, people = total(sold), len(orders(sold)), buyers(sold)
        row = {
            "day": last, "scope": brand, "gmv": float(gmv), "orders": count, "buyers": len(people), "aov": ratio(gmv, count),
            "frequency": ratio(count, len(people)), "aac": len(active), "gmv_per_aac": ratio(gmv, len(active)),
        }  # fmt: skip
        found.append((row, {"buyers": people, "aac": active}))
    return found


def aac_bridge(events: list[Event], start: dt.date, end: dt.date, active_days: int = 365) -> Answer:
    every, found = lines(events, (dt.date.min, end)), []
    for brand in sorted({event["brand"] for event in money_rows(events, (dt.date.min, end))}):
        own = [line for line in every if line.brand == brand]
        before, after = (buyers(within(own, (day - DAY * (active_days - 1), day))) for day in (start, end))
        ever = buyers(within(own, (dt.date.min, start)))
        people = {"start": before, "new": after - ever, "returned": (after & ever) - before, "lapsed": before - after, "end": after}
        found.append(({"scope": brand, **{name: len(ids) for name, ids in people.items()}}, people))
    return found


def kind_of_customer(own: Iterable[Line], consumer: str, period: Period, lookback: int) -> str:
    """By one brand's lines. Who has no order in the period, but money given back, is no new customer; the page does not say."""
    days = {line.day for line in own if line.consumer == consumer and line.order}
    here = [day for day in days if period[0] <= day <= period[1]]
    if not here:
        return "existing"
    return "existing" if any(min(here) - DAY * lookback <= day < min(here) for day in days) else "new"


def new_vs_existing(events: list[Event], start: dt.date, end: dt.date, lookback: int = 365) -> Answer:
    looked = (start - DAY * lookback, end)
    every, found = lines(events, looked), []
    for brand in sorted({event["brand"] for event in money_rows(events, looked)}):
        own = [line for line in every if line.brand == brand]
        sold = within(own, (start, end))
        for kind in ("new", "existing"):
            part = [line for line in sold if kind_of_customer(own, line.consumer, (start, end), lookback) == kind]
            gmv, count, people = total(part), len(orders(part)), buyers(part)
            row = {
                "scope": brand, "customers": kind, "buyers": len(people), "buyers_share": ratio(len(people), len(buyers(sold))),
                "orders": count, "gmv": float(gmv), "gmv_share": ratio(gmv, total(sold)), "aov": ratio(gmv, count),
                "frequency": ratio(count, len(people)), "lookback": lookback,
            }  # fmt: skip
            found.append((row, {kind: people}))
    return found


# --- GROW -------------------------------------------------------------------------------------------------------------


def levers(before: list[Line], after: list[Line], method: str) -> tuple[float, float, float]:
    """What penetration, repurchase and price add."""
    (buyers0, orders0, gmv0), (buyers1, orders1, gmv1) = ((len(buyers(part)), len(orders(part)), total(part)) for part in (before, after))
    if not buyers0 or not buyers1:
        # There is no frequency and price to compare with: who bought made all of it, but for money that no order explains.
        explained = (gmv1 if buyers1 else 0) - (gmv0 if buyers0 else 0)
        return float(explained), 0.0, float(gmv1 - gmv0 - explained)
    old = (Fraction(buyers0), Fraction(orders0, buyers0), gmv0 / orders0)
    new = (Fraction(buyers1), Fraction(orders1, buyers1), gmv1 / orders1)
    if method == "lmdi" and min(*old, *new) > 0:
        mean = float(gmv0) if gmv0 == gmv1 else float(gmv1 - gmv0) / math.log1p((gmv1 - gmv0) / gmv0)
        parts = [mean * math.log(y / x) for x, y in zip(old, new, strict=True)]
    else:
        parts = [float(shapley(old, new, at)) for at in range(3)]
    return parts[0], parts[1], parts[2]


def shapley(old: tuple[Fraction, ...], new: tuple[Fraction, ...], at: int) -> Fraction:
    """The mean over the six orders of what changing one factor adds."""
    added = Fraction(0)
    for turn in itertools.permutations(range(3)):
        earlier = turn[: turn.index(at)]
        others = math.prod(new[other] if other in earlier else old[other] for other in range(3) if other != at)
        added += others * (new[at] - old[at])
    return added / 6


def grow(
    events: list[Event],
    period0: Period,
    period1: Period,
    by: Collection[str] = (),
    method: str = "lmdi",
    lookback: int = 365,
    launch: str | None = None,
    tags: dict[str, dict[str, str | None]] | None = None,
) -> Answer:
    """Tags are by name and consumer."""
    tags = tags or {}
    every = lines(events, (period0[0] - DAY * lookback, period1[1]))

    def group(line: Line, period: Period) -> tuple[Any, ...]:
        values = []
        for name in by:
            if name == "customers":
                values.append(kind_of_customer([other for other in every if other.brand == line.brand], line.consumer, period, lookback))
            else:
                values.append(tags[name].get(line.consumer) if name in tags else line.event[name])
        return line.brand, *values

    groups: dict[tuple[Any, ...], tuple[list[Line], list[Line], list[Line]]] = {}
    for side, period in enumerate((period0, period1)):
        for line in within(every, period):
            launched = line.event[launch] if launch and side else None
            is_new = launched is not None and dt.date.fromisoformat(launched) > period0[1]
            groups.setdefault(group(line, period), ([], [], []))[2 if is_new else side].append(line)
    found = []
    # New customers come before existing ones.
    for key in sorted(groups, key=lambda key: [by_text({"new": "0", "existing": "1"}.get(value, value)) for value in key]):
        before, after, new = groups[key]
        people = {"buyers_before": buyers(before), "buyers_after": buyers(after)}
        change, widened = total(after) - total(before), bool(set(by) - {"customers"}) and bool(orders(before)) != bool(orders(after))
        explained = sum(sign * total(part) for sign, part in ((-1, before), (1, after)) if orders(part))
        parts = (0.0, 0.0, float(change - explained)) if widened else levers(before, after, method)
        row = {
            "scope": key[0], **dict(zip(by, key[1:], strict=True)),
            "gmv_before": float(total(before)), "gmv_after": float(total(after) + total(new)), "change": float(change + total(new)),
            "penetration": parts[0], "repurchase": parts[1], "price": parts[2],
            "extension": float(explained) if widened else 0.0, "new_products": float(total(new)),
            **{name: len(ids) for name, ids in people.items()},
            "orders_before": len(orders(before)), "orders_after": len(orders(after)),
        }  # fmt: skip
        found.append((row, people))
    return found


def grow_opportunity(events: list[Event], period: Period, benchmark: str | dict[str, float] = "mean") -> list[Row]:
    names = {"penetration": "buyers", "repurchase": "frequency", "price": "price"}
    every = lines(events, period)
    factors: dict[str, list[Fraction] | None] = {}
    for brand in sorted({event["brand"] for event in money_rows(events, period)}):
        own = [line for line in every if line.brand == brand]
        people, count = len(buyers(own)), len(orders(own))
        factors[brand] = [Fraction(people), Fraction(count, people), total(own) / count] if count else None
    known = [values for values in factors.values() if values]
    found = []
    for brand, values in factors.items():
        rows = []
        for at, (lever, name) in enumerate(names.items()):
            peers = [other[at] for other in known]
            if isinstance(benchmark, dict):
                mark = None if name not in benchmark else Fraction(str(benchmark[name]))
            else:
                mark = None if not peers else sum(peers, Fraction(0)) / len(peers) if benchmark == "mean" else median(peers)
            others = math.prod(values[:at] + values[at + 1 :]) if values else None
            gain = None if values is None or mark is None else others * (mark - values[at])
            rows.append((lever, values and values[at], mark, gain))
        positive = sum((gain for *_, gain in rows if gain is not None and gain > 0), Fraction(0))
        for lever, value, mark, gain in rows:
            share = ratio(gain, positive) if gain is not None and gain > 0 else None
            row = {"scope": brand, "lever": lever, "value": value, "benchmark": mark, "opportunity": gain}
            found.append({**{name: float(x) if isinstance(x, Fraction) else x for name, x in row.items()}, "opportunity_share": share})
    return found


# --- RFM, penetration, crosstabs --------------------------------------------------------------------------------------


def rfm(events: list[Event], as_of: dt.date, window: int = 365, scheme: str | dict[str, Any] = "mean") -> list[Row]:
    every, found = lines(events, (as_of - DAY * (window - 1), as_of)), []
    for brand in {line.brand for line in every}:
        rows = []
        for consumer in buyers(line for line in every if line.brand == brand):
            own = [line for line in every if (line.brand, line.consumer) == (brand, consumer)]
            last = max(line.day for line in own if line.order)
            rows.append((consumer, (as_of - last).days, len(orders(own)), total(own)))
        # More is better in each column.
        columns = [[Fraction(-row[1]) for row in rows], [Fraction(row[2]) for row in rows], [row[3] for row in rows]]
        scored = [scores_of(column, at, scheme) for at, column in enumerate(columns)]
        for at, (consumer, recency, frequency, monetary) in enumerate(rows):
            scores = [scores[at] for scores, _ in scored]
            bits = "".join(str(int(high[at])) for _, high in scored)
            row = {"consumer": consumer, "scope": brand, "recency": recency, "frequency": frequency, "monetary": float(monetary)}
            found.append({**row, **dict(zip(("r_score", "f_score", "m_score"), scores, strict=True)), "type": TYPES[bits]})
    return sorted(found, key=lambda row: (row["consumer"], row["scope"]))


def scores_of(column: list[Fraction], at: int, scheme: str | dict[str, Any]) -> tuple[list[int], list[bool]]:
    """The scores of one of R, F and M, and whether each is high."""
    if not column:
        return [], []
    if scheme == "mean":
        high = [value * len(column) >= sum(column) for value in column]
        return [1 + is_high for is_high in high], high
    if scheme == "quintile":
        ranks = [sum(other < value for other in column) + Fraction(sum(other == value for other in column), 2) for value in column]
        scores = [min(5, math.floor(5 * rank / len(column)) + 1) for rank in ranks]
    else:
        given = scheme[("recency", "frequency", "monetary")[at]]
        bounds = given if isinstance(given, list) else [given]
        signed = [Fraction(str(-bound if at == 0 else bound)) for bound in bounds]
        scores = [1 + sum(value >= bound for bound in signed) for value in column]
        if len(bounds) == 1:
            return scores, [score == 2 for score in scores]
    return scores, [score * len(scores) >= sum(scores) for score in scores]


def rfm_summary(events: list[Event], rows: list[Row], as_of: dt.date, window: int = 365) -> list[Row]:
    """The eight types of each brand with purchases or refunds in the window; `rows` are those of `rfm`."""
    found = []
    for scope in sorted({event["brand"] for event in money_rows(events, (as_of - DAY * (window - 1), as_of))}):
        every = [row for row in rows if row["scope"] == scope]
        money = sum(Fraction(row["monetary"]) for row in every)
        for bits in ("111", "110", "101", "100", "011", "010", "001", "000"):
            own = [row for row in every if row["type"] == TYPES[bits]]
            gmv = sum((Fraction(row["monetary"]) for row in own), Fraction(0))
            means = {name: ratio(sum(Fraction(row[name]) for row in own), len(own)) for name in ("recency", "frequency", "monetary")}
            found.append(
                {
                    "scope": scope, "type": TYPES[bits], "consumers": len(own), "share": ratio(len(own), len(every)), "gmv": float(gmv),
                    "gmv_share": ratio(gmv, money), **means,
                }
            )  # fmt: skip
    return found


def penetration(events: list[Event], period: Period, reference: Collection[str] | None = None) -> Answer:
    every = [line for line in lines(events, period) if reference is None or line.consumer in reference]
    population = len(buyers(every) if reference is None else reference)
    found = []
    for category, brand in sorted({(line.event["category"], line.brand) for line in every if line.event["category"] is not None}):
        whole = [line for line in every if line.event["category"] == category]
        own = [line for line in whole if line.brand == brand]
        people, brand_people = buyers(whole), buyers(own)
        count, brand_count, gmv, brand_gmv = len(baskets(whole)), len(baskets(own)), total(whole), total(own)
        frequency = ratio(Fraction(brand_count, len(brand_people)), Fraction(count, len(people))) if brand_people else None
        price = ratio(brand_gmv / brand_count, gmv / count) if brand_count else None
        row = {
            "category": category, "scope": brand, "reference": population, "category_buyers": len(people),
            "category_penetration": ratio(len(people), population), "brand_buyers": len(brand_people),
            "brand_penetration": ratio(len(brand_people), len(people)), "relative_frequency": frequency, "relative_price": price,
            "gmv_share": ratio(brand_gmv, gmv),
            "requirements_share": ratio(brand_gmv, total(line for line in whole if line.consumer in brand_people)),
            "category_orders": count, "brand_orders": brand_count, "category_gmv": float(gmv), "brand_gmv": float(brand_gmv),
        }  # fmt: skip
        found.append((row, {"category_buyers": people, "brand_buyers": brand_people, "reference": buyers(every) if reference is None else {*reference}}))
    return found


def crosstab(
    events: list[Event],
    rows: str,
    columns: str,
    measure: str = "people",
    start: dt.date = dt.date.min,
    end: dt.date = dt.date.max,
    among: Collection[str] | None = None,
    tags: dict[str, dict[str, str | None]] | None = None,
) -> Answer:
    measures: dict[str, Callable[[list[Line]], Any]] = {
        "people": lambda of: len(buyers(of)), "orders": lambda of: len(baskets(of)), "gmv": total,
    }  # fmt: skip
    tags = tags or {}
    every = [line for line in lines(events, (start, end)) if among is None or line.consumer in among]

    def value(line: Line, name: str) -> Any:
        return tags[name].get(line.consumer) if name in tags else line.event[name]

    cells = {(value(line, rows), value(line, columns)) for line in every}
    found = []
    for row, column in sorted(cells, key=lambda cell: [by_text(part) for part in cell]):
        own = [line for line in every if (value(line, rows), value(line, columns)) == (row, column)]
        of_row, of_column = ([line for line in every if value(line, name) == part] for name, part in ((rows, row), (columns, column)))
        cell, row_total, column_total, whole = (measures[measure](part) for part in (own, of_row, of_column, every))
        share, row_share, people = ratio(cell, column_total), ratio(row_total, whole), buyers(own)
        shown = {"row": row, "column": column, measure: cell, "row_total": row_total, "column_total": column_total, "total": whole}
        shown = {name: float(x) if isinstance(x, Fraction) else x for name, x in shown.items()}
        shown |= {"share": share, "tgi": None if share is None or not row_share else 100 * share / row_share}
        shown |= {"people": len(people), "small": len(people) < 30}
        totals = {"row_buyers": buyers(of_row), "column_buyers": buyers(of_column), "buyers": buyers(every)}
        found.append((shown, {"people": people, **totals}))
    return found
