"""Load, daily trend, warm snapshot and flow of aipl, beside one cold snapshot of DuckDB and of Polars.

A daily trend in SQL is a snapshot a day, so the unit of this table is one cold snapshot of the faster of the two. Processes
take turns as in `snapshot.py`. Exit status 1 if two answers differ.

    python benches/compare/over_time.py DIR --as-of 2024-12-30 --days 365 --repeat 3
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import snapshot as cold

HERE = Path(__file__).resolve().parent


def steps(path: str, as_of: str, days: int, threads: int) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "steps.py"), path, as_of, str(days), str(threads)]
    child = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    if child.returncode != 0:
        raise RuntimeError(f"aipl ended with status {child.returncode}:\n{child.stderr.strip()}")
    result: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description="A loaded log over time, beside cold snapshots.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of Parquet files written by generate")
    parser.add_argument("--as-of", required=True, help="last day of the trend and day of the snapshots, YYYY-MM-DD")
    parser.add_argument("--days", type=int, default=365, help="days of the trend (default 365)")
    parser.add_argument("--repeat", type=int, default=3, help="processes each (default 3)")
    parser.add_argument("--threads", type=int, default=cold.default_threads(), help="default: all CPUs")
    options = parser.parse_args()
    files = sorted(options.folder.glob("*.parquet"))
    if not files:
        print(f"no Parquet files in {options.folder}", file=sys.stderr)
        return 1
    cold.read_once(files)
    path = str(options.folder.resolve() / "*.parquet")
    day = cold.dt.date.fromisoformat(options.as_of)
    others: dict[str, list[dict[str, Any]]] = {"polars": [], "duckdb": []}
    own: list[dict[str, Any]] = []
    for _ in range(options.repeat):
        own.append(steps(path, options.as_of, options.days, options.threads))
        for engine, runs in others.items():
            runs.append(cold.run(engine, path, day, options.threads))
    answers = [[tuple(row) for row in run["counts"]] for run in [*own, *others["polars"], *others["duckdb"]]]
    if any(answer != answers[0] for answer in answers):
        print("answers differ", file=sys.stderr)
        return 1
    medians = {name: statistics.median(run["query_seconds"] for run in runs) for name, runs in others.items()}
    unit = min(medians.values())

    def line(name: str, seconds: float) -> None:
        print(f"{name:<28} {seconds:8.3f} s  {seconds / unit:6.2f} x")

    for name, seconds in medians.items():
        line(f"cold snapshot, {name}", seconds)
    parts = {name: statistics.median(run["seconds"][name] for run in own) for name in own[0]["seconds"]}
    for name, seconds in parts.items():
        line(f"aipl {name}", seconds)
    line("aipl load + trend", statistics.median(run["seconds"]["load"] + run["seconds"]["trend"] for run in own))
    print(f"x: in cold snapshots of the faster of Polars and DuckDB; medians of {options.repeat}; {options.days} days")
    sizes = ("log_mib", "loaded_mib", "trend_mib", "peak_mib")
    print(", ".join(f"{name} {statistics.median(run[name] for run in own):.0f}" for name in sizes), end="")
    print(f"; {own[0]['bytes_per_event']:.1f} bytes an event, values that columns point into apart")
    return 0


if __name__ == "__main__":
    sys.exit(main())
