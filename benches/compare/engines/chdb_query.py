"""The snapshot in chDB.

Form that was kept: the reader's own types, rules packed into one integer as in the DuckDB query, and no automatic
PREWHERE. Tried and no faster: one -If aggregate per rule, explicit or automatic PREWHERE, a declared structure with and
without LowCardinality columns, other block sizes and aggregation thresholds, expression compilation on and off.
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

MODULE = "chdb"


def prepare(threads: int) -> Any:
    session = importlib.import_module("chdb.session").Session()
    session.query(f"SET max_threads = {threads}")
    session.query("SET session_timezone = 'UTC'")
    session.query("SET optimize_move_to_prewhere = 0")
    return session


def query(path: str, as_of: dt.date) -> str:
    def begin(day: dt.date) -> str:
        return f"toDateTime64('{day} 00:00:00', 6, 'UTC')"

    end = begin(as_of + dt.timedelta(days=1))
    contact_day = first_day(as_of, CONTACT_DAYS)
    contact = begin(contact_day)
    loyalty = begin(first_day(as_of, LOYALTY_DAYS))
    purchase = begin(first_day(as_of, PURCHASE_DAYS))
    instant = "toUnixTimestamp64Micro(ts)"
    return f"""
    SELECT brand, stage, count() FROM (
      SELECT brand, bitShiftRight(bits, 4) AS view_days,
        multiIf(
          first_purchase < last_purchase OR bitAnd(bits, 4) > 0, 'L',
          bitAnd(bits, 8) > 0, 'P',
          bitAnd(bits, 2) > 0 OR (member > 0 AND member % 2 = 0) OR (fan > 0 AND fan % 2 = 0)
            OR bitAnd(view_days, view_days - 1) > 0, 'I',
          bitAnd(bits, 1) > 0, 'A',
          '') AS stage
      FROM (
        SELECT brand,
          groupBitOr(toUInt32(multiIf(
            action = 'view', if(ts >= {contact},
              bitOr(1, bitShiftLeft(toUInt32(16), dateDiff('day', toDate('{contact_day}'), toDate(ts)))), 0),
            action IN {sql_list(PASSIVE)}, 1,
            action IN {sql_list(ACTIVE)}, 2,
            action = 'review', if(rating >= 4 AND ts >= {loyalty}, 4, 0),
            action = 'purchase', if(ts >= {purchase}, 8, 0),
            0))) AS bits,
          min(if(action = 'purchase' AND ts >= {loyalty}, toDate(ts), toDate(65535))) AS first_purchase,
          max(if(action = 'purchase' AND ts >= {loyalty}, toDate(ts), toDate(0))) AS last_purchase,
          max(multiIf(action = 'member_join', 2 * {instant}, action = 'member_leave', 2 * {instant} + 1, 0)) AS member,
          max(multiIf(action = 'follow', 2 * {instant}, action = 'unfollow', 2 * {instant} + 1, 0)) AS fan
        FROM file('{path}', Parquet)
        WHERE ts < {end} AND (ts >= {contact} OR action IN {sql_list(LONG_LIVED)})
        GROUP BY user_id, brand
      )
    ) WHERE stage != '' GROUP BY brand, stage
    """


def snapshot(session: Any, path: str, as_of: dt.date) -> Any:
    return session.query(query(path, as_of), "TSV").data()


def rows(table: Any) -> list[tuple[str, str, int]]:
    cells = (line.split("\t") for line in table.splitlines())
    return [(brand, stage, int(count)) for brand, stage, count in cells]
