"""Random models, logs and state tables, for comparisons with the naive twin."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import aipl
import pyarrow as pa
from builders import AS_OF

BEHAVIORS = ["view", "click", "search", "favorite", "purchase", "review", "member_join", "member_leave", "follow", "unfollow"]
CITIES = ["Shanghai", "Chengdu", "Xi'an"]


def random_leaf(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.15:
        return {"state": rng.choice(["member", "fan", "vip"])}
    leaf: dict[str, Any] = {"behaviors": rng.sample(BEHAVIORS, rng.randint(1, 4))}
    if rng.random() < 0.8:
        leaf["days"] = rng.choice([1, 2, 7, 15, 30, 365])
    count = rng.choice(["events", "events", "distinct_days", "distinct_orders", "sum"])
    if count != "events":
        leaf["count"] = count
    if count == "sum":
        leaf |= {"of": rng.choice(["amount", "points"]), "min": rng.choice([0, 1, 10.5, 30, -5])}
        if rng.random() < 0.4:
            leaf["max"] = leaf["min"] + rng.choice([0, 20.25, 50])
    else:
        if rng.random() < 0.5:
            leaf["min"] = rng.randint(1, 4)
        if rng.random() < 0.3:
            leaf["max"] = leaf.get("min", 1) + rng.randint(0, 3)
    if rng.random() < 0.35:
        leaf["where"] = rng.choice(
            [
                {"city": rng.choice(CITIES)},
                {"city": rng.sample(CITIES, 2)},
                {"city": {"ne": "Chengdu"}},
                {"amount": {"ge": 10, "lt": 60.5}},
                {"rating": {"gt": 3}, "city": "Shanghai"},
                {"points": {"le": 5}},
            ]
        )
    return leaf


def random_rule(rng: random.Random, depth: int) -> dict[str, Any]:
    kind = rng.random()
    if depth == 0 or kind < 0.5:
        return random_leaf(rng)
    if kind < 0.65:
        return {"not": random_rule(rng, depth - 1)}
    return {rng.choice(["any", "all"]): [random_rule(rng, depth - 1) for _ in range(rng.randint(1, 3))]}


def random_model(rng: random.Random) -> dict[str, Any]:
    stages = []
    for at in range(rng.randint(2, 6)):
        key = rng.choice(["any", "any", "all", "not"])
        rule: Any = random_rule(rng, 2) if key == "not" else [random_rule(rng, 2) for _ in range(rng.randint(1, 3))]
        stages.append({"code": f"S{at}", "name": f"stage {at}", key: rule})
    scope = rng.choice(["brand", "brand", "category", "store"])
    model = {"id": "random", "version": 1, "scope": scope, "stage": stages}
    if scope == "category" and rng.random() < 0.5:
        model["brand_wide_touchpoints"] = ["poster"]
    return model


def random_events(rng: random.Random, count: int, stores: list[str | None]) -> list[dict[str, Any]]:
    events = []
    for at in range(count):
        day = AS_OF - dt.timedelta(days=rng.choice([-2, -1, 0, 0, 1, 2, 6, 7, 8, 14, 15, 29, 30, 100, 364, 365, 500]))
        seconds = rng.choice([0, 1, 43_200, 86_399])
        events.append(
            {
                "consumer": rng.choice([f"u{number}" for number in range(12)]),
                "brand": rng.choice(["x", "y"]),
                "category": rng.choice([None, "c1", "c2", ""]),
                "store": rng.choice(stores),
                "touchpoint": rng.choice([None, "live", "poster", "own"]),
                "behavior": rng.choice(BEHAVIORS),
                "day": day,
                "order": seconds,
                "order_id": rng.choice([None, "o1", "o2", "o3"]),
                "event_id": None if rng.random() < 0.5 else f"e{at}",
                "amount": rng.choice([None, 0.1, 10, 20.25, 60.5, -3]),
                "points": rng.choice([None, 1, 5, 6]),
                "rating": rng.choice([None, 3, 3.5, 5]),
                "city": rng.choice([None, *CITIES]),
            }
        )
    # Some events arrive twice.
    return events + [dict(event) for event in rng.sample(events, count // 10) if event["event_id"]]


def as_arrow(events: list[dict[str, Any]]) -> pa.Table:
    columns = {name: [event[name] for event in events] for name in events[0] if name not in ("day", "order")}
    columns["time"] = pa.array([dt.datetime.combine(e["day"], dt.time()) + dt.timedelta(seconds=e["order"]) for e in events], pa.timestamp("us"))
    for name in ("amount", "rating"):
        columns[name] = pa.array([None if value is None else float(value) for value in columns[name]], pa.float64())
    return pa.table(columns)


FULL = aipl.EventSchema(
    consumer="consumer", brand="brand", behavior="behavior", time="time", category="category", store="store", touchpoint="touchpoint",
    order_id="order_id", event_id="event_id", amount="amount", rating="rating", city="city", attributes={"points": "points"},
)  # fmt: skip


def with_random_states(rng: random.Random, source: aipl.Events, scope: str) -> tuple[aipl.Events, list[tuple[Any, ...]]]:
    names = {"brand": ["x", "y", "z"], "store": ["s1", "s2"], "category": [("x", "c1"), ("y", "c2")]}[scope]
    states = []
    for _ in range(rng.randint(1, 12)):
        first = AS_OF - dt.timedelta(days=rng.choice([-3, 0, 1, 30, 400]))
        last = None if rng.random() < 0.4 else first + dt.timedelta(days=rng.choice([0, 1, 29, 500]))
        states.append((rng.choice(["u1", "u2", "u3", "new"]), rng.choice(names), rng.choice(["member", "fan", "vip"]), first, last))
    columns = ["brand", "category"] if scope == "category" else [scope]
    table = pa.table(
        {
            "consumer": [state[0] for state in states],
            **{column: [state[1] if len(columns) == 1 else state[1][at] for state in states] for at, column in enumerate(columns)},
            "state": [state[2] for state in states],
            "from": pa.array([state[3] for state in states], pa.date32()),
            "to": pa.array([state[4] for state in states], pa.date32()),
        }
    )
    return source.with_states(table, consumer="consumer", scope=columns if scope == "category" else scope), states
