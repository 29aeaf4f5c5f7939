"""Brand health once more, from the page "Consumer assets" alone, one event at a time: an oracle for the analyses.

Events, states and models are those of `naive`; an event may also have `channel`, `coupon`, `discount` and other fields. Scopes are the
texts that tables show. Every function gives the rows of the table, in its order, and the sets of consumers behind its cells.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import permutations
from statistics import NormalDist
from typing import Any

import naive

Row = dict[str, Any]
People = dict[tuple[Any, ...], set[Any]]
Answer = tuple[list[Row], People]

DAY = dt.timedelta(days=1)
ACTS = ("add_to_cart", "favorite", "sample_claim", "share", "comment", "like", "follow", "review")
Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Entry:
    """An order with its money, or a refund that names none; `stands` if it counts as an order."""

    consumer: Any
    scope: str
    day: dt.date
    name: str | None
    category: str | None
    gmv: Decimal
    stands: bool


class Log:
    """Events and states, seen through the scope of a model."""

    def __init__(self, events: list[Row], states: Iterable[tuple[Any, ...]] = (), rules: Row | None = None) -> None:
        self.events = sorted(naive.unique(events), key=lambda event: (event["day"], event["order"]))
        self.states = list(states)
        self.rules = rules or {"scope": "brand", "stage": []}
        self.codes = [stage["code"] for stage in self.rules["stage"]]
        self.days: dict[dt.date, dict[str, dict[Any, str]]] = {}
        self.held: dict[tuple[str, dt.date], set[tuple[Any, str]]] = {}

    def scope(self, event: Row) -> Any:
        """The scope that an event counts for; None if there is none."""
        return text_of(naive.scope_of(self.rules, event))

    def stages(self, day: dt.date, scope: str) -> dict[Any, str]:
        """Consumers with their stages at the close of a day."""
        if day not in self.days:
            found: dict[str, dict[Any, str]] = defaultdict(dict)
            for (consumer, where), stage in naive.snapshot(self.rules, self.events, day, self.states).items():
                found[text_of(where)][consumer] = stage
            self.days[day] = found
        return self.days[day].get(scope, {})

    def holders(self, state: str, day: dt.date, scope: str) -> set[Any]:
        """Consumers in a state at the close of a day."""
        if (state, day) not in self.held:
            rules = {**self.rules, "stage": [{"code": "in", "any": [{"state": state}]}]}
            self.held[state, day] = {(who, text_of(where)) for who, where in naive.snapshot(rules, self.events, day, self.states)}
        return {who for who, where in self.held[state, day] if where == scope}

    def doers(self, scope: str, first: dt.date, last: dt.date, behaviors: Iterable[str] | None = None) -> set[Any]:
        """Consumers with an event of some behavior, or any, on some day."""
        return {event["consumer"] for event in self.within(scope, first, last) if behaviors is None or event["behavior"] in behaviors}

    def within(self, scope: str, first: dt.date, last: dt.date) -> list[Row]:
        """Events of a scope and a range of days."""
        return [event for event in self.events if first <= event["day"] <= last and self.scope(event) == scope]

    def entries(self, first: dt.date, last: dt.date, asked: dt.date | None = None) -> list[Entry]:
        """Orders and nameless refunds of a range of days, with the refunds up to the end of the question."""
        lines: dict[tuple[Any, ...], list[Row]] = {}
        refunds: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        loose = []
        for at, event in enumerate(self.events):
            scope = self.scope(event)
            if scope is None or event["day"] > (asked or last) or event["behavior"] not in ("purchase", "refund"):
                continue
            key = event["consumer"], scope, event["order_id"] or at
            if event["behavior"] == "purchase":
                lines.setdefault(key, []).append(event)
            elif event["order_id"]:
                refunds[key].append(event)
            else:
                loose.append(Entry(*key[:2], event["day"], None, event["category"], -abs(money(event["amount"])), False))
        orders = []
        for key, bought in lines.items():
            paid = sum(money(line["amount"]) for line in bought)
            back = sum(abs(money(refund["amount"])) for refund in refunds[key])
            if any(refund["amount"] is None for refund in refunds[key]):
                back = max(back, paid)
            whole = bool(refunds[key]) and back >= paid
            orders.append(Entry(*key[:2], bought[0]["day"], bought[0]["order_id"], bought[0]["category"], Decimal(paid - back), not whole))
        return [entry for entry in orders + loose if first <= entry.day <= last]


def text_of(scope: Any) -> Any:
    """A scope as tables show it."""
    return "/".join(scope) if isinstance(scope, tuple) else scope


def money(amount: Any) -> Decimal:
    """An amount, exactly; nothing is 0."""
    return Decimal(0) if amount is None else Decimal(str(amount))


def total(entries: list[Entry]) -> Decimal:
    """Purchases less refunds."""
    return sum((entry.gmv for entry in entries), Decimal(0))


def ratio(part: Any, whole: Any) -> float | None:
    """A rate, or null where there is nothing to divide by."""
    return None if part is None or not whole else float(part / whole)


def buyers(entries: list[Entry]) -> set[Any]:
    """Who has an order."""
    return {entry.consumer for entry in entries if entry.stands}


def days(first: dt.date, last: dt.date) -> list[dt.date]:
    """All days of a range."""
    return [first + DAY * at for at in range((last - first).days + 1)]


def stepped(first: dt.date, last: dt.date, step: str) -> list[dt.date]:
    """The days of a range at which a day, week (on Sunday) or month ends, and the last."""
    ends = {"day": lambda day: True, "week": lambda day: day.weekday() == 6, "month": lambda day: (day + DAY).day == 1}[step]
    return [day for day in days(first, last) if ends(day) or day == last]


# --- FAST -----------------------------------------------------------------------------------------------------------


def fast(
    log: Log, scopes: list[str], start: dt.date, end: dt.date, *, panel: list[str] | None = None, members: str = "member",
    acts: Iterable[str] = ACTS, mode: str = "endpoint",
) -> Answer:  # fmt: skip
    """FAST of each scope."""
    rows, people = [], {}

    def measured(scope: str) -> Row:
        old, new = log.stages(start, scope), log.stages(end, scope)
        looked = days(start + DAY, end) if mode == "peak" else [end]
        reached = [pair for day in looked for pair in log.stages(day, scope).items()]
        higher = {who for who, stage in reached if who in old and log.codes.index(stage) > log.codes.index(old[who])}
        holders = log.holders(members, end, scope)
        found = {
            "fertility": {who for day in days(start, end) for who in log.stages(day, scope)},
            "aipl_start": set(old),
            "aipl_end": set(new),
            "advanced": higher,
            "superiority": holders,
            "thriving": holders & log.doers(scope, end - DAY * 179, end, acts),
            "outside": holders - set(new),
        }
        people.update({(scope, who): found[who] for who in found})
        row = {"scope": scope, **{who: len(found[who]) for who in found if who != "outside"}}
        row["advancing_rate"] = ratio(row["advanced"], row["aipl_start"])
        row["thriving_rate"] = ratio(row["thriving"], row["superiority"])
        return row

    peers = [measured(scope) for scope in panel or []]
    letters = {"fertility": "fertility", "advancing": "advancing_rate", "superiority": "superiority", "thriving": "thriving_rate"}
    for scope in scopes:
        row = measured(scope)
        for letter, column in letters.items():
            row[f"{letter}_percentile"] = mid_rank(row[column], [peer[column] for peer in peers])
        for letter in ("fertility", "superiority"):
            row[f"{letter}_index"] = place(row[letter], [peer[letter] for peer in peers])
        rows.append(row)
    return rows, people


def mid_rank(value: float | None, others: list[float | None]) -> float | None:
    """The mid-rank percentile of a value among those of a panel that have one."""
    known = [other for other in others if other is not None]
    if value is None or not known:
        return None
    return 100 * (sum(other < value for other in known) + sum(other == value for other in known) / 2) / len(known)


def place(value: float, others: list[float]) -> float | None:
    """The place between the least and the greatest of a panel, on the scale of ln(1 + x); beyond them, the nearer."""
    if not others or min(others) == max(others):
        return None
    least, greatest = math.log1p(min(others)), math.log1p(max(others))
    return 100 * (min(max(math.log1p(value), least), greatest) - least) / (greatest - least)


# --- consumer assets ------------------------------------------------------------------------------------------------


def consumer_equity(
    log: Log, scopes: list[str], as_of: dt.date, *, horizon: int = 365, spend: str = "brand", snapshots: int = 3, every: int = 30
) -> Answer:
    """Assets by scope and stage."""
    rows: list[Row] = []
    people: People = {}
    span = DAY * horizon
    recent = log.entries(as_of - span + DAY, as_of)
    for scope in scopes:
        categories, share = None, Decimal(1)
        if spend == "category":
            categories = {entry.category for entry in recent if entry.scope == scope and entry.category}
            market = [entry for entry in recent if entry.category in categories]
            share = total([entry for entry in market if entry.scope == scope]) / total(market)
        seen, bought, paid = Counter[str](), Counter[str](), dict.fromkeys(log.codes, Decimal(0))
        for group in ("past_consumers", "past_buyers"):
            people.update({(scope, code, group): set() for code in (*log.codes, None)})
        for day in (as_of - span - DAY * every * at for at in range(snapshots)):
            entries = log.entries(day + DAY, day + span, as_of)
            back = buyers([entry for entry in entries if entry.scope == scope])
            for who, stage in log.stages(day, scope).items():
                seen[stage] += 1
                for group in ("past_consumers", *(["past_buyers"] if who in back else [])):
                    people[scope, stage, group].add(who)
                    people[scope, None, group].add(who)
                if who in back:
                    bought[stage] += 1
                    paid[stage] += share * spent(entries, who, scope, categories)
        now = log.stages(as_of, scope)
        people[(scope,)] = set(now)
        for at, code in enumerate(log.codes):
            people[scope, code] = {who for who, stage in now.items() if stage == code}
            pool: list[str] = []
            for lender in (*log.codes[at:], *reversed(log.codes[:at])):
                if sum(bought[stage] for stage in pool) < 30:
                    pool.append(lender)
            past, past_buyers = sum(seen[stage] for stage in pool), sum(bought[stage] for stage in pool)
            row: Row = {"scope": scope, "stage": code, "consumers": len(people[scope, code]), "pooled": bought[code] < 30}
            row |= {"past_consumers": seen[code], "past_buyers": bought[code], "conversion": ratio(past_buyers, past)}
            row["conversion_low"], row["conversion_high"] = wilson(past_buyers, past)
            row["value"] = ratio(sum(paid[stage] for stage in pool), past_buyers)
            # Nobody is worth nothing, and so is who will not buy; where nothing is known of the past, nothing is said.
            row["asset"] = None if row["consumers"] and not past else row["consumers"] * (row["conversion"] or 0.0) * (row["value"] or 0.0)
            rows.append(row)
    return rows, people


def wilson(part: int, whole: int) -> tuple[float | None, float | None]:
    """The 95 % interval of a share."""
    if not whole:
        return None, None
    share, more = part / whole, Z * Z / whole
    middle, half = share + more / 2, Z * math.sqrt(share * (1 - share) / whole + more / whole / 4)
    return (middle - half) / (1 + more), (middle + half) / (1 + more)


def spent(entries: list[Entry], who: Any, scope: str, categories: set[str] | None) -> Decimal:
    """What a consumer spent with a brand, or with any brand in some categories."""
    own = [entry for entry in entries if entry.consumer == who]
    return total([entry for entry in own if (entry.scope == scope if categories is None else entry.category in categories)])


def totals(rows: list[Row]) -> list[Row]:
    """The three factors of each scope."""
    found = []
    for scope in dict.fromkeys(row["scope"] for row in rows):
        here = [row for row in rows if row["scope"] == scope and row["consumers"]]
        volume = sum(row["consumers"] for row in here)
        known = all(row["conversion"] is not None for row in here)
        expected = sum(row["consumers"] * row["conversion"] for row in here) if known else None
        asset = sum(row["asset"] for row in here) if known else None
        row = {"scope": scope, "consumers": volume, "conversion": ratio(expected, volume), "value": ratio(asset, expected), "asset": asset}
        found.append(row)
    return found


def compare(before: list[Row], after: list[Row], method: str = "lmdi") -> list[Row]:
    """What made the assets of one day into those of another, from their totals."""
    rows = []
    for old, new in zip(before, after, strict=True):
        row = {"scope": new["scope"], "asset_before": old["asset"], "asset_after": new["asset"], "change": None}
        row |= dict.fromkeys(("consumers_part", "conversion_part", "value_part"))
        if old["asset"] is not None and new["asset"] is not None:
            factors = [[float(side[name] or 0) for name in ("consumers", "conversion", "value")] for side in (old, new)]
            row["change"] = new["asset"] - old["asset"]
            parts = lmdi(*factors) if method == "lmdi" and min(map(min, factors)) > 0 else shapley(*factors)
            row |= dict(zip(("consumers_part", "conversion_part", "value_part"), parts, strict=True))
        rows.append(row)
    return rows


def lmdi(old: list[float], new: list[float]) -> list[float]:
    """Parts of the change of a product, by logarithmic means."""
    logs = [math.log(after / before) for before, after in zip(old, new, strict=True)]
    # (a - b) / (ln a - ln b), which for products that are almost equal would lose all digits.
    growth = sum(logs)
    mean = math.prod(old) * (math.expm1(growth) / growth if growth else 1.0)
    return [mean * log for log in logs]


def shapley(old: list[float], new: list[float]) -> list[float]:
    """Parts of the change of a product, as the mean over the orders in which its factors change."""
    parts = [0.0] * len(old)
    orders = list(permutations(range(len(old))))
    for order in orders:
        now = list(old)
        for at in order:
            before = math.prod(now)
            now[at] = new[at]
            parts[at] += (math.prod(now) - before) / len(orders)
    return parts


# --- concentration --------------------------------------------------------------------------------------------------


def concentration(log: Log, scopes: list[str], audience: set[Any], looked: list[dt.date]) -> Answer:
    """How many percent of each stage are in an audience."""
    rows, people = [], {}
    for day in looked:
        for scope in scopes:
            for stage in ("active", *log.codes):
                held = {who for who, code in log.stages(day, scope).items() if stage in ("active", code)}
                people[scope, day, stage] = held & audience
                people[scope, day, stage, "consumers"] = held
                row = {"day": day, "scope": scope, "stage": stage, "consumers": len(held), "in_audience": len(held & audience)}
                rows.append({**row, "concentration": ratio(100 * len(held & audience), len(held))})
    return rows, people


# --- profiles -------------------------------------------------------------------------------------------------------


def profile(
    log: Log, audience: set[Any], by: list[str], *, base: set[Any] | None = None, tags: dict[str, dict[Any, Any]] | None = None,
    start: dt.date = dt.date.min, end: dt.date = dt.date.max, behaviors: list[str] | None = None, scopes: list[str] | None = None,
) -> Answer:  # fmt: skip
    """Tags of an audience beside a base."""
    looked = [event for event in log.events if start <= event["day"] <= end]
    looked = [event for event in looked if (not behaviors or event["behavior"] in behaviors) and (not scopes or event["brand"] in scopes)]
    everybody = {event["consumer"] for event in looked}
    audience, base = audience & everybody, everybody if base is None else base & everybody
    rows, people = [], {}
    for tag in by:
        holders: dict[Any, set[Any]] = defaultdict(set)
        for who in everybody:
            if tags and tag in tags:
                values = {tags[tag].get(who)}
            else:
                values = {event[tag] or None for event in looked if event["consumer"] == who} - {None}
            for value in values or {None}:
                holders[value].add(who)
        people[(tag,)] = audience
        for value in sorted(holders, key=lambda value: (value is not None, value)):
            x1, x0, n1, n0 = len(holders[value] & audience), len(holders[value] & base), len(audience), len(base)
            if x1 or x0:
                text = None if value is None else str(value).lower() if isinstance(value, bool) else str(value)
                people[tag, text] = holders[value] & audience
                people[tag, text, "base"] = holders[value] & base
                rows.append({"tag": tag, "value": text, **index(x1, n1, x0, n0)})
    return rows, people


def index(x1: int, n1: int, x0: int, n0: int) -> Row:
    """The target group index of two shares, with its interval and the standardized difference."""
    p1, p0 = ratio(x1, n1), ratio(x0, n0)
    row: Row = {"audience": x1, "audience_total": n1, "share": p1, "base": x0, "base_total": n0, "base_share": p0, "small": x1 < 30}
    row |= dict.fromkeys(("tgi", "tgi_low", "tgi_high", "difference"))
    if p1 is not None and p0 is not None:
        row["tgi"] = ratio(100 * p1, p0)
        if x1 and x0:
            error = math.sqrt((1 - p1) / x1 + (1 - p0) / x0)
            row["tgi_low"], row["tgi_high"] = row["tgi"] * math.exp(-Z * error), row["tgi"] * math.exp(Z * error)
        spread = math.sqrt((p1 * (1 - p1) + p0 * (1 - p0)) / 2)
        row["difference"] = ratio(p1 - p0, spread)
    return row


def attributes(rows: list[Row], consumer: str) -> tuple[dict[str, dict[str, Any]], Row]:
    """Values of each tag by the text of the consumer, and the report: of several values the least that is not null."""
    said: dict[str, dict[str, set[Any]]] = {tag: defaultdict(set) for tag in rows[0] if tag != consumer}
    known = {str(row[consumer]) for row in rows if row[consumer] is not None}
    for row in rows:
        for tag in said:
            if row[consumer] is not None and row[tag] is not None:
                said[tag][str(row[consumer])].add(row[tag])
    disagreeing = {who for values in said.values() for who in values if len(values[who]) > 1}
    missing = sum(row[consumer] is None for row in rows)
    report = {"consumers": len(known), "disagreeing": len(disagreeing), "rejected": {"null_consumer": missing} if missing else {}}
    return {tag: {who: min(values[who]) for who in values} for tag, values in said.items()}, report
