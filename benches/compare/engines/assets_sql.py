"""Measures of purchases in DuckDB, over the table that `assets_duckdb.py` loads.

Each function gives by name the formulations that came close to each other; all are measured, and the faster one counts. What is said to be
tried and slower, or no faster, was so on a million events.

No query sorts its answer, or lists rows that tell of nothing. None looks for refunds, which the generated data does not have, or dates an
order by its first line: an order lies within a day here.
"""

import datetime as dt
from collections.abc import Callable

from engines.assets_questions import ACTIVE_DAYS, BRIDGE, FEW_BUYERS, HALVES, LAST, LOOKBACK, QUARTER, YEAR, Z95
from engines.stages_sql import PURCHASE, STAGE_MEASURES, before, between, date, toggle_runs


def grow_of(by: str) -> dict[str, str]:
    """GROW, in all (`""`) or within the groups of a column.

    The logarithmic mean is written as (b - a) / (2 atanh((b - a) / (b + a))), which is exact where both are nearly the same. Tried and
    slower: a scan a period; orders by consumer and brand with `count(DISTINCT …)`; the periods as groups that are pivoted afterward.
    """
    (first, middle), (start, last) = HALVES
    assert (start - middle).days == 1
    group = f"brand, {by}" if by else "brand"
    name = f"brand::VARCHAR AS scope, {by}::VARCHAR AS {by}" if by else "brand::VARCHAR AS scope"
    rows = f"FROM events WHERE {PURCHASE} AND {between(first, last)}"
    early, late = f"day <= {date(middle)}", f"day > {date(middle)}"
    shown = f"""
      money AS (SELECT * REPLACE (coalesce(g0, 0)::DOUBLE AS g0, coalesce(g1, 0)::DOUBLE AS g1) FROM sums),
      means AS (SELECT *, CASE WHEN g0 = g1 THEN g0 ELSE (g1 - g0) / (2 * atanh((g1 - g0) / (g1 + g0))) END AS mean FROM money),
      parts AS (
        SELECT *, CASE WHEN o0 > 0 AND o1 > 0 THEN mean * ln(b1 / b0) ELSE {"0" if by else "g1 - g0"} END AS penetration,
          CASE WHEN o0 > 0 AND o1 > 0 THEN mean * ln((o1 / b1) / (o0 / b0)) ELSE 0 END AS repurchase,
          CASE WHEN o0 > 0 AND o1 > 0 THEN 0 ELSE {"g1 - g0" if by else "0"} END AS extension
        FROM means)
      SELECT {name}, g0 AS gmv_before, g1 AS gmv_after, g1 - g0 AS change, penetration, repurchase,
        g1 - g0 - penetration - repurchase - extension AS price, extension, 0::DOUBLE AS new_products,
        b0 AS buyers_before, b1 AS buyers_after, o0 AS orders_before, o1 AS orders_after
      FROM parts"""
    distinct = f"""WITH
      sums AS (
        SELECT {group}, count(DISTINCT user_id) FILTER ({early}) AS b0, count(DISTINCT user_id) FILTER ({late}) AS b1,
          count(DISTINCT order_id) FILTER ({early}) AS o0, count(DISTINCT order_id) FILTER ({late}) AS o1,
          sum(amount) FILTER ({early}) AS g0, sum(amount) FILTER ({late}) AS g1
        {rows} GROUP BY {group}), {shown}"""
    orders = f"""WITH
      orders AS (SELECT {group}, user_id, order_id, min(day) AS day, sum(amount) AS paid {rows} GROUP BY {group}, user_id, order_id),
      buyers AS (
        SELECT {group}, count(*) FILTER ({early}) AS o0, count(*) FILTER ({late}) AS o1,
          sum(paid) FILTER ({early}) AS g0, sum(paid) FILTER ({late}) AS g1
        FROM orders GROUP BY {group}, user_id),
      sums AS (
        SELECT {group}, count(*) FILTER (o0 > 0) AS b0, count(*) FILTER (o1 > 0) AS b1, sum(o0)::BIGINT AS o0, sum(o1)::BIGINT AS o1,
          sum(g0) AS g0, sum(g1) AS g1
        FROM buyers GROUP BY {group}), {shown}"""
    return {"orders": orders, "distinct": distinct}


def grow() -> dict[str, str]:
    """GROW of each brand."""
    return grow_of("")


def grow_by_category() -> dict[str, str]:
    """GROW of each brand within categories."""
    return grow_of("category")


def calendar(first: dt.date, last: dt.date, back: int = 0) -> str:
    """A CTE of days up to the last: the month of a day, and the months at whose close a purchase of that day still counts, as bits.

    Tried and slower: `date_diff` or `year` and `month` of each purchase; a CASE over months.
    """
    months = (last.year - first.year) * 12 + last.month - first.month + 1

    def month(day: str) -> str:
        return f"greatest(least(date_diff('month', {date(first)}, {day}), {months}), 0)"

    start = first - dt.timedelta(days=back)
    return f"""calendar AS MATERIALIZED (
        SELECT day, CASE WHEN day >= {date(first)} THEN {month("day")} END::INTEGER AS month,
          ((1 << {month(f"(day + {ACTIVE_DAYS})::DATE")}) - (1 << {month("day")}))::INTEGER AS mask
        FROM (SELECT unnest(generate_series({date(start)}, {date(last)}, INTERVAL 1 DAY))::DATE AS day))"""


def gmv_aac() -> dict[str, str]:
    """GMV and active consumers by month; the months of which a buyer is an active consumer are bits of a number.

    Tried and slower: purchases joined with the months that they count for, which is six rows for each.
    """
    first, last = YEAR
    days = calendar(first, last, ACTIVE_DAYS)
    rows = f"FROM events JOIN calendar USING (day) WHERE {PURCHASE} AND {between(before(first, ACTIVE_DAYS), last)}"
    shown = f"""
      runs AS (SELECT brand, mask, count(*) AS n FROM masks GROUP BY ALL),
      aac AS (
        SELECT month, brand, sum(n)::BIGINT AS aac FROM runs, (SELECT unnest(range({last.month}))::INTEGER AS month)
        WHERE (mask >> month) & 1 = 1 GROUP BY ALL)
      SELECT last_day({date(first)} + to_months(month)) AS day, brand::VARCHAR AS scope, coalesce(gmv, 0)::DOUBLE AS gmv,
        coalesce(orders, 0) AS orders, coalesce(buyers, 0) AS buyers, gmv::DOUBLE / orders AS aov, orders / buyers AS frequency, aac,
        coalesce(gmv, 0)::DOUBLE / aac AS gmv_per_aac
      FROM aac LEFT JOIN cells USING (month, brand)"""
    distinct = f"""WITH {days},
      cells AS (
        SELECT month, brand, sum(amount) AS gmv, count(DISTINCT order_id) AS orders, count(DISTINCT user_id) AS buyers
        {rows} AND month IS NOT NULL GROUP BY ALL),
      masks AS (SELECT brand, bit_or(mask) AS mask {rows} GROUP BY brand, user_id), {shown}"""
    orders = f"""WITH {days},
      orders AS (SELECT brand, user_id, month, order_id, sum(amount) AS paid, bit_or(mask) AS mask {rows} GROUP BY ALL),
      buyers AS (
        SELECT brand, user_id, month, count(*) AS orders, sum(paid) AS paid, bit_or(mask) AS mask
        FROM orders GROUP BY brand, user_id, month),
      cells AS (SELECT month, brand, sum(paid) AS gmv, sum(orders)::BIGINT AS orders, count(*) AS buyers FROM buyers GROUP BY month, brand),
      masks AS (SELECT brand, bit_or(mask) AS mask FROM buyers GROUP BY brand, user_id), {shown}"""
    return {"orders": orders, "distinct": distinct}


def aac_bridge() -> dict[str, str]:
    """The bridge of active consumers. Tried and no faster: one `bool_or` a class."""
    start, end = BRIDGE
    rows = f"FROM events WHERE {PURCHASE} AND day <= {date(end)} GROUP BY brand, user_id"
    since, until = date(before(start, ACTIVE_DAYS)), date(before(end, ACTIVE_DAYS))
    shown = """
      SELECT brand::VARCHAR AS scope, count(*) FILTER (at_start) AS start, count(*) FILTER (at_end AND NOT ever) AS new,
        count(*) FILTER (at_end AND ever AND NOT at_start) AS returned, count(*) FILTER (at_start AND NOT at_end) AS lapsed,
        count(*) FILTER (at_end) AS "end"
      FROM buyers GROUP BY brand"""
    bits = f"""WITH
      found AS (
        SELECT brand, bit_or(CASE WHEN day > {date(start)} THEN 0 WHEN day < {since} THEN 1 ELSE 3 END
          | CASE WHEN day < {until} THEN 0 ELSE 4 END) AS bits
        {rows}),
      buyers AS (SELECT brand, bits & 1 > 0 AS ever, bits & 2 > 0 AS at_start, bits & 4 > 0 AS at_end FROM found) {shown}"""
    days = f"""WITH
      found AS (SELECT brand, max(day) AS last, max(CASE WHEN day <= {date(start)} THEN day END) AS past {rows}),
      buyers AS (
        SELECT brand, past IS NOT NULL AS ever, coalesce(past >= {since}, false) AS at_start, last >= {until} AS at_end
        FROM found) {shown}"""
    return {"bits": bits, "days": days}


INDEX = f"""
      SELECT tag, value, audience, audience_total, share, base, base_total, base_share, 100 * share / base_share AS tgi,
        tgi * exp(-{Z95} * error) AS tgi_low, tgi * exp({Z95} * error) AS tgi_high,
        (share - base_share) / sqrt((share * (1 - share) + base_share * (1 - base_share)) / 2) AS difference,
        audience < {FEW_BUYERS} AS small
      FROM (
        SELECT *, audience / audience_total AS share, base / base_total AS base_share,
          CASE WHEN audience > 0 THEN sqrt((1 - share) / audience + (1 - base_share) / base) END AS error
        FROM counts, totals)"""


def profile() -> dict[str, str]:
    """Categories and channels of a brand's buyers beside everybody's.

    Tried and slower: grouping sets. Tried and no faster: `count(DISTINCT …)` by value.
    """
    inside = "user_id IN (FROM buyers)"
    values = "(SELECT unnest(enum_range(NULL::{0}_t))::{0}_t AS value)"
    own = f"FROM events WHERE {PURCHASE} GROUP BY ALL"
    counted = f"count(*) AS base, count(*) FILTER ({inside}) AS audience"
    distinct = f"""WITH
      totals AS (
        SELECT count(*) AS base_total, count(*) FILTER ({inside}) AS audience_total
        FROM (SELECT DISTINCT user_id FROM events WHERE {PURCHASE})),
      counts AS (
        SELECT 'category' AS tag, category::VARCHAR AS value, {counted} FROM (SELECT user_id, category {own}) GROUP BY category
        UNION ALL SELECT 'channel', channel::VARCHAR, {counted} FROM (SELECT user_id, channel {own}) GROUP BY channel) {INDEX}"""
    bits = f"""WITH
      people AS MATERIALIZED (
        SELECT user_id, bit_or((1::BIGINT << enum_code(category)) | (1::BIGINT << (32 + enum_code(channel)))) AS bits
        FROM events WHERE {PURCHASE} GROUP BY user_id),
      masks AS (SELECT bits, {inside} AS inside FROM people),
      totals AS (SELECT count(*) AS base_total, count(*) FILTER (inside) AS audience_total FROM masks),
      places AS (
        SELECT 'category' AS tag, value::VARCHAR AS value, enum_code(value)::INTEGER AS place FROM {values.format("category")}
        UNION ALL SELECT 'channel', value::VARCHAR, 32 + enum_code(value)::INTEGER FROM {values.format("channel")}),
      counts AS (
        SELECT tag, value, count(*) AS base, count(*) FILTER (inside) AS audience
        FROM masks, places WHERE (bits >> place) & 1 = 1 GROUP BY ALL) {INDEX}"""
    return {"distinct": distinct, "bits": bits}


def crosstab() -> dict[str, str]:
    """Buyers by category and channel. Tried and no faster: `count(DISTINCT …)` over a CUBE; cells as bits of a HUGEINT."""

    def whole(rows: str, columns: str) -> str:
        return f"""WITH
      people AS MATERIALIZED (SELECT DISTINCT user_id, category, channel FROM events WHERE {PURCHASE}),
      cells AS (SELECT category, channel, count(*) AS people FROM people GROUP BY ALL),
      by_row AS (SELECT category, {rows} GROUP BY ALL),
      by_column AS (SELECT channel, {columns} GROUP BY ALL),
      everybody AS (SELECT count(DISTINCT user_id) AS total FROM people)
      SELECT category::VARCHAR AS "row", channel::VARCHAR AS "column", people, row_total, column_total, total,
        people / column_total AS share, 100 * (people / column_total) / (row_total / total) AS tgi, people < {FEW_BUYERS} AS small
      FROM cells JOIN by_row USING (category) JOIN by_column USING (channel), everybody"""

    counted = "count(DISTINCT user_id) AS {} FROM people"
    return {
        "distinct": whole(
            "count(*) AS row_total FROM (SELECT DISTINCT user_id, category FROM people)",
            "count(*) AS column_total FROM (SELECT DISTINCT user_id, channel FROM people)",
        ),
        "counted": whole(counted.format("row_total"), counted.format("column_total")),
    }


def retention() -> dict[str, str]:
    """Months in which new buyers came back, as bits. Tried and slower: the first day by a window over purchases.

    The generated log begins with the range, so nobody began before it.
    """
    start, end = YEAR[0], LAST
    rows = f"FROM events JOIN calendar USING (day) WHERE {PURCHASE} AND day <= {date(end)}"
    last = (end.year - start.year) * 12 + end.month - start.month
    shown = f"""
      sizes AS (SELECT brand, cohort, mask, count(*) AS n FROM buyers GROUP BY ALL),
      cells AS (
        SELECT brand, cohort, period, sum(n)::BIGINT AS size, coalesce(sum(n) FILTER ((mask >> period) & 1 = 1), 0)::BIGINT AS retained
        FROM sizes, (SELECT unnest(range({last + 1}))::INTEGER AS period) WHERE period <= {last} - cohort GROUP BY ALL)
      SELECT brand::VARCHAR AS scope, ({date(start)} + to_months(cohort))::DATE AS cohort, period, size AS cohort_size, retained,
        retained / size AS rate, last_day(({date(start)} + to_months(cohort + period))::DATE) <= {date(end)} AS complete
      FROM cells"""
    months = f"""WITH {calendar(start, end)},
      months AS (SELECT brand, user_id, month, min(day) < max(day) AS again {rows} GROUP BY brand, user_id, month),
      buyers AS (
        SELECT brand, min(month) AS cohort, ((bit_or(1 << month) >> min(month)) & ~1) | arg_min(again, month)::INTEGER AS mask
        FROM months GROUP BY brand, user_id), {shown}"""
    firsts = f"""WITH {calendar(start, end)},
      firsts AS (SELECT brand, user_id, min(day) AS first, min(month) AS cohort {rows} GROUP BY brand, user_id),
      buyers AS (
        SELECT brand, cohort, bit_or(CASE WHEN day > first THEN 1 << (month - cohort) ELSE 0 END) AS mask
        FROM firsts JOIN (SELECT brand, user_id, day, month {rows}) USING (brand, user_id) GROUP BY brand, user_id, cohort), {shown}"""
    return {"months": months, "firsts": firsts}


TYPES = "['potential', 'key_win_back', 'general_keep', 'key_keep', 'general_develop', 'key_develop', 'general_value', 'high_value']"


def rfm() -> dict[str, str]:
    """Scores of all buyers by the means of their brand; sums are compared, as a mean is not exact. Tried and slower: means by a window."""
    rows = f"FROM events WHERE {PURCHASE} AND {between(before(LAST, ACTIVE_DAYS), LAST)}"
    last = f"{date(LAST)} - max(day) AS r"
    shown = f"""
      sums AS (SELECT brand, count(*) AS n, sum(r) AS all_r, sum(f) AS all_f, sum(m) AS all_m FROM buyers GROUP BY brand),
      scored AS (
        SELECT *, (r * n <= all_r)::INTEGER AS high_r, (f * n >= all_f)::INTEGER AS high_f, (m * n >= all_m)::INTEGER AS high_m
        FROM buyers JOIN sums USING (brand))
      SELECT user_id AS consumer, brand::VARCHAR AS scope, r AS recency, f AS frequency, m::DOUBLE AS monetary,
        1 + high_r AS r_score, 1 + high_f AS f_score, 1 + high_m AS m_score, {TYPES}[1 + 4 * high_r + 2 * high_f + high_m] AS type
      FROM scored"""
    orders = f"""WITH
      orders AS (SELECT user_id, brand, order_id, max(day) AS day, sum(amount) AS paid {rows} GROUP BY ALL),
      buyers AS MATERIALIZED (SELECT user_id, brand, {last}, count(*) AS f, sum(paid) AS m FROM orders GROUP BY user_id, brand), {shown}"""
    distinct = f"""WITH
      buyers AS MATERIALIZED (
        SELECT user_id, brand, {last}, count(DISTINCT order_id) AS f, sum(amount) AS m {rows} GROUP BY user_id, brand), {shown}"""
    return {"orders": orders, "distinct": distinct}


def new_vs_existing() -> dict[str, str]:
    """New and existing customers.

    Tried and slower: `count(DISTINCT …)` by consumer over both times. Tried and no faster: an anti join with the time before.
    """
    start, end = QUARTER
    rows = f"FROM events WHERE {PURCHASE} AND day BETWEEN {date(start)} - {LOOKBACK} AND {date(end)}"
    now, past = f"day >= {date(start)}", f"day < {date(start)}"
    shown = f"""
      sums AS (
        SELECT brand, coalesce(past >= first - {LOOKBACK}, false) AS existing, count(*) AS buyers, sum(orders)::BIGINT AS orders,
          sum(paid) AS gmv
        FROM buyers WHERE first IS NOT NULL GROUP BY ALL)
      SELECT brand::VARCHAR AS scope, CASE WHEN existing THEN 'existing' ELSE 'new' END AS customers, buyers, orders, gmv::DOUBLE AS gmv,
        buyers / sum(buyers) OVER brands AS buyers_share, gmv::DOUBLE / (sum(gmv) OVER brands)::DOUBLE AS gmv_share,
        gmv::DOUBLE / orders AS aov, orders / buyers AS frequency, {LOOKBACK} AS lookback
      FROM sums WINDOW brands AS (PARTITION BY brand)"""
    orders = f"""WITH
      orders AS (SELECT brand, user_id, order_id, min(day) AS day, sum(amount) AS paid {rows} GROUP BY ALL),
      buyers AS (
        SELECT brand, min(day) FILTER ({now}) AS first, max(day) FILTER ({past}) AS past, count(*) FILTER ({now}) AS orders,
          sum(paid) FILTER ({now}) AS paid
        FROM orders GROUP BY brand, user_id), {shown}"""
    apart = f"""WITH
      ours AS (
        SELECT brand, user_id, min(day) AS first, count(DISTINCT order_id) AS orders, sum(amount) AS paid {rows} AND {now}
        GROUP BY brand, user_id),
      before AS (SELECT brand, user_id, max(day) AS past {rows} AND {past} GROUP BY brand, user_id),
      buyers AS (FROM ours LEFT JOIN before USING (brand, user_id)), {shown}"""
    return {"orders": orders, "apart": apart}


def penetration() -> dict[str, str]:
    """Penetration of categories and brands. Tried and no faster: counts by grouping sets, which leave requirements to be found."""
    start, end = YEAR[0], LAST
    rows = f"FROM events WHERE {PURCHASE} AND {between(start, end)}"
    shown = f"""
      brands AS (
        SELECT category, brand, count(*) AS brand_buyers, sum(own.orders)::BIGINT AS brand_orders, sum(own.paid)::DOUBLE AS b,
          sum(whole.paid)::DOUBLE AS needs
        FROM own JOIN whole USING (category, user_id) GROUP BY category, brand),
      everybody AS (SELECT count(DISTINCT user_id) AS reference {rows})
      SELECT category::VARCHAR AS category, brand::VARCHAR AS scope, reference,
        category_buyers, brand_buyers, category_orders, brand_orders,
        category_buyers / reference AS category_penetration, brand_buyers / category_buyers AS brand_penetration,
        (brand_orders / brand_buyers) / (category_orders / category_buyers) AS relative_frequency,
        (b / brand_orders) / (c / category_orders) AS relative_price, b / c AS gmv_share, b / needs AS requirements_share,
        c AS category_gmv, b AS brand_gmv
      FROM brands JOIN categories USING (category), everybody"""
    orders = f"""WITH
      orders AS MATERIALIZED (SELECT category, user_id, brand, order_id, sum(amount) AS paid {rows} GROUP BY ALL),
      own AS (SELECT category, user_id, brand, count(*) AS orders, sum(paid) AS paid FROM orders GROUP BY category, user_id, brand),
      whole AS (SELECT category, user_id, count(DISTINCT order_id) AS orders, sum(paid) AS paid FROM orders GROUP BY category, user_id),
      categories AS (
        SELECT category, count(*) AS category_buyers, sum(orders)::BIGINT AS category_orders, sum(paid)::DOUBLE AS c
        FROM whole GROUP BY category), {shown}"""
    distinct = f"""WITH
      own AS MATERIALIZED (
        SELECT category, user_id, brand, count(DISTINCT order_id) AS orders, sum(amount) AS paid {rows} GROUP BY category, user_id, brand),
      whole AS MATERIALIZED (SELECT category, user_id, sum(paid) AS paid FROM own GROUP BY category, user_id),
      ids AS (SELECT category, count(DISTINCT order_id) AS ids {rows} GROUP BY category),
      categories AS (
        SELECT category, count(*) AS category_buyers, any_value(ids) AS category_orders, sum(paid)::DOUBLE AS c
        FROM whole JOIN ids USING (category) GROUP BY category), {shown}"""
    return {"orders": orders, "distinct": distinct}


def membership() -> dict[str, str]:
    """Members and fans over a quarter. `anti`: visitors who were no members are joined; `less`: members are taken off all visitors.

    Tried and slower: an ASOF join of orders with joins and leaves.
    """
    start, end = QUARTER
    sizes = {
        "members_start": "m0",
        "members": "m1",
        "new_members": "m1 AND NOT m0",
        "lost_members": "m0 AND NOT m1",
        "fans_start": "f0",
        "fans": "f1",
        "new_fans": "f1 AND NOT f0",
        "lost_fans": "f0 AND NOT f1",
        "members_and_fans": "m1 AND f1",
    }
    rates = {
        "join_rate": ("new_members", "nonmember_visitors"),
        "member_buyers_share": ("member_buyers", "buyers"),
        "member_orders_share": ("member_orders", "orders"),
        "member_gmv_share": ("member_gmv", "gmv"),
        "member_frequency": ("member_orders", "member_buyers"),
        "nonmember_frequency": ("nonmember_orders", "nonmember_buyers"),
        "member_aov": ("member_gmv", "member_orders"),
        "nonmember_aov": ("nonmember_gmv", "nonmember_orders"),
        "member_repurchase_rate": ("member_repeat_buyers", "member_buyers"),
        "nonmember_repurchase_rate": ("nonmember_repeat_buyers", "nonmember_buyers"),
    }

    def whole(visitors: str) -> str:
        return f"""WITH
      toggled AS MATERIALIZED ({toggle_runs(end)}),
      states AS MATERIALIZED (
        SELECT user_id, brand, bool_or(NOT fan AND early) AS m0, bool_or(NOT fan AND late) AS m1, bool_or(fan AND early) AS f0,
          bool_or(fan AND late) AS f1
        FROM (SELECT *, day < {date(start)} AND coalesce(until >= {date(start)}, true) AS early, until IS NULL AS late FROM toggled)
        GROUP BY user_id, brand),
      sizes AS (SELECT brand, {", ".join(f"count(*) FILTER ({who}) AS {name}" for name, who in sizes.items())} FROM states GROUP BY brand),
      visitors AS ({visitors}),
      lines AS (
        SELECT events.brand, events.user_id, order_id, events.day, amount, toggled.brand IS NOT NULL AS member
        FROM events LEFT JOIN toggled ON NOT fan AND toggled.user_id = events.user_id AND toggled.brand = events.brand
          AND events.day >= toggled.day AND events.day < coalesce(until, DATE '9999-12-31')
        WHERE {PURCHASE} AND events.day BETWEEN {date(start)} AND {date(end)}),
      orders AS (SELECT brand, user_id, member, order_id, min(day) AS day, sum(amount) AS paid FROM lines GROUP BY ALL),
      kinds AS (
        SELECT brand, count(*) AS orders, count(*) FILTER (member) AS own, sum(paid) AS paid, sum(paid) FILTER (member) AS own_paid,
          min(day) FILTER (member) < max(day) FILTER (member) AS again,
          min(day) FILTER (NOT member) < max(day) FILTER (NOT member) AS others_again
        FROM orders GROUP BY brand, user_id),
      sold AS (
        SELECT brand, count(*) AS buyers, count(*) FILTER (own > 0) AS member_buyers, count(*) FILTER (own < orders) AS nonmember_buyers,
          sum(orders)::BIGINT AS orders, sum(own)::BIGINT AS member_orders, sum(orders - own)::BIGINT AS nonmember_orders,
          sum(paid)::DOUBLE AS gmv, sum(own_paid)::DOUBLE AS member_gmv, (sum(paid) - coalesce(sum(own_paid), 0))::DOUBLE AS nonmember_gmv,
          count(*) FILTER (again) AS member_repeat_buyers, count(*) FILTER (others_again) AS nonmember_repeat_buyers
        FROM kinds GROUP BY brand),
      brands AS (
        SELECT brand, coalesce(COLUMNS(* EXCLUDE (brand)), 0)
        FROM sizes FULL JOIN visitors USING (brand) FULL JOIN sold USING (brand))
      SELECT brand::VARCHAR AS scope, * EXCLUDE (brand),
        {", ".join(f"{above} / nullif({below}, 0) AS {name}" for name, (above, below) in rates.items())}
      FROM brands"""

    visits = f"(SELECT DISTINCT user_id, brand FROM events WHERE {between(start, end)})"
    members = "(SELECT user_id, brand FROM states WHERE m0)"
    joined = f"SELECT brand, count(*) AS nonmember_visitors FROM {visits} ANTI JOIN {members} USING (user_id, brand) GROUP BY brand"
    every = f"SELECT brand, count(*) AS visitors FROM {visits} GROUP BY brand"
    known = f"SELECT brand, count(*) AS known FROM {members} SEMI JOIN {visits} USING (user_id, brand) GROUP BY brand"
    taken = f"SELECT brand, visitors - coalesce(known, 0) AS nonmember_visitors FROM ({every}) LEFT JOIN ({known}) USING (brand)"
    return {"anti": whole(joined), "less": whole(taken)}


QUERIES: dict[str, Callable[[], dict[str, str]]] = {
    **STAGE_MEASURES,
    "grow": grow,
    "grow_by_category": grow_by_category,
    "gmv_aac": gmv_aac,
    "aac_bridge": aac_bridge,
    "profile": profile,
    "crosstab": crosstab,
    "retention": retention,
    "rfm": rfm,
    "new_vs_existing": new_vs_existing,
    "penetration": penetration,
    "membership": membership,
}
