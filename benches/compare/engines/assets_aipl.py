"""Consumer assets in aipl: a log, loaded once, and one call a measure."""

import importlib
from collections.abc import Callable
from typing import Any

from engines.assets_questions import (
    ACTIVE_DAYS,
    BOUGHT_BY,
    BRAND,
    BRIDGE,
    EVERY,
    HALVES,
    HORIZON,
    LAST,
    LOOKBACK,
    LOYAL_ON,
    MONTH,
    QUARTER,
    SNAPSHOTS,
    SUNDAYS,
    WEEK,
    YEAR,
)

MODULE = "aipl"
COLUMNS = {
    "consumer": "user_id",
    "brand": "brand",
    "behavior": "action",
    "time": "ts",
    "rating": "rating",
    "amount": "amount",
    "category": "category",
    "channel": "channel",
    "order_id": "order_id",
}


class Engine:
    """One process's log."""

    def __init__(self, path: str, threads: int, clustered: bool) -> None:
        # A log has an order of its own, whatever that of the files.
        del clustered
        self.aipl = importlib.import_module(MODULE)
        self.aipl.set_num_threads(threads)
        self.path = path
        self.model = self.aipl.StageModel.preset("databank")
        self.log: Any = None
        self.loyal: Any = None
        self.buyers: Any = None

    def load(self) -> None:
        """Reads the events."""
        self.log = self.aipl.scan_parquet(self.path, self.aipl.EventSchema(**COLUMNS), tz="Asia/Shanghai").load()

    def warm_up(self) -> None:
        """Finds the audiences; the first question of a process, which is not measured."""
        self.loyal = self.aipl.snapshot(self.log, self.model, as_of=LOYAL_ON).audience(BRAND, "L")
        self.buyers = self.aipl.aac_bridge(self.log, start=BRIDGE[0], end=BOUGHT_BY, active_days=ACTIVE_DAYS).audience(BRAND, "end")

    def formulations(self, measure: str) -> dict[str, Callable[[], Any]]:
        """One way to ask."""
        aipl, log, model = self.aipl, self.log, self.model
        halves = {"period0": HALVES[0], "period1": HALVES[1]}
        quarter = {"start": QUARTER[0], "end": QUARTER[1]}
        ask: dict[str, Callable[[], Any]] = {
            "fast": lambda: aipl.fast(log, model, start=WEEK[0], end=WEEK[1]),
            "consumer_equity": lambda: aipl.consumer_equity(
                log, model, as_of=LAST, horizon=HORIZON, snapshots=SNAPSHOTS, every=EVERY
            ),
            "grow": lambda: aipl.grow(log, **halves),
            "grow_by_category": lambda: aipl.grow(log, **halves, by="category"),
            "gmv_aac": lambda: aipl.gmv_aac(log, start=YEAR[0], end=YEAR[1], step="month", active_days=ACTIVE_DAYS),
            "aac_bridge": lambda: aipl.aac_bridge(log, start=BRIDGE[0], end=BRIDGE[1], active_days=ACTIVE_DAYS),
            "profile": lambda: aipl.profile(log, self.buyers, by=["category", "channel"], behaviors=["purchase"]),
            "crosstab": lambda: aipl.crosstab(log, rows="category", columns="channel", measure="people"),
            "concentration": lambda: aipl.concentration(log, model, self.loyal, start=MONTH[0], end=MONTH[1]),
            "cohort_track": lambda: aipl.cohort_track(log, model, self.loyal, days=list(SUNDAYS)),
            "retention": lambda: aipl.retention(log, start=YEAR[0], end=LAST, unit="month"),
            "rfm": lambda: aipl.rfm(log, as_of=LAST, scheme="mean"),
            "new_vs_existing": lambda: aipl.new_vs_existing(log, **quarter, lookback=LOOKBACK),
            "penetration": lambda: aipl.penetration(log, period=(YEAR[0], LAST)),
            "membership": lambda: aipl.membership(log, **quarter),
        }
        return {"": ask[measure]}

    def table(self, measure: str, answer: Any) -> Any:
        """An answer as an Arrow table; not measured."""
        pa = importlib.import_module("pyarrow")
        found = pa.table(answer)
        if measure != "cohort_track":
            return found
        # Who bought stands in a second table of the same answer.
        bought = pa.table(answer.summary())
        names = ("day", "scope", "stage", "consumers", "share")
        columns = [bought["day"], bought["scope"], pa.array(["bought"] * len(bought)), bought["bought"], bought["bought_share"]]
        return pa.concat_tables([found, pa.table(dict(zip(names, columns, strict=True)))])
