"""The snapshot in Polars.

Form that was kept: the streaming engine, columns decoded after the filter, brands as categories, values computed per
row and then plain minima and maxima per pair. Tried and slower or larger: a filtered aggregate per rule, the in-memory
engine, the other ways to read in parallel, brands as text; bit sets as in the DuckDB query make no difference.
"""

import datetime as dt
import importlib
from typing import Any

from engines.databank import (
    ACTIVE,
    CONTACT_DAYS,
    FAN,
    LONG_LIVED,
    LOYALTY_DAYS,
    MEMBER,
    PASSIVE,
    PURCHASE_DAYS,
    first_day,
    midnight,
)

MODULE = "polars"
DAY_US = 86_400_000_000


def prepare(threads: int) -> Any:
    # Polars takes its threads from POLARS_MAX_THREADS, which the caller has set.
    polars = importlib.import_module("polars")
    if polars.thread_pool_size() != threads:
        raise RuntimeError(f"Polars runs {polars.thread_pool_size()} threads, not {threads}")
    return polars


def snapshot(pl: Any, path: str, as_of: dt.date) -> Any:
    col, when = pl.col, pl.when
    action, time = col("action"), col("ts")

    def since(days: int) -> Any:
        return time >= pl.lit(midnight(first_day(as_of, days)), dtype=pl.Datetime("us"))

    def state(on_off: tuple[str, str]) -> Any:
        # Even if it turns the state on; the odd one, off, wins at the same instant.
        on, off = on_off
        return when(action == on).then(2 * instant).when(action == off).then(2 * instant + 1)

    def code(value: int) -> Any:
        return pl.lit(value, dtype=pl.UInt8)

    end = pl.lit(midnight(as_of + dt.timedelta(days=1)), dtype=pl.Datetime("us"))
    instant = time.to_physical()
    day = (instant // DAY_US).cast(pl.Int32)
    recent = since(CONTACT_DAYS)
    rank = (
        when((action == "review") & (col("rating") >= 4) & since(LOYALTY_DAYS))
        .then(code(4))
        .when((action == "purchase") & since(PURCHASE_DAYS))
        .then(code(3))
        .when(action.is_in(ACTIVE) & recent)
        .then(code(2))
        .when(action.is_in(PASSIVE) & recent)
        .then(code(1))
        .otherwise(code(0))
    )
    pairs = (
        pl.scan_parquet(path, parallel="prefiltered")
        .filter((time < end) & (recent | action.is_in(LONG_LIVED)))
        .select(
            "user_id",
            col("brand").cast(pl.Categorical),
            rank=rank,
            purchase_day=when((action == "purchase") & since(LOYALTY_DAYS)).then(day),
            view_day=when((action == "view") & recent).then(day),
            member=state(MEMBER),
            fan=state(FAN),
        )
        .group_by("user_id", "brand")
        .agg(
            col("rank", "member", "fan").max(),
            first_purchase=col("purchase_day").min(),
            last_purchase=col("purchase_day").max(),
            first_view=col("view_day").min(),
            last_view=col("view_day").max(),
        )
    )
    loyal = (col("rank") == 4) | (col("first_purchase") < col("last_purchase"))
    interested = (
        (col("rank") == 2)
        | (col("member") % 2 == 0)
        | (col("fan") % 2 == 0)
        | (col("first_view") < col("last_view"))
    )
    stage = (
        when(loyal)
        .then(pl.lit("L"))
        .when(col("rank") == 3)
        .then(pl.lit("P"))
        .when(interested)
        .then(pl.lit("I"))
        .when(col("rank") == 1)
        .then(pl.lit("A"))
    )
    counts = pairs.select("brand", stage=stage).drop_nulls("stage").group_by("brand", "stage").len()
    return counts.collect(engine="streaming")


def rows(table: Any) -> list[tuple[str, str, int]]:
    return [(str(brand), stage, count) for brand, stage, count in table.rows()]
