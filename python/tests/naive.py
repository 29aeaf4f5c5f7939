"""The rules of stage models once more, straight from their written form, one event at a time: an oracle for the engine.

An event is a dict with `consumer`, `brand`, `category`, `store`, `touchpoint`, `behavior`, `day` (a `datetime.date`), `order` (its rank within the
day) and any columns that `where` and `sum` name. A state is (consumer, scope, state, first day, last day or None).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

JOIN_LEAVE = {"member": ("member_join", "member_leave"), "fan": ("follow", "unfollow")}
BRAND_WIDE = {
    "paid_ad", "super_brand_day", "happy_day", "live", "headline", "weitao", "tmall_partnership", "offline_store", "pop_up", "nursing_room",
}  # fmt: skip
COMPARISONS = {
    "ge": lambda value, bound: value >= bound,
    "gt": lambda value, bound: value > bound,
    "le": lambda value, bound: value <= bound,
    "lt": lambda value, bound: value < bound,
    "ne": lambda value, bound: value != bound,
}


def snapshot(
    model: dict[str, Any], events: Iterable[dict[str, Any]], as_of: dt.date, states: Iterable[tuple[Any, ...]] = ()
) -> dict[tuple[Any, Any], str]:
    """(consumer, scope) to the code of the highest stage that holds at the close of the day."""
    events = unique([event for event in events if event["day"] <= as_of])
    pairs: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
    for event in events:
        scope = scope_of(model, event)
        if scope is not None:
            pairs.setdefault((event["consumer"], scope), []).append(event)
    spans: dict[tuple[Any, Any], list[tuple[Any, ...]]] = {}
    for consumer, scope, state, first, last in states:
        if first <= as_of:
            pairs.setdefault((consumer, scope), [])
            spans.setdefault((consumer, scope), []).append((state, first, last))
    labels = {}
    for pair, own in pairs.items():
        for stage in reversed(model["stage"]):
            if holds(combination(stage), own, spans.get(pair, []), as_of):
                labels[pair] = stage["code"]
                break
    return labels


def unique(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One event for each consumer and event_id, where there is one."""
    seen: set[tuple[Any, Any]] = set()
    kept = []
    for event in events:
        key = (event["consumer"], event.get("event_id"))
        if key[1] is None or key not in seen:
            kept.append(event)
        seen.add(key)
    return kept


def scope_of(model: dict[str, Any], event: dict[str, Any]) -> Any:
    kind = model.get("scope", "brand")
    if kind == "brand":
        return event["brand"]
    if kind == "store":
        return event["store"] or None
    wide = set(model.get("brand_wide_touchpoints", BRAND_WIDE))
    if not event["category"] or event.get("touchpoint") in wide:
        return None
    return event["brand"], event["category"]


def combination(stage: dict[str, Any]) -> dict[str, Any]:
    return {key: stage[key] for key in ("any", "all", "not") if key in stage}


def holds(rule: dict[str, Any], events: list[dict[str, Any]], spans: list[tuple[Any, ...]], as_of: dt.date) -> bool:
    if "any" in rule:
        return any(holds(part, events, spans, as_of) for part in rule["any"])
    if "all" in rule:
        return all(holds(part, events, spans, as_of) for part in rule["all"])
    if "not" in rule:
        return not holds(rule["not"], events, spans, as_of)
    if "state" in rule:
        return in_state(rule["state"], events, spans, as_of)
    first = dt.date.min if "days" not in rule else as_of - dt.timedelta(days=rule["days"] - 1)
    matching = [
        event
        for event in events
        if event["behavior"] in rule["behaviors"] and event["day"] >= first and meets(rule.get("where", {}), event)
    ]
    return Decimal(str(rule.get("min", 1))) <= measure(rule, matching) <= Decimal(str(rule.get("max", "Infinity")))


def measure(rule: dict[str, Any], matching: list[dict[str, Any]]) -> Decimal:
    match rule.get("count", "events"):
        case "events":
            return Decimal(len(matching))
        case "distinct_days":
            return Decimal(len({event["day"] for event in matching}))
        case "distinct_orders":
            return Decimal(len({event["order_id"] for event in matching} - {None}))
        case "sum":
            return sum((Decimal(str(event[rule["of"]])) for event in matching if event[rule["of"]] is not None), Decimal(0))
    raise ValueError(rule["count"])


def meets(where: dict[str, Any], event: dict[str, Any]) -> bool:
    for column, condition in where.items():
        value = event.get(column)
        if value is None:
            return False
        if isinstance(condition, dict):
            if not all(COMPARISONS[word](value, bound) for word, bound in condition.items()):
                return False
        elif value not in (condition if isinstance(condition, list) else [condition]):
            return False
    return True


def in_state(name: str, events: list[dict[str, Any]], spans: list[tuple[Any, ...]], as_of: dt.date) -> bool:
    if any(state == name and first <= as_of and (last is None or as_of <= last) for state, first, last in spans):
        return True
    join, leave = JOIN_LEAVE.get(name, (None, None))
    turns = [(event["day"], event["order"], event["behavior"] == leave) for event in events if event["behavior"] in (join, leave)]
    # At the same instant leaving sorts last, and so wins.
    return bool(turns) and not max(turns)[2]
