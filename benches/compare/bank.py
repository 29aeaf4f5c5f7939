"""A bank that takes in daily files: what a batch costs as the bank grows, and what a question costs beside a log.

Cuts the files that `generate` wrote into batches by time (with DuckDB), takes each into a new bank in a process of its own, and measures: seconds of
every batch, peak memory, bytes on disk beside the source's, a snapshot of the reopened bank beside one of a loaded log and beside decoding the same
columns with pyarrow, the counts of a materialized day from a cold open, and a snapshot under links. Exit status 1 if bank and log answer
differently.

    python benches/compare/bank.py DIR WORK --as-of 2024-12-30 --batches 100
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

COLUMNS = {"consumer": "user_id", "brand": "brand", "behavior": "action", "time": "ts", "rating": "rating", "amount": "amount"}
NEEDED = ["consumer_idx", "brand", "day", "behavior", "rating"]


def cut(source: Path, target: Path, batches: int) -> None:
    """One file a batch, in order of time, each with the rows of its days."""
    import duckdb

    target.mkdir(parents=True)
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")
        files = f"read_parquet('{source}/*.parquet')"
        days = "date_diff('day', first, ts::DATE)"
        span = f"(SELECT min(ts)::DATE AS first, date_diff('day', min(ts)::DATE, max(ts)::DATE) + 1 AS days FROM {files})"
        for batch in range(batches):
            rows = f"SELECT e.* FROM {files} e, {span} WHERE {days} * {batches} // days = {batch} ORDER BY ts"
            connection.execute(f"COPY ({rows}) TO '{target}/{batch:04d}.parquet' (FORMAT parquet, COMPRESSION zstd)")


def step(name: str, *arguments: object) -> dict[str, Any]:
    """A step in a process of its own."""
    command = [sys.executable, __file__, "--step", name, *map(str, arguments)]
    child = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    if child.returncode != 0:
        raise RuntimeError(f"{name} ended with status {child.returncode}:\n{child.stderr.strip()}")
    told: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return told


def timed(work: Any) -> tuple[float, Any]:
    begin = time.perf_counter()
    done = work()
    return time.perf_counter() - begin, done


def ingest(bank: str, files: str) -> dict[str, Any]:
    import aipl

    schema, model = aipl.EventSchema(**COLUMNS), aipl.StageModel.preset("databank")
    seconds, merging = [], []
    with aipl.DataBank.create(bank, schema, tz="Asia/Shanghai", model=model) as store:
        for path in sorted(Path(files).glob("*.parquet")):
            told = store.ingest(path, batch_id=path.stem)
            seconds.append(told["seconds"])
            merging.append(told["compaction_seconds"])
        info = store.info()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "merging": merging, "peak_mib": peak, "bytes": info["bytes"], "rows": info["rows"]}


def last_batch(bank: str, file: str) -> dict[str, Any]:
    """One more batch from a cold open: what a nightly job pays."""
    import aipl

    def work() -> dict[str, Any]:
        with aipl.DataBank.open(bank, "rw") as store:
            return store.ingest(file, batch_id="once more", compact=False)

    seconds, told = timed(work)
    return {"seconds": seconds, "rows": told["rows_added"]}


def reopened(bank: str, as_of: str) -> dict[str, Any]:
    import aipl

    model = aipl.StageModel.preset("databank")

    def ask() -> aipl.Snapshot:
        return aipl.snapshot(aipl.DataBank.open(bank), model, as_of=as_of)

    seconds, snap = timed(ask)
    return {"seconds": seconds, "counts": [list(row.values()) for row in snap.counts().to_dicts()]}


def decoded(bank: str) -> dict[str, Any]:
    import aipl
    import pyarrow.parquet

    store = aipl.DataBank.open(bank)

    def work() -> None:
        for path in store.files():
            pyarrow.parquet.read_table(path, columns=NEEDED, read_dictionary=["brand", "behavior"])

    return {"seconds": timed(work)[0]}


def of_log(files: str, as_of: str) -> dict[str, Any]:
    import aipl

    model, schema = aipl.StageModel.preset("databank"), aipl.EventSchema(**COLUMNS)
    log = aipl.scan_parquet(f"{files}/*.parquet", schema, tz="Asia/Shanghai").load()
    seconds, snap = min((timed(lambda: aipl.snapshot(log, model, as_of=as_of)) for _ in range(3)), key=lambda run: run[0])
    return {"seconds": seconds, "counts": [list(row.values()) for row in snap.counts().to_dicts()]}


def kept(bank: str, as_of: str) -> dict[str, Any]:
    import aipl

    with aipl.DataBank.open(bank, "rw") as store:
        making, _ = timed(lambda: store.materialize(as_of))
    model = aipl.StageModel.preset("databank")

    def ask() -> aipl.Table:
        return aipl.snapshot(aipl.DataBank.open(bank), model, as_of=as_of).counts()

    runs = [timed(ask) for _ in range(5)]
    return {"making": making, "seconds": statistics.median(run[0] for run in runs), "counts": [list(row.values()) for row in runs[0][1].to_dicts()]}


def linked(bank: str, as_of: str) -> dict[str, Any]:
    """Every second consumer shares a card with another: the links, the first question after them, and how later ones compare with earlier ones."""
    import aipl
    import pyarrow as pa
    import pyarrow.parquet as pq

    model = aipl.StageModel.preset("databank")

    def ask(store: aipl.DataBank) -> float:
        return timed(lambda: aipl.snapshot(store, model, as_of=as_of).counts())[0]

    with aipl.DataBank.open(bank, "rw") as store:
        consumers = pa.concat_tables(pq.read_table(path, columns=["consumer"]) for path in store.files("ids"))["consumer"]
        own = consumers.take(pa.array(range(0, len(consumers), 2)))
        links = pa.table({"card": [f"c{place // 2}" for place in range(len(own))], "account": own})
        before = min(ask(store) for _ in range(3))
        taking, told = timed(lambda: store.ingest_links(links, batch_id="cards", id_types=["card", "account"], id_type="account"))
    store = aipl.DataBank.open(bank)
    first, after = ask(store), min(ask(store) for _ in range(3))
    # Every second of those who share a card is counted elsewhere.
    if told["accounts_moved"] != len(own) // 2:
        raise AssertionError(told)
    return {"before": before, "taking": taking, "first": first, "after": after, "rows": len(own), "moved": told["accounts_moved"]}


STEPS = {"ingest": ingest, "last_batch": last_batch, "reopened": reopened, "decoded": decoded, "of_log": of_log, "kept": kept, "linked": linked}


def main() -> int:
    if sys.argv[1:2] == ["--step"]:
        print(json.dumps(STEPS[sys.argv[2]](*sys.argv[3:])))
        return 0
    parser = argparse.ArgumentParser(description="A bank that grows by batches, beside a log.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of Parquet files written by generate")
    parser.add_argument("work", type=Path, metavar="WORK", help="new folder for batches and bank; removed at the end")
    parser.add_argument("--as-of", required=True, help="day of the snapshots, YYYY-MM-DD")
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--ready", action="store_true", help="DIR has one file a batch already")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    options.work.mkdir(parents=True)
    files, bank = options.folder if options.ready else options.work / "batches", options.work / "bank"
    try:
        if not options.ready:
            cut(options.folder, files, options.batches)
        return measure(options, files, bank)
    finally:
        shutil.rmtree(options.work, ignore_errors=True)


def measure(options: argparse.Namespace, files: Path, bank: Path) -> int:
    files = files.resolve()
    told = step("ingest", bank, files)
    seconds = told["seconds"]
    source = sum(path.stat().st_size for path in files.glob("*.parquet"))
    tenth = min(9, len(seconds) - 1)
    around = statistics.median(seconds[max(0, tenth - 2) : tenth + 3]), statistics.median(seconds[-5:])
    print(f"{told['rows']:,} events in {len(seconds)} batches: {sum(seconds):.1f} s, merging {sum(told['merging']):.1f} s")
    print(f"batch {tenth + 1}: {seconds[tenth]:.3f} s, last: {seconds[-1]:.3f} s; medians of five around them {around[0]:.3f} and {around[1]:.3f} s", end="")
    print(f" = {around[1] / around[0]:.2f} x")
    print(f"peak memory {told['peak_mib']:.0f} MiB; {told['bytes']:,} bytes on disk = {told['bytes'] / source:.2f} x the source's {source:,}")
    log = step("of_log", files, options.as_of)
    own = [step("reopened", bank, options.as_of) for _ in range(options.repeat)]
    decoding = statistics.median(step("decoded", bank)["seconds"] for _ in range(options.repeat))
    cold = statistics.median(run["seconds"] for run in own)
    print(f"snapshot of the reopened bank {cold:.3f} s; of a log {log['seconds']:.3f} s, decoding the same columns {decoding:.3f} s", end="")
    print(f": {cold / (log['seconds'] + decoding):.2f} x their sum")
    day = step("kept", bank, options.as_of)
    print(f"counts of a materialized day from a cold open {day['seconds'] * 1000:.1f} ms (materialized in {day['making']:.2f} s)")
    again = step("last_batch", bank, sorted(files.glob("*.parquet"))[-1])
    print(f"one more batch of {again['rows']:,} events in a new process {again['seconds']:.3f} s")
    links = step("linked", bank, options.as_of)
    print(f"{links['rows']:,} links, {links['moved']:,} accounts moved: taken in {links['taking']:.2f} s; snapshot from a new handle", end="")
    print(f" {links['first']:.2f} s, again {links['after']:.3f} s (of accounts {links['before']:.3f} s) = {links['after'] / links['before']:.2f} x")
    if any(run["counts"] != log["counts"] for run in [*own, day]):
        print("bank and log answer differently", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
