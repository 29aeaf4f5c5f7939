"""The same question, asked of aipl, DuckDB, Polars and chDB: how many consumers every brand has in every stage.

The stages are those of the `databank` preset at the close of one day, over Parquet files that `generate` wrote. Every
repetition of every engine is a process of its own; engines take turns, so that a busy moment of the machine does not
fall on one of them alone. Exit status 1 if two answers differ or an engine fails.

    python benches/compare/snapshot.py DIR --as-of 2024-12-30 --repeat 5 --engines aipl,duckdb,polars,chdb
"""

import argparse
import datetime as dt
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

# This process imports no engine and stays small: on Linux a child's peak memory starts from its parent's.
ENGINES = ("aipl", "duckdb", "polars", "chdb")
HERE = Path(__file__).resolve().parent


def default_threads() -> int:
    """The CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    def engines(text: str) -> list[str]:
        names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        unknown = [name for name in names if name not in ENGINES]
        if unknown or not names:
            raise argparse.ArgumentTypeError(f"choose from {', '.join(ENGINES)}, not {text!r}")
        return names

    def at_least_one(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
        return int(text)

    def day(text: str) -> dt.date:
        try:
            return dt.date.fromisoformat(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a day as YYYY-MM-DD") from None

    parser = argparse.ArgumentParser(description="One cold databank snapshot of all brands, side by side.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of Parquet files written by generate")
    parser.add_argument("--as-of", type=day, required=True, help="day of the snapshot, YYYY-MM-DD")
    parser.add_argument("--repeat", type=at_least_one, default=5, help="processes per engine (default 5)")
    parser.add_argument("--engines", type=engines, default=list(ENGINES), help="default " + ",".join(ENGINES))
    parser.add_argument("--threads", type=at_least_one, default=default_threads(), help="default: all CPUs")
    return parser.parse_args(arguments)


def installed(engine: str) -> bool:
    return importlib.util.find_spec(engine) is not None


def read_once(files: list[Path]) -> int:
    """Reads the files, so that every engine finds them in the page cache; returns their bytes."""
    size = 0
    for file in files:
        with file.open("rb") as handle:
            while block := handle.read(1 << 20):
                size += len(block)
    return size


def run(engine: str, path: str, as_of: dt.date, threads: int) -> dict[str, Any]:
    environment = {**os.environ, "POLARS_MAX_THREADS": str(threads), "AIPL_NUM_THREADS": str(threads)}
    command = [sys.executable, str(HERE / "measure.py"), engine, path, as_of.isoformat(), str(threads)]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if child.returncode != 0:
        raise RuntimeError(f"{engine} ended with status {child.returncode}:\n{child.stderr.strip()}")
    result: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return result


def difference(first: str, answer: list[Any], second: str, other: list[Any]) -> str:
    """What differs, with the first few brands and stages as examples."""
    left, right = ({(brand, stage): count for brand, stage, count in rows} for rows in (answer, other))
    keys = [key for key in sorted({*left, *right}) if left.get(key, 0) != right.get(key, 0)]
    examples = [f"{'/'.join(key)}: {left.get(key, 0)} and {right.get(key, 0)}" for key in keys[:5]]
    return f"{first} and {second} differ in {len(keys)} brand x stage counts, such as {'; '.join(examples)}"


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    head = ["engine", "version", "query s", "min s", "peak MiB", "prepare s", "prepared MiB", "time x", "peak x"]
    lines = []
    base: tuple[float, float] | None = None
    for engine, runs in results.items():

        def median(field: str, runs: list[dict[str, Any]] = runs) -> float:
            return statistics.median(float(run[field]) for run in runs)

        seconds, peak = median("query_seconds"), median("peak_mib")
        base = base or (seconds, peak)
        lines.append(
            [
                engine,
                runs[0]["version"],
                f"{seconds:.3f}",
                f"{min(run['query_seconds'] for run in runs):.3f}",
                f"{peak:.0f}",
                f"{median('prepare_seconds'):.2f}",
                f"{median('prepared_mib'):.0f}",
                f"{seconds / base[0]:.2f}",
                f"{peak / base[1]:.2f}",
            ]
        )
    widths = [max(len(row[column]) for row in [head, *lines]) for column in range(len(head))]
    rows = [head, ["-" * width for width in widths], *lines]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    files = sorted(options.folder.glob("*.parquet"))
    if not files:
        print(f"no Parquet files in {options.folder}", file=sys.stderr)
        return 1
    engines = [engine for engine in options.engines if installed(engine)]
    for engine in options.engines:
        if engine not in engines:
            print(f"{engine} is not installed: left out")
    if not engines:
        print("no engine to run", file=sys.stderr)
        return 1

    size = read_once(files)
    print(f"{len(files)} file(s), {size / 1e6:.1f} MB; as of {options.as_of}; {options.threads} thread(s)")
    print(f"{platform.system()} {platform.machine()}, Python {platform.python_version()}; {options.repeat} run(s) each")
    path = str(options.folder.resolve() / "*.parquet")
    results: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
    for _ in range(options.repeat):
        for engine in engines:
            try:
                results[engine].append(run(engine, path, options.as_of, options.threads))
            except RuntimeError as error:
                print(error, file=sys.stderr)
                return 1

    print()
    print(table(results))
    print()
    print(f"query s, peak MiB: medians; time x, peak x: relative to {engines[0]}; prepare: import and connect, not in query s")
    answer = results[engines[0]][0]["counts"]
    faults = [
        difference(engines[0], answer, engine, one["counts"])
        for engine, runs in results.items()
        for one in runs
        if one["counts"] != answer
    ]
    for fault in dict.fromkeys(faults):
        print(fault, file=sys.stderr)
    if faults:
        return 1
    consumers = sum(count for _, _, count in answer)
    print(f"all answers are equal: {len(answer)} brand x stage counts, {consumers} consumers x brands in a stage")
    return 0


if __name__ == "__main__":
    sys.exit(main())
