"""What `assets.py` asks both engines: the measures, their days, and what is told apart by which columns."""

import datetime as dt
from dataclasses import dataclass

BRAND = "b000"
"""Whose buyers and loyal consumers are the audiences."""

YEAR = (dt.date(2024, 1, 1), dt.date(2024, 12, 31))
LAST = dt.date(2024, 12, 30)
"""The last day of a generated log of 365 days."""
WEEK = (dt.date(2024, 12, 16), dt.date(2024, 12, 22))
HALVES = ((dt.date(2024, 1, 1), dt.date(2024, 6, 30)), (dt.date(2024, 7, 1), LAST))
BRIDGE = (dt.date(2024, 6, 30), LAST)
QUARTER = (dt.date(2024, 10, 1), LAST)
MONTH = (dt.date(2024, 12, 1), LAST)
SUNDAYS = tuple(dt.date(2024, 12, 1) + dt.timedelta(weeks=week) for week in range(5))

LOYAL_ON = dt.date(2024, 11, 30)
"""The day whose loyal consumers of `BRAND` are tracked."""
BOUGHT_BY = LAST
"""Who bought from `BRAND` in the 365 days to this day is profiled."""

HORIZON, SNAPSHOTS, EVERY = 90, 3, 30
ACTIVE_DAYS = 365
LOOKBACK = 365
FEW_BUYERS = 30
"""A stage with fewer past buyers borrows; a cell with fewer people is small."""
Z95 = 1.959963984540054


@dataclass(frozen=True)
class Measure:
    """What tells the rows of an answer apart, and which columns a cancelling difference is to be judged against."""

    keys: tuple[str, ...]
    scale: tuple[str, ...] = ()


MEASURES = {
    "fast": Measure(("scope",)),
    "consumer_equity": Measure(("scope", "stage")),
    "grow": Measure(("scope",), ("gmv_before", "gmv_after")),
    "grow_by_category": Measure(("scope", "category"), ("gmv_before", "gmv_after")),
    "gmv_aac": Measure(("day", "scope")),
    "aac_bridge": Measure(("scope",)),
    "profile": Measure(("tag", "value")),
    "crosstab": Measure(("row", "column")),
    "concentration": Measure(("day", "scope", "stage")),
    "cohort_track": Measure(("day", "scope", "stage")),
    "retention": Measure(("scope", "cohort", "period")),
    "rfm": Measure(("consumer", "scope")),
    "new_vs_existing": Measure(("scope", "customers")),
    "penetration": Measure(("category", "scope")),
    "membership": Measure(("scope",)),
}
