"""Measures of stages in DuckDB, over the table that `assets_duckdb.py` loads: the rules of `databank.py` on several days at once.

Days that are asked for are bits of a number: an event becomes the days on which it makes its consumer aware, interested, a buyer or loyal,
and these are joined by `bit_or`, once a consumer and brand. Joins and leaves, and purchases on two days, are brought into order first; they
are few. Tried and slower: a snapshot a day with UNION ALL (14 times as long for a month); events joined with the days that they count for.
"""

import datetime as dt
from collections.abc import Callable

from engines.assets_questions import BRAND, EVERY, FEW_BUYERS, HORIZON, LAST, LOYAL_ON, MONTH, SNAPSHOTS, SUNDAYS, WEEK, Z95
from engines.databank import ACTIVE, CONTACT_DAYS, LOYALTY_DAYS, PASSIVE, PURCHASE_DAYS

# The table holds behaviors as their places here, so that those which count alike are a range. A leave is odd.
ACTIONS = (
    *PASSIVE,
    *(name for name in ACTIVE if name in ("search", "reserve")),
    *(name for name in ACTIVE if name not in ("search", "reserve")),
    *("purchase", "review", "member_join", "member_leave", "follow", "unfollow"),
)
CODE = {name: place for place, name in enumerate(ACTIONS)}
PURCHASE = f"act = {CODE['purchase']}"
CONTACT = f"act < {CODE['purchase']}"
IS_ACTIVE = f"act >= {len(PASSIVE)}"
PRAISE = f"act = {CODE['review']} AND rating >= 4"
# Acts of a member: active contact but searching and reserving, reviews and follows.
ACT = f"(act >= {len(PASSIVE) + 2} AND act <= {CODE['review']} AND act <> {CODE['purchase']} OR act = {CODE['follow']})"
ACT_DAYS = 180
BEFORE = CONTACT_DAYS - 1
WINDOW = 2**CONTACT_DAYS - 1


def date(day: dt.date) -> str:
    """A day in SQL."""
    return f"DATE '{day}'"


def before(day: dt.date, days: int) -> dt.date:
    """The first of so many days up to a day."""
    return day - dt.timedelta(days=days - 1)


def between(first: dt.date, last: dt.date) -> str:
    """A condition on days."""
    return f"day BETWEEN {date(first)} AND {date(last)}"


def toggle_runs(end: dt.date, where: str = "") -> str:
    """A query of the days on which members join and fans follow: consumer, brand, whether a fan, day, and the day of the next change."""
    return f"""SELECT user_id, brand, fan, day, until
      FROM (SELECT user_id, brand, fan, day, latest, lead(day) OVER (PARTITION BY user_id, brand, fan ORDER BY day) AS until
        FROM (SELECT user_id, brand, act >= {CODE["follow"]} AS fan, day, max(2 * epoch_us(ts) + act % 2) AS latest
          FROM events WHERE act >= {CODE["member_join"]} AND day <= {date(end)}{where} GROUP BY ALL))
      WHERE latest % 2 = 0"""


def purchase_days(first: dt.date, end: dt.date, where: str = "", paid: bool = False) -> str:
    """A query of days with a purchase, each with the one before, and what was paid if that is wanted."""
    more, total = (", paid", ", sum(amount)::DOUBLE AS paid") if paid else ("", "")
    return f"""SELECT user_id, brand, day{more}, lag(day) OVER (PARTITION BY user_id, brand ORDER BY day) AS earlier
      FROM (SELECT user_id, brand, day{total} FROM events
        WHERE {PURCHASE} AND {between(before(first, PURCHASE_DAYS), end)}{where} GROUP BY user_id, brand, day)"""


def masks(first: dt.date, end: dt.date, audience: str = "") -> str:
    """CTEs up to `staged`: consumer, brand, and the days in each stage as bits, the first day the lowest. At most 34 days.

    Tried and no faster: contacts grouped before they meet the rest. Tried and slower: the rest joined rather than united; days with two
    views by shifts rather than by a list, which few pairs need.
    """
    days = (end - first).days + 1
    assert days + 2 * BEFORE < 63, "a number has no more bits"
    begin, where = before(first, CONTACT_DAYS), f" AND user_id IN (FROM {audience})" if audience else ""

    def span(start: str, last: str) -> str:
        low, high = (f"greatest(least({place}, {days}), 0)" for place in (start, f"{last} + 1"))
        return f"((1::BIGINT << {high}) - (1::BIGINT << {low}))"

    def since(day: str, more: int = 0) -> str:
        return f"({day} - {date(first)} + {more})"

    # A contact counts on its day and those after it; bits begin CONTACT_DAYS - 1 days early.
    reach = f"({WINDOW}::BIGINT << (day - {date(begin)}))"
    member = span(since("day"), f"coalesce({since('until', -1)}, {days - 1})")
    bought = span(since("day"), since("day", PURCHASE_DAYS - 1))
    lasting = span(since("day"), since("day", LOYALTY_DAYS - 1))
    twice = span(since("day"), since("earlier", LOYALTY_DAYS - 1))
    none = "0::BIGINT"
    return f"""toggled AS MATERIALIZED ({toggle_runs(end, where)}),
      facts(user_id, brand, a, i, views, p, l) AS (
        SELECT user_id, brand, {reach}, CASE WHEN {IS_ACTIVE} THEN {reach} ELSE 0 END,
          CASE WHEN act = {CODE["view"]} THEN 1::BIGINT << (day - {date(begin)}) ELSE 0 END, {none}, {none}
        FROM events WHERE {CONTACT} AND {between(begin, end)}{where}
        UNION ALL SELECT user_id, brand, {none}, {member} << {BEFORE}, {none}, {none}, {none} FROM toggled
        UNION ALL SELECT user_id, brand, {none}, {none}, {none}, {bought}, CASE WHEN day - earlier < {LOYALTY_DAYS} THEN {twice} ELSE 0 END
        FROM ({purchase_days(first, end, where)})
        UNION ALL SELECT user_id, brand, {none}, {none}, {none}, {none}, {lasting}
        FROM events WHERE {PRAISE} AND {between(before(first, LOYALTY_DAYS), end)}{where}),
      pairs AS (
        SELECT user_id, brand, bit_or(a) >> {BEFORE} AS a, bit_or(i) >> {BEFORE} AS i, bit_or(views) AS views,
          bit_or(p) AS p, bit_or(l) AS l
        FROM facts GROUP BY user_id, brand),
      viewed AS (
        SELECT * REPLACE (i | CASE WHEN bit_count(views) < 2 THEN 0 ELSE list_sum(list_transform(range({days}),
          lambda day: CASE WHEN bit_count((views >> day) & {WINDOW}) > 1 THEN 1::BIGINT << day ELSE 0 END))::BIGINT END AS i)
        FROM pairs),
      staged AS (
        SELECT user_id, brand, l, p & ~l AS p, i & ~(l | p) & {2**days - 1} AS i, a & ~(l | p | i) & {2**days - 1} AS a FROM viewed)"""


def audience_of(stage: str, day: dt.date) -> str:
    """A query of the consumers of `BRAND` in a stage on a day."""
    return f"WITH {masks(day, day)} SELECT user_id FROM staged WHERE brand = '{BRAND}' AND {stage.lower()} = 1"


def fast() -> dict[str, str]:
    """FAST over a week. `days`: all days of the week as bits; `ends`: only what the first and last day and the week as a whole need."""
    first, end = WEEK
    last = 1 << (end - first).days

    def rank(bit: int) -> str:
        return f"CASE WHEN l & {bit} > 0 THEN 4 WHEN p & {bit} > 0 THEN 3 WHEN i & {bit} > 0 THEN 2 WHEN a & {bit} > 0 THEN 1 ELSE 0 END"

    labels = f"labels AS (SELECT brand, {rank(1)} AS at_start, {rank(last)} AS at_end FROM staged WHERE l | p | i | a <> 0)"
    shown = f"""
      members AS MATERIALIZED (SELECT user_id, brand FROM toggled WHERE NOT fan AND until IS NULL),
      acting AS (
        SELECT user_id, brand FROM members
          SEMI JOIN (SELECT user_id, brand FROM events WHERE {ACT} AND {between(before(end, ACT_DAYS), end)}) USING (user_id, brand)),
      stages AS (
        SELECT brand, count(*) AS fertility, count(*) FILTER (at_start > 0) AS aipl_start, count(*) FILTER (at_end > 0) AS aipl_end,
          count(*) FILTER (at_start > 0 AND at_end > at_start) AS advanced
        FROM labels GROUP BY brand)
      SELECT brand::VARCHAR AS scope, fertility, aipl_start, aipl_end, advanced, advanced / nullif(aipl_start, 0) AS advancing_rate,
        coalesce(superiority, 0) AS superiority, coalesce(thriving, 0) AS thriving, coalesce(thriving, 0) / superiority AS thriving_rate
      FROM stages LEFT JOIN (SELECT brand, count(*) AS superiority FROM members GROUP BY brand) USING (brand)
        LEFT JOIN (SELECT brand, count(*) AS thriving FROM acting GROUP BY brand) USING (brand)"""
    return {"days": f"WITH {masks(first, end)}, {labels}, {shown}", "ends": f"WITH {ends(first, end)}, {shown}"}


def ends(first: dt.date, end: dt.date) -> str:
    """CTEs up to `labels`: brand, and the ranks of stages on the first and last day, of everybody in a stage on any day."""
    later = (end - first).days
    assert later < CONTACT_DAYS
    begin = before(first, CONTACT_DAYS)

    def counts_on(days: int) -> str:
        """1 if an event counts on the first day, plus 2 if it counts on the last."""
        return f"(CASE WHEN day > {date(first)} THEN 2 WHEN day < {date(before(end, days))} THEN 1 ELSE 3 END)"

    def rank(on: int) -> str:
        loyal, praised, bought, near, seen = f"loyal{on}", *(f"bits & {1 << (kind + on)} > 0" for kind in (6, 4, 2, 0))
        twice = f"bit_count((bits >> {8 + later * on}) & {WINDOW}) > 1"
        return f"CASE WHEN {loyal} OR {praised} THEN 4 WHEN {bought} THEN 3 WHEN {near} OR {twice} THEN 2 WHEN {seen} THEN 1 ELSE 0 END"

    def loyal(day: dt.date) -> str:
        return f"min(day) FILTER (day >= {date(before(day, LOYALTY_DAYS))}) < max(day) FILTER (day <= {date(day)})"

    # Pairs of bits for the first and the last day: contact, interest, purchase, review; from 8 on: days with a view.
    return f"""toggled AS MATERIALIZED ({toggle_runs(end)}),
      facts(user_id, brand, bits, day) AS (
        SELECT user_id, brand, {counts_on(CONTACT_DAYS)} | CASE WHEN {IS_ACTIVE} THEN {counts_on(CONTACT_DAYS)} << 2 ELSE 0 END
            | CASE WHEN act = {CODE["view"]} THEN 256::BIGINT << (day - {date(begin)}) ELSE 0 END, NULL::DATE
          FROM events WHERE {CONTACT} AND {between(begin, end)}
        UNION ALL SELECT user_id, brand, {counts_on(PURCHASE_DAYS)} << 4, day
          FROM events WHERE {PURCHASE} AND {between(before(first, PURCHASE_DAYS), end)}
        UNION ALL SELECT user_id, brand, {counts_on(LOYALTY_DAYS)} << 6, NULL
          FROM events WHERE {PRAISE} AND {between(before(first, LOYALTY_DAYS), end)}
        UNION ALL SELECT user_id, brand, CASE WHEN day <= {date(first)} THEN 4 ELSE 0 END
            | CASE WHEN until <= {date(end)} THEN 0 ELSE 8 END, NULL
          FROM toggled WHERE until > {date(first)} OR until IS NULL),
      pairs AS (SELECT brand, bit_or(bits) AS bits, {loyal(first)} AS loyal0, {loyal(end)} AS loyal1 FROM facts GROUP BY user_id, brand),
      labels AS (SELECT brand, {rank(0)} AS at_start, {rank(1)} AS at_end FROM pairs)"""


def consumer_equity() -> dict[str, str]:
    """Consumer assets. `bits`: all four days of a consumer and brand in one row; `rows`: a row for each day.

    Tried and slower: in `bits`, purchases on two days by the least and the greatest day of each window; in `rows`, contacts joined with
    the days.
    """
    past = [LAST - dt.timedelta(days=HORIZON + EVERY * back) for back in reversed(range(SNAPSHOTS))]
    days = [*past, LAST]
    assert min(EVERY, HORIZON) >= CONTACT_DAYS and len(days) * CONTACT_DAYS < 63, "windows of contact are apart, and fit a number"
    near = " OR ".join(between(before(day, CONTACT_DAYS), day) for day in days)
    first = [before(day, CONTACT_DAYS) for day in days]
    places = [f"WHEN day <= {date(day)} THEN day - {date(first[at])} + {CONTACT_DAYS * at}" for at, day in enumerate(days)]
    # Each with its place among the days near an asked one, CONTACT_DAYS for each of these.
    contacts = f"""SELECT user_id, brand, act, (CASE {" ".join(places)} END)::INTEGER AS place FROM events
          WHERE {CONTACT} AND {between(first[0], LAST)} AND ({near})"""
    return {"bits": equity_bits(past, contacts), "rows": equity_rows(past, contacts)}


def equity_bits(past: list[dt.date], contacts: str) -> str:
    """One row a consumer and brand. Bits: contact, interest, purchase, loyalty on each day; bought after each past day."""
    days = [*past, LAST]
    contact, interest, purchase, loyalty, bought = (len(days) * kind for kind in range(5))

    def among(first: str, last: str, place: int) -> str:
        """The asked days from a day to another as bits, from a place on."""
        cases = "CASE WHEN {} BETWEEN {} AND {} THEN {} ELSE 0 END"
        return " | ".join(cases.format(date(day), first, last, 1 << (place + at)) for at, day in enumerate(days))

    def after(day: dt.date) -> str:
        return between(day + dt.timedelta(days=1), day + dt.timedelta(days=HORIZON))

    def stage(at: int) -> str:
        has = [f"bits & {1 << (kind + at)} > 0" for kind in (loyalty, purchase, interest, contact)]
        viewed = f"bit_count((views >> {CONTACT_DAYS * at}) & {WINDOW}) > 1"
        ranks = f"WHEN {has[0]} THEN 4 WHEN {has[1]} THEN 3 WHEN {has[2]} OR {viewed} THEN 2 WHEN {has[3]} THEN 1"
        return f"CASE {ranks} ELSE 0 END AS stage{at}"

    def bought_after(at: int) -> str:
        buyers = f"count(*) FILTER (bits & {1 << (bought + at)} > 0) AS buyers"
        return f"""SELECT brand, stage{at} AS stage, 0 AS now, count(*) AS past, {buyers}, sum(s{at}) AS spent
          FROM labels WHERE stage{at} > 0 GROUP BY ALL"""

    begin, end = days[0], days[-1]
    sums = [f"s{at}" for at in range(len(past))]
    nothing = ", ".join(["NULL::DOUBLE"] * len(past))
    spent = ", ".join(f"CASE WHEN {after(day)} THEN paid END" for day in past)
    buying = " | ".join(f"CASE WHEN {after(day)} THEN {1 << (bought + at)} ELSE 0 END" for at, day in enumerate(past))
    return f"""WITH facts(user_id, brand, bits, views, {", ".join(sums)}) AS (
        SELECT user_id, brand,
          (CASE WHEN {IS_ACTIVE} THEN {(1 << contact) | (1 << interest)} ELSE {1 << contact} END) << (place // {CONTACT_DAYS}),
          CASE WHEN act = {CODE["view"]} THEN 1::BIGINT << place ELSE 0 END, {nothing} FROM ({contacts})
        UNION ALL SELECT user_id, brand, {among("day", "coalesce(until - 1, DATE '9999-12-31')", interest)}, 0, {nothing}
          FROM ({toggle_runs(LAST)})
        UNION ALL SELECT user_id, brand, {among("day", f"day + {LOYALTY_DAYS - 1}", loyalty)}, 0, {nothing}
          FROM events WHERE {PRAISE} AND {between(before(begin, LOYALTY_DAYS), end)}
        UNION ALL SELECT user_id, brand, {among("day", f"day + {PURCHASE_DAYS - 1}", purchase)} | {buying}
            | (CASE WHEN day - earlier < {LOYALTY_DAYS} THEN {among("day", f"earlier + {LOYALTY_DAYS - 1}", loyalty)} ELSE 0 END),
            0, {spent}
          FROM ({purchase_days(begin, end, paid=True)})),
      pairs AS (
        SELECT brand, bit_or(bits) AS bits, bit_or(views) AS views, {", ".join(f"sum({one}) AS {one}" for one in sums)}
        FROM facts GROUP BY user_id, brand),
      labels AS MATERIALIZED (SELECT brand, bits, {", ".join(stage(at) for at in range(len(days)))}, {", ".join(sums)} FROM pairs),
      cells AS ({" UNION ALL ".join(bought_after(at) for at in range(len(past)))}
        UNION ALL SELECT brand, stage{len(past)}, count(*), 0, 0, 0 FROM labels WHERE stage{len(past)} > 0 GROUP BY ALL),
      {WORTH}"""


def equity_rows(past: list[dt.date], contacts: str) -> str:
    """One row a consumer, brand and day. Bits: contact, interest, purchase, loyalty; bought after the day."""
    days = [*past, LAST]
    rows = ", ".join(f"({date(day)}, {at}, {HORIZON if day in past else 0})" for at, day in enumerate(days))
    asked = f"(VALUES {rows}) asked(close, nth, horizon)"
    return f"""WITH facts(user_id, brand, nth, bits, views, bought, spent) AS (
        SELECT user_id, brand, place // {CONTACT_DAYS}, CASE WHEN {IS_ACTIVE} THEN 3 ELSE 1 END,
          CASE WHEN act = {CODE["view"]} THEN 1 << (place % {CONTACT_DAYS}) ELSE 0 END, NULL::DATE, NULL::DOUBLE FROM ({contacts})
        UNION ALL SELECT user_id, brand, nth, 2, 0, NULL, NULL
          FROM ({toggle_runs(LAST)}) JOIN {asked} ON day <= close AND coalesce(until > close, true)
        UNION ALL SELECT user_id, brand, nth, 8, 0, NULL, NULL
          FROM events JOIN {asked} ON day BETWEEN close - {LOYALTY_DAYS - 1} AND close WHERE {PRAISE}
        UNION ALL SELECT user_id, brand, nth, 4, 0, CASE WHEN day > close - {LOYALTY_DAYS} THEN day END, NULL
          FROM events JOIN {asked} ON day BETWEEN close - {PURCHASE_DAYS - 1} AND close WHERE {PURCHASE}
        UNION ALL SELECT user_id, brand, nth, 16, 0, NULL, amount::DOUBLE
          FROM events JOIN {asked} ON day BETWEEN close + 1 AND close + horizon WHERE {PURCHASE}),
      pairs AS (
        SELECT brand, nth, bit_or(bits) AS bits, bit_count(bit_or(views)) AS views, min(bought) < max(bought) AS loyal, sum(spent) AS spent
        FROM facts GROUP BY user_id, brand, nth),
      labels AS (
        SELECT brand, nth < {len(past)} AS earlier, bits & 16 > 0 AS bought, spent, CASE WHEN loyal OR bits & 8 > 0 THEN 4
          WHEN bits & 4 > 0 THEN 3 WHEN bits & 2 > 0 OR views > 1 THEN 2 WHEN bits & 1 > 0 THEN 1 ELSE 0 END AS stage FROM pairs),
      cells AS (
        SELECT brand, stage, count(*) FILTER (NOT earlier) AS now, count(*) FILTER (earlier) AS past,
          count(*) FILTER (bought) AS buyers, sum(spent) AS spent
        FROM labels WHERE stage > 0 GROUP BY brand, stage),
      {WORTH}"""


# From the sums of cells to the answer. A stage with few buyers borrows from the next higher stages one by one, then from the next lower
# ones: of these ranges of stages, the first that suffices.
WORTH = f"""counts AS (
        SELECT brand, stage, sum(now)::BIGINT AS now, sum(past)::BIGINT AS past, sum(buyers)::BIGINT AS buyers,
          coalesce(sum(spent), 0) AS spent
        FROM cells GROUP BY brand, stage),
      every AS (SELECT unnest([1, 2, 3, 4]) AS stage),
      own AS (
        SELECT brand, stage, coalesce(now, 0) AS now, coalesce(past, 0) AS past, coalesce(buyers, 0) AS buyers, coalesce(spent, 0) AS spent
        FROM (SELECT DISTINCT brand FROM counts) CROSS JOIN every LEFT JOIN counts USING (brand, stage)),
      tries AS (
        SELECT stage, try, CASE WHEN try <= 4 - stage THEN stage ELSE 4 - try END AS low, least(stage + try, 4) AS high
        FROM every, (SELECT unnest([0, 1, 2, 3]) AS try)),
      pools AS (
        SELECT brand, tries.stage, try, sum(past) AS past, sum(buyers) AS buyers, sum(spent) AS spent
        FROM tries JOIN own ON own.stage BETWEEN low AND high GROUP BY ALL),
      pooled AS (
        SELECT brand, stage, min(try) FILTER (buyers >= {FEW_BUYERS}) AS enough, coalesce(enough, 3) AS try,
          coalesce(enough <> 0, true) AS pooled
        FROM pools GROUP BY ALL),
      worth AS (
        SELECT own.brand, own.stage, now, own.past AS own_past, own.buyers AS own_buyers, pooled,
          pools.past::DOUBLE AS n, pools.buyers AS x,
          x / nullif(n, 0) AS c, pools.spent / nullif(x, 0) AS v, {Z95**2!r} AS z2,
          {Z95} * sqrt(c * (1 - c) / n + z2 / (4 * n * n)) AS half
        FROM own JOIN pooled USING (brand, stage) JOIN pools USING (brand, stage, try))
      SELECT brand::VARCHAR AS scope, ['A', 'I', 'P', 'L'][stage] AS stage, now AS consumers, own_past AS past_consumers,
        own_buyers AS past_buyers, c AS conversion,
        CASE WHEN x = 0 THEN 0 * c ELSE (c + z2 / (2 * n) - half) / (1 + z2 / n) END AS conversion_low,
        CASE WHEN x = n THEN c ELSE (c + z2 / (2 * n) + half) / (1 + z2 / n) END AS conversion_high,
        v AS value, CASE WHEN now = 0 OR c = 0 THEN 0 ELSE now * c * v END AS asset, pooled
      FROM worth"""


def concentration() -> dict[str, str]:
    """The share of each stage that is in an audience, day by day.

    Equal runs of days are counted before they meet the days: all of these (`runs`), or only those on which a run begins or ends, added up
    by a window (`edges`). Tried and slower: a sum a day and stage (120 columns of the pairs); runs of all stages together.
    """
    first, end = MONTH
    days = (end - first).days + 1
    runs = f"""{masks(first, end)},
      runs AS (
        SELECT brand, stage, run, count(*)::INTEGER AS n, (count(*) FILTER (inside))::INTEGER AS n_inside
        FROM (SELECT brand, user_id IN (FROM loyal) AS inside, unnest([1, 2, 3, 4]::UTINYINT[]) AS stage, unnest([a, i, p, l]) AS run
          FROM staged)
        WHERE run <> 0 GROUP BY ALL),
      days AS (SELECT unnest(range({days}))::UTINYINT AS day)"""
    shown = f"""
      counts AS (FROM cells UNION ALL SELECT day, brand, 5, sum(n)::BIGINT, sum(n_inside)::BIGINT FROM cells GROUP BY day, brand)
      SELECT ({date(first)} + day)::DATE AS day, brand::VARCHAR AS scope, ['A', 'I', 'P', 'L', 'active'][stage] AS stage,
        n AS consumers, n_inside AS in_audience, 100 * n_inside / n AS concentration
      FROM counts WHERE n > 0"""
    whole = f"""WITH {runs},
      cells AS MATERIALIZED (
        SELECT day, brand, stage, sum(n)::BIGINT AS n, sum(n_inside)::BIGINT AS n_inside
        FROM runs, days WHERE (run >> day) & 1 = 1 GROUP BY ALL), {shown}"""
    edges = f"""WITH {runs},
      changes AS (
        SELECT day, brand, stage, sum(CASE WHEN (run >> day) & 1 = 1 THEN n ELSE -n END) AS n,
          sum(CASE WHEN (run >> day) & 1 = 1 THEN n_inside ELSE -n_inside END) AS n_inside
        FROM runs, days WHERE (xor(run, run << 1) >> day) & 1 = 1 GROUP BY ALL),
      filled AS (FROM (FROM days CROSS JOIN (SELECT DISTINCT brand, stage FROM runs)) LEFT JOIN changes USING (day, brand, stage)),
      cells AS MATERIALIZED (
        SELECT day, brand, stage, (sum(n) OVER so_far)::BIGINT AS n, (sum(n_inside) OVER so_far)::BIGINT AS n_inside
        FROM filled WINDOW so_far AS (PARTITION BY brand, stage ORDER BY day)), {shown}"""
    return {"runs": whole, "edges": edges}


def cohort_track() -> dict[str, str]:
    """The stages of an audience on some days, and who has bought since the first. Tried and slower: the audience joined at the end."""
    first, end = SUNDAYS[0], SUNDAYS[-1]
    days = "VALUES " + ", ".join(f"({date(day)}, {(day - first).days})" for day in SUNDAYS)
    on = ", ".join(f"count(*) FILTER (({stage} >> place) & 1 = 1) AS {stage}" for stage in "aipl")
    query = f"""WITH {masks(first, end, "loyal")},
      days(day, place) AS ({days}),
      size AS (SELECT count(*) AS size FROM loyal),
      cells AS (SELECT brand, day, {on} FROM staged, days GROUP BY ALL),
      buyers AS (
        SELECT brand, min(day) AS first FROM events
        WHERE {PURCHASE} AND {between(first, end)} AND user_id IN (FROM loyal) GROUP BY user_id, brand),
      bought AS (SELECT brand, day, count(*) AS bought FROM buyers JOIN days ON first <= day GROUP BY ALL),
      found AS (
        SELECT day, brand, size, unnest(['A', 'I', 'P', 'L', 'out', 'bought']) AS stage,
          unnest([a, i, p, l, size - coalesce(a + i + p + l, 0), bought]) AS consumers
        FROM days CROSS JOIN (SELECT unnest(enum_range(NULL::brand_t)) AS brand) LEFT JOIN cells USING (day, brand)
          LEFT JOIN bought USING (day, brand), size)
      SELECT day, brand::VARCHAR AS scope, stage, coalesce(consumers, 0) AS consumers, coalesce(consumers, 0) / size AS share FROM found"""
    return {"masks": query}


STAGE_MEASURES: dict[str, Callable[[], dict[str, str]]] = {
    "fast": fast,
    "consumer_equity": consumer_equity,
    "concentration": concentration,
    "cohort_track": cohort_track,
}
LOYAL = audience_of("L", LOYAL_ON)
