"""Consumer assets of all brands, measure by measure: a loaded log of aipl beside a table in DuckDB's memory.

Both load the same events, to which a category, a channel and order ids are added once, with DuckDB. Every repetition of both engines is a
process of its own, which loads, asks one question to warm up, and then every measure once; engines take turns. Where DuckDB has several
formulations of a measure, all are measured and the one with the least median counts. Exit status 1 if an answer differs by more than 1e-9
of its value, or an engine fails.

    python benches/compare/assets.py DIR --repeat 5
"""

import argparse
import importlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import snapshot
from engines.assets_questions import MEASURES

ENGINES = ("aipl", "duckdb")
HERE = Path(__file__).resolve().parent
TOLERANCE = 1e-9
CATEGORIES, CHANNELS = 20, 5


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    def measures(text: str) -> list[str]:
        names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        unknown = [name for name in names if name not in MEASURES]
        if unknown or not names:
            raise argparse.ArgumentTypeError(f"choose from {', '.join(MEASURES)}, not {text!r}")
        return names

    def at_least_one(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
        return int(text)

    parser = argparse.ArgumentParser(description="Consumer assets of all brands, side by side.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of Parquet files written by generate")
    parser.add_argument("--repeat", type=at_least_one, default=5, help="processes per engine (default 5)")
    parser.add_argument("--measures", type=measures, default=list(MEASURES), help="default: all")
    parser.add_argument("--threads", type=at_least_one, default=snapshot.default_threads(), help="default: all CPUs")
    parser.add_argument("--extended", type=Path, metavar="FOLDER", help="keep the extended events there, or find them there")
    parser.add_argument("--clustered", action="store_true", help="let DuckDB load its table in order of behavior and day")
    return parser.parse_args(arguments)


def extend(folder: str, target: str) -> None:
    """Writes the events with a category, a channel and, for purchases, an order: functions of consumer, day and, for channels, hour."""
    day, user = "ts::DATE", "user_id"
    added = f"""'c' || lpad((hash({user}, {day}) % {CATEGORIES})::VARCHAR, 2, '0') AS category,
        'ch' || hash({day}, {user}, hour(ts)) % {CHANNELS} AS channel,
        CASE WHEN action = 'purchase' THEN (hash({day}, {user}) >> 1)::BIGINT END AS order_id"""
    with importlib.import_module("duckdb").connect() as connection:
        connection.execute(
            f"COPY (SELECT *, {added} FROM read_parquet('{folder}/*.parquet')) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
        )


def measure(engine: str, path: str, threads: str, clustered: str, measures: str, answers: str) -> None:
    """One engine in one process: writes its answers as Parquet, and prints the seconds of each formulation of each measure."""
    pq = importlib.import_module("pyarrow.parquet")
    side = importlib.import_module(f"engines.assets_{engine}").Engine(path, int(threads), clustered == "True")
    seconds: dict[str, dict[str, float]] = {}

    def timed(work: Any) -> tuple[float, Any]:
        begin = time.perf_counter()
        done = work()
        return time.perf_counter() - begin, done

    load, _ = timed(side.load)
    side.warm_up()
    for name in measures.split(","):
        seconds[name] = {}
        for formulation, ask in side.formulations(name).items():
            seconds[name][formulation], answer = timed(ask)
            pq.write_table(side.table(name, answer), f"{answers}/{engine}.{name}.{formulation}.parquet")
    print(json.dumps({"load": load, "seconds": seconds}))


def child(*arguments: object) -> str:
    """What this file prints as a process of its own."""
    command = [sys.executable, str(HERE / "assets.py"), "--child", *map(str, arguments)]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{arguments[0]} {arguments[1]} ended with status {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout


def read(path: Path, keys: tuple[str, ...]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows of an answer by their keys."""
    columns = importlib.import_module("pyarrow.parquet").read_table(path).to_pydict()
    names = list(columns)
    rows = (dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True))
    found = {tuple(map(plain, (row[key] for key in keys))): row for row in rows}
    if len(found) != len(columns[keys[0]]):
        raise RuntimeError(f"{path.name}: {len(columns[keys[0]])} rows have {len(found)} keys")
    return found


def plain(value: Any) -> Any:
    """A value as both engines write it."""
    return int(value) if isinstance(value, Decimal) and value == int(value) else value


def equal(one: Any, other: Any, scale: float) -> bool:
    """Whether two values are the same, numbers to `TOLERANCE` of the larger one, or of a larger scale."""
    one, other = plain(one), plain(other)
    if isinstance(one, bool) or isinstance(other, bool) or not isinstance(one, int | float) or not isinstance(other, int | float):
        return bool(one == other)
    return one == other or math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE * scale)


def nothing(row: dict[str, Any], keys: tuple[str, ...]) -> bool:
    """Whether a row, which only one engine lists, tells of nothing: a brand and month without a purchase."""
    return not any(value for name, value in row.items() if name not in (*keys, "lookback", "small", "pooled"))


def compare(name: str, one: Path, other: Path) -> str | None:
    """What differs between two answers."""
    keys, scale_of = MEASURES[name].keys, MEASURES[name].scale
    left, right = read(one, keys), read(other, keys)
    faults = []
    for key in left.keys() | right.keys():
        if key not in left or key not in right:
            only = left.get(key) or right[key]
            if not nothing(only, keys):
                faults.append(f"{key}: only in {one.name if key in left else other.name}")
            continue
        own, others = left[key], right[key]
        scale = max((abs(own[column]) for column in scale_of), default=0.0)
        # Columns of percentiles, which nobody asked for, are aipl's alone.
        wrong = [column for column in others if column not in own or not equal(own[column], others[column], scale)]
        wrong += [column for column in own if column not in others and own[column] is not None]
        if wrong:
            faults.append(f"{key}: {', '.join(f'{column} {own.get(column)} and {others.get(column)}' for column in wrong)}")
    if not faults:
        return None
    return f"{name}: {one.name} and {other.name} differ in {len(faults)} of {len(left)} rows, such as\n  " + "\n  ".join(sorted(faults)[:5])


def table(found: dict[str, list[dict[str, Any]]], measures: list[str]) -> str:
    """One line a measure: the medians, of DuckDB's the least, and their ratio."""

    def median(engine: str, name: str, formulation: str) -> float:
        return float(statistics.median(run["seconds"][name][formulation] for run in found[engine]))

    lines, sums = [["measure", *(f"{engine} s" for engine in ENGINES), "ratio", "DuckDB's formulations"]], [0.0, 0.0]
    for name in measures:
        own = median("aipl", name, "")
        others = {formulation: median("duckdb", name, formulation) for formulation in found["duckdb"][0]["seconds"][name]}
        best = min(others.values())
        sums = [sums[0] + own, sums[1] + best]
        told = ", ".join(f"{formulation} {seconds:.3f}" for formulation, seconds in others.items())
        lines.append([name, f"{own:.3f}", f"{best:.3f}", f"{own / best:.2f}", told])
    lines.append(["all", f"{sums[0]:.3f}", f"{sums[1]:.3f}", f"{sums[0] / sums[1]:.2f}", ""])
    loads = [statistics.median(run["load"] for run in found[engine]) for engine in ENGINES]
    lines.append(["(load)", *(f"{load:.3f}" for load in loads), f"{loads[0] / loads[1]:.2f}", ""])
    widths = [max(len(line[column]) for line in lines) for column in range(4)] + [0]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def run(options: argparse.Namespace, work: Path) -> int:
    target = options.extended or work
    target.mkdir(parents=True, exist_ok=True)
    events = target.resolve() / "events.parquet"
    if not events.exists():
        child("extend", options.folder.resolve(), events)
    size = snapshot.read_once([events])
    print(f"{size / 1e6:.1f} MB; {options.threads} thread(s); {platform.system()} {platform.machine()}, Python {platform.python_version()}")
    found: dict[str, list[dict[str, Any]]] = {engine: [] for engine in ENGINES}
    faults: list[str] = []
    for _ in range(options.repeat):
        for engine in ENGINES:
            told = child(engine, events, options.threads, options.clustered, ",".join(options.measures), work)
            found[engine].append(json.loads(told.splitlines()[-1]))
        for name in options.measures:
            others = sorted(work.glob(f"duckdb.{name}.*.parquet"))
            faults += filter(None, (compare(name, work / f"aipl.{name}..parquet", other) for other in others))
    print(f"medians of {options.repeat}; ratio: aipl's seconds to those of DuckDB's faster formulation")
    print()
    print(table(found, options.measures))
    print()
    for fault in dict.fromkeys(faults):
        print(fault, file=sys.stderr)
    if faults:
        return 1
    print("all answers are equal")
    return 0


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    if not list(options.folder.glob("*.parquet")):
        print(f"no Parquet files in {options.folder}", file=sys.stderr)
        return 1
    missing = [engine for engine in ENGINES if not snapshot.installed(engine)]
    if missing:
        print(f"{', '.join(missing)}: not installed, and both are compared", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as work:
        try:
            return run(options, Path(work))
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        extend(*sys.argv[3:]) if sys.argv[2] == "extend" else measure(*sys.argv[2:])
    else:
        sys.exit(main())
