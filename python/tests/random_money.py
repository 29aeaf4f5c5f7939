"""Random logs of purchases and refunds, for comparisons with the naive twin of money."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
from decimal import Decimal
from typing import Any

import aipl
import pyarrow as pa
from builders import AS_OF, ZONE
from naive_money import DAY, Event

LABELS = ("category", "channel", "launch")
SCHEMA = aipl.EventSchema(
    consumer="consumer", brand="brand", behavior="behavior", time="day", order_id="order_id", amount="amount", category="category",
    channel="channel", attributes={"launch": "launch"},
)  # fmt: skip


def random_log(rng: random.Random, count: int) -> list[Event]:
    """Few of everything, so that orders have several rows, days and brands, and refunds find them or not."""
    events, open_refunds = [], set()
    for _ in range(count):
        behavior = rng.choice(["purchase"] * 6 + ["refund"] * 3 + ["view"])
        event = {
            "consumer": rng.choice(["u1", "u2", "u3", "u4", "u5"]),
            "brand": rng.choice("xyz"),
            "behavior": behavior,
            "day": AS_OF - DAY * rng.choice([-3, 0, 0, 1, 2, 15, 29, 30, 31, 45, 60, 61, 100, 364, 365, 366, 400, 500]),
            "order_id": rng.choice([None, None, *(f"o{at}" for at in range(8))]),
            "amount": rng.choice([None, *(Decimal(rng.randint(1, 20_000)) / 100 for _ in range(6)), Decimal("7.000001")]),
            "category": rng.choice([None, "c1", "c2"]),
            "channel": rng.choice([None, "app", "web"]),
            "launch": rng.choice([None, None, "2024-05-01", "2024-06-01", "2024-06-10"]),
        }
        if behavior == "refund":
            named = (event["consumer"], event["brand"], event["order_id"])
            if event["amount"] is None and named in open_refunds:
                event["amount"] = Decimal("-5.25")
            elif event["amount"] is None:
                open_refunds.add(named)
        elif rng.random() < 0.1:
            event["amount"] = Decimal(0)
        events.append(event)
    return events


def table_of(events: list[Event]) -> pa.Table:
    types = {"day": pa.date32(), "amount": pa.decimal128(18, 6)}
    names = ["consumer", "brand", "behavior", "day", "order_id", "amount", *LABELS]
    return pa.table({name: pa.array([event[name] for event in events], types.get(name, pa.string())) for name in names})


def source_of(events: list[Event], unmapped: str | None = None) -> aipl.Events:
    return aipl.from_arrow(table_of(events), dataclasses.replace(SCHEMA, **({unmapped: None} if unmapped else {})), tz=ZONE)


def rows_of(*rows: tuple[Any, ...]) -> aipl.Events:
    """Rows of (consumer, behavior, day, amount, order_id, then labels) of brand x."""
    names = ("consumer", "behavior", "day", "amount", "order_id", *LABELS)
    full = [dict(zip(names, (*row, *(None,) * (len(names) - len(row))), strict=True)) for row in rows]
    return source_of([{**row, "brand": "x", "day": dt.date.fromisoformat(row["day"])} for row in full])
