"""The snapshot in DuckDB.

Form that was kept: a filter simple enough to be pushed into the Parquet reader; all rules without a value of their own
packed into one integer, so that a pair needs five aggregates and not ten. Days with a view are bits 4-18, so "two
distinct days" is "more than one bit". Tried and slower: one FILTER aggregate per rule, the exact filter in WHERE, two
scans with UNION ALL, small integer codes for the actions.
"""

import datetime as dt
import importlib
from typing import Any

from engines.databank import (
    ACTIVE,
    CONTACT_DAYS,
    LONG_LIVED,
    LOYALTY_DAYS,
    PASSIVE,
    PURCHASE_DAYS,
    first_day,
    sql_list,
)

MODULE = "duckdb"


def prepare(threads: int) -> Any:
    connection = importlib.import_module("duckdb").connect()
    connection.execute(f"SET threads = {threads}")
    connection.execute("SET preserve_insertion_order = false")
    return connection


def query(path: str, as_of: dt.date) -> str:
    end = f"TIMESTAMP '{as_of + dt.timedelta(days=1)}'"
    contact = f"TIMESTAMP '{first_day(as_of, CONTACT_DAYS)}'"
    loyalty = f"TIMESTAMP '{first_day(as_of, LOYALTY_DAYS)}'"
    purchase = f"TIMESTAMP '{first_day(as_of, PURCHASE_DAYS)}'"
    return f"""
    WITH events AS (
      SELECT user_id, brand,
        CASE
          WHEN action = 'view' THEN
            CASE WHEN ts >= {contact} THEN 1 | (16 << date_diff('day', {contact}::DATE, ts::DATE)::INT) ELSE 0 END
          WHEN action IN {sql_list(PASSIVE)} THEN 1
          WHEN action IN {sql_list(ACTIVE)} THEN 2
          WHEN action = 'review' THEN CASE WHEN rating >= 4 AND ts >= {loyalty} THEN 4 ELSE 0 END
          WHEN action = 'purchase' THEN CASE WHEN ts >= {purchase} THEN 8 ELSE 0 END
          ELSE 0
        END::INT AS bit,
        CASE WHEN action = 'purchase' AND ts >= {loyalty} THEN ts::DATE END AS purchase_day,
        CASE action WHEN 'member_join' THEN 2 * epoch_us(ts) WHEN 'member_leave' THEN 2 * epoch_us(ts) + 1 END AS member,
        CASE action WHEN 'follow' THEN 2 * epoch_us(ts) WHEN 'unfollow' THEN 2 * epoch_us(ts) + 1 END AS fan
      FROM read_parquet('{path}')
      WHERE ts < {end} AND (ts >= {contact} OR action IN {sql_list(LONG_LIVED)})
    ), pairs AS (
      SELECT brand, bit_or(bit) AS bits, bit_or(bit) >> 4 AS view_days,
        min(purchase_day) AS first_purchase, max(purchase_day) AS last_purchase,
        max(member) AS member, max(fan) AS fan
      FROM events GROUP BY user_id, brand
    ), labels AS (
      SELECT brand,
        CASE
          WHEN first_purchase < last_purchase OR bits & 4 > 0 THEN 'L'
          WHEN bits & 8 > 0 THEN 'P'
          WHEN bits & 2 > 0 OR member % 2 = 0 OR fan % 2 = 0 OR view_days & (view_days - 1) > 0 THEN 'I'
          WHEN bits & 1 > 0 THEN 'A'
        END AS stage
      FROM pairs
    )
    SELECT brand, stage, count(*) FROM labels WHERE stage IS NOT NULL GROUP BY brand, stage
    """


def snapshot(connection: Any, path: str, as_of: dt.date) -> Any:
    return connection.execute(query(path, as_of)).fetchall()


def rows(table: Any) -> list[tuple[str, str, int]]:
    return list(table)
