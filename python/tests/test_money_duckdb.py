"""GMV, active consumers, new customers, penetration and RFM of a mid-size log: against DuckDB."""

from __future__ import annotations

import random
from decimal import Decimal

import aipl
import naive_money as naive
import pyarrow as pa
import pytest
from builders import AS_OF, ZONE
from naive_money import DAY
from random_money import SCHEMA
from test_money import JUNE, SPAN, check_rows

LINES = """
create table lines as
select consumer, brand, day, category, coalesce(amount, 0) as amount, coalesce(order_id, 'row ' || row_number() over ()) as number
from log where behavior = 'purchase'
"""
GMV_AAC = """
with steps as (select distinct last_day(day) as last from lines where day between '2024-01-01' and '2024-06-30')
select last, brand, gmv, orders, buyers, gmv / orders, orders / buyers, aac, gmv / aac
from (
  select last, brand, sum(amount) filter (day >= date_trunc('month', last))::double as gmv, count(distinct consumer) as aac,
    count(distinct (consumer, number)) filter (day >= date_trunc('month', last)) as orders,
    count(distinct consumer) filter (day >= date_trunc('month', last)) as buyers
  from steps join lines on day between last - 364 and last group by all
) order by all
"""
NEW_VS_EXISTING = """
with june as (select * from lines where day between '2024-06-01' and '2024-06-30'),
first as (select brand, consumer, min(day) as day from june group by all),
kinds as (
  select *, exists (
    from lines l where l.brand = f.brand and l.consumer = f.consumer and l.day between f.day - 100 and f.day - 1
  ) as existing from first f
),
sums as (
  select brand, existing, count(distinct consumer) as buyers, count(distinct (consumer, number)) as orders, sum(amount)::double as gmv
  from june join kinds k using (brand, consumer) group by all
)
select brand, if(existing, 'existing', 'new'), buyers, buyers / sum(buyers) over each, orders, gmv, gmv / sum(gmv) over each,
  gmv / orders, orders / buyers, 100
from sums window each as (partition by brand) order by brand, existing
"""
PENETRATION = """
with june as (select * from lines where day between '2024-06-01' and '2024-06-30'),
sums as (
  select category, brand, count(distinct consumer) as buyers, count(distinct (consumer, number)) as orders, sum(amount)::double as gmv
  from june where category is not null group by grouping sets ((category), (category, brand))
),
spent as (
  select b.category, b.brand, sum(amount)::double as spent from june j
  join (select distinct category, brand, consumer from june) b on j.category = b.category and j.consumer = b.consumer group by all
)
select b.category, b.brand, n.people, c.buyers, c.buyers / n.people, b.buyers, b.buyers / c.buyers,
  (b.orders / b.buyers) / (c.orders / c.buyers), (b.gmv / b.orders) / (c.gmv / c.orders), b.gmv / c.gmv, b.gmv / spent,
  c.orders, b.orders, c.gmv, b.gmv
from sums b join sums c on c.category = b.category and c.brand is null join spent s on s.category = b.category and s.brand = b.brand,
  (select count(distinct consumer) as people from june) n
where b.brand is not null order by all
"""
RFM = """
with rows as (
  select consumer, brand, date '2024-06-30' - max(day) as recency, count(distinct number) as frequency, sum(amount) as monetary
  from lines where day between date '2024-06-30' - 364 and '2024-06-30' group by all
),
scored as (
  select *, recency * count(*) over each <= sum(recency) over each as r, frequency * count(*) over each >= sum(frequency) over each as f,
    monetary * count(*) over each >= sum(monetary) over each as m
  from rows window each as (partition by brand)
)
select consumer, brand, recency, frequency, monetary::double, 1 + r::int, 1 + f::int, 1 + m::int, r::int || '' || f::int || m::int
from scored order by all
"""


def test_a_mid_size_log_equals_duckdb() -> None:
    duckdb = pytest.importorskip("duckdb")
    rng, count = random.Random(800), 50_000
    days = [AS_OF - DAY * rng.randrange(500) for _ in range(count)]
    consumers = [f"u{int(rng.expovariate(1) * 700):05}" for _ in range(count)]
    log = pa.table(
        {
            "consumer": consumers,
            "brand": rng.choices(["ash", "birch", "cedar", "elm", "fir"], [8, 4, 2, 1, 1], k=count),
            "behavior": rng.choices(["purchase", "view", "favorite"], [5, 4, 1], k=count),
            "day": pa.array(days, pa.date32()),
            "order_id": [None if rng.random() < 0.2 else f"{day}-{rng.randrange(2)}" for day in days],
            "amount": pa.array(rng.choices([None, *(Decimal(at) / 100 for at in range(1, 9_000, 37))], k=count), pa.decimal128(18, 6)),
            "category": rng.choices([None, "c1", "c2", "c3"], k=count),
            "channel": pa.nulls(count, pa.string()),
            "launch": pa.nulls(count, pa.string()),
        }
    )
    connection = duckdb.connect()
    connection.register("log", log)
    connection.execute(LINES)
    source = aipl.from_arrow(log, SCHEMA, tz=ZONE).load()
    scored = aipl.rfm(source, as_of=AS_OF)
    for table, query in (
        (aipl.gmv_aac(source, start="2024-01-01", end=AS_OF), GMV_AAC),
        (aipl.new_vs_existing(source, **SPAN, lookback=100), NEW_VS_EXISTING),
        (aipl.penetration(source, period=JUNE), PENETRATION),
        (scored, RFM),
    ):
        wanted = [dict(zip(table.columns, row, strict=True)) for row in connection.execute(query).fetchall()]
        for row in wanted if table is scored else ():
            row["type"] = naive.TYPES[row["type"]]
        assert len(wanted) >= 10
        check_rows(table, wanted)
