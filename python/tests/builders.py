"""Small events and plain-data answers, for tests."""

from __future__ import annotations

import datetime as dt
from typing import Any

import aipl
import pyarrow as pa

SCHEMA = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="time")
DATABANK = aipl.StageModel.preset("databank")
ZONE = "Asia/Shanghai"
AS_OF = dt.date(2024, 6, 30)

# (user, brand, action, day); in DataBank's stages on 2024-06-30: u1 A, u2 I, u3 P, u4 L of acme, u1 P of zeta.
ROWS = [
    ("u1", "acme", "impression", "2024-06-20"),
    ("u2", "acme", "favorite", "2024-06-29"),
    ("u3", "acme", "purchase", "2024-01-05"),
    ("u4", "acme", "purchase", "2024-05-01"),
    ("u4", "acme", "purchase", "2024-06-01"),
    ("u1", "zeta", "purchase", "2024-06-30"),
    ("u5", "zeta", "view", "2024-01-01"),
]
STAGES = {("u1", "acme"): "A", ("u2", "acme"): "I", ("u3", "acme"): "P", ("u4", "acme"): "L", ("u1", "zeta"): "P"}


def table(rows: list[tuple[Any, ...]] = ROWS, time: pa.DataType | None = None) -> pa.Table:
    users, brands, actions, days = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], [])
    times = pa.array(days, pa.string()).cast(pa.timestamp("us")).cast(time or pa.timestamp("us"))
    users = pa.array(users, None if rows else pa.string())
    return pa.table({"user": users, "brand": pa.array(brands, pa.string()), "action": pa.array(actions, pa.string()), "time": times})


def labels(events: aipl.Events, model: aipl.StageModel = DATABANK, as_of: Any = AS_OF, **options: Any) -> dict[tuple[Any, Any], str]:
    """(consumer, scope) to stage."""
    snap = aipl.snapshot(events, model, as_of=as_of, **options)
    return {(row["consumer"], row["scope"]): row["stage"] for row in snap.labels().to_dicts()}


def from_rows(rows: list[tuple[Any, ...]] = ROWS, **options: Any) -> aipl.Events:
    return aipl.from_arrow(table(rows), SCHEMA, tz=ZONE, **options)
