"""Public corpora against the readers: each file gives an answer or a typed refusal, in bounded memory and time.

    pip install ./python pyarrow
    python benches/corpora/run.py FOLDER [--readers parquet,ipc,csv,audience] [--limit 500] [--seconds 20] [--mib 512]

FOLDER holds checkouts of (any of them; others do no harm):

    apache/parquet-testing               apache/arrow-testing
    RoaringBitmap/RoaringFormatSpec      RoaringBitmap/CRoaring
    max-mapper/csv-spectrum              HPI-Information-Systems/Pollock

Each file and reader is a process of its own. Outcomes: ok, typed (a refusal of aipl), panic (InternalError,
PanicException or any exception that is not aipl's), abort (the process died), timeout. Exit status 1 if there is any
but ok and typed, or if a process took more memory than it should have.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import aipl

ENDINGS = {
    "parquet": (".parquet", ".parquet.encrypted"),
    "ipc": (".arrow", ".arrow_file", ".stream", ".feather"),
    "csv": (".csv", ".tsv", ".txt"),
    "audience": (".bin",),
}
DAY = "2024-07-01"
# Columns that are looked at in one file: a bound for files with thousands of them.
COLUMNS = 12


def reader_of(path: Path) -> str | None:
    """The reader that a file is for, by its name or its folder; None for other files."""
    for reader, endings in ENDINGS.items():
        if path.name.endswith(endings):
            return reader
    if "arrow-ipc" in str(path.parent) and path.suffix not in (".md", ".gz", ".json"):
        return "ipc"
    return None


def columns_of(scan, path: str) -> list[str]:
    """Names of a file's columns, as the refusal of a column that is not there lists them."""
    missing = "a column that no file has"
    schema = aipl.EventSchema(consumer=missing, brand=missing, behavior=missing, time=missing)
    try:
        return list(scan(path, schema, tz="UTC").columns)
    except aipl.ColumnNotFoundError as error:
        listed = str(error).rsplit("columns: ", 1)
        names = listed[-1] if len(listed) == 2 else str(error).rsplit(":", 1)[-1]
        return [name.strip().strip("'\"`") for name in names.split(",")][:COLUMNS]


def ask_events(scan, path: str) -> list[str]:
    """Reads every column in every role that takes it. Gives the kinds of refusal that it met."""
    met = set()
    names = columns_of(scan, path)
    model = aipl.StageModel.preset("databank")
    for number, name in enumerate(names):
        # Times are few, so each column is tried as one, beside itself and its neighbor.
        for day in dict.fromkeys((name, names[(number + 1) % len(names)])):
            try:
                schema = aipl.EventSchema(consumer=name, brand=name, behavior=name, time=day)
                events = scan(path, schema, tz="UTC")
                events.validate()
                log = events.load()
                snap = aipl.snapshot(events, model, as_of=DAY)
                repr((len(log), snap.counts().to_pydict()))
            except aipl.InternalError:
                raise
            except aipl.AiplError as error:
                met.add(type(error).__name__)
    for name in names:
        try:
            people = aipl.resolve_identities(path, [aipl.IdType(name)])
            repr((len(people), people.persons().to_pydict()))
        except aipl.InternalError:
            raise
        except (aipl.AiplError, TypeError) as error:
            met.add(type(error).__name__)
    return sorted(met)


def ask_audience(path: str) -> list[str]:
    """Gives the bytes to every place that takes an audience's."""
    met = set()
    data = Path(path).read_bytes()
    for read in (aipl.Audience.from_bytes, aipl._audience._universe):
        try:
            repr(len(read(data)))
        except aipl.InternalError:
            raise
        except aipl.AiplError as error:
            met.add(type(error).__name__)
    return sorted(met)


def ask(reader: str, path: str) -> list[str]:
    if reader == "audience":
        return ask_audience(path)
    scans = {"parquet": aipl.scan_parquet, "ipc": aipl.scan_ipc, "csv": aipl.scan_csv}
    return ask_events(scans[reader], path)


def child(reader: str, path: str, answer: int, mib: int) -> None:
    """Runs in the process of one file; tells how it went and ends."""
    # Far above what is allowed: memory is measured, and only a runaway is stopped.
    resource.setrlimit(resource.RLIMIT_AS, (16 * mib << 20, 16 * mib << 20))
    faulthandler.disable()
    warnings.simplefilter("ignore")
    try:
        met = ask(reader, path)
        told = "typed " + ",".join(met) if met else "ok"
    except aipl.InternalError as error:
        told = f"panic InternalError: {error}"
    except aipl.AiplError as error:
        told = f"typed {type(error).__name__}"
    except MemoryError:
        told = "typed MemoryError"
    except BaseException as error:  # A panic is no Exception.
        told = f"panic {type(error).__name__}: {error}"
    os.write(answer, told.encode(errors="replace")[:2000])
    os._exit(0)


def run(reader: str, path: Path, seconds: float, mib: int) -> tuple[str, str, float, float]:
    """Outcome, what was said, seconds, MiB."""
    read, write = os.pipe()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 2)
        child(reader, str(path), write, mib)
    os.close(write)
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        took = time.monotonic() - started
        if ended:
            break
        if took > seconds:
            os.kill(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            break
        time.sleep(0.002)
    said = os.read(read, 4096).decode(errors="replace")
    os.close(read)
    memory = usage.ru_maxrss / 1024
    if took > seconds:
        return "timeout", "", took, memory
    if not said:
        return "abort", f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {status}", took, memory
    return said.split(" ", 1)[0], said, took, memory


def chosen(folder: Path, readers: list[str], limit: int) -> dict[str, list[Path]]:
    """Files by reader; of many an even choice."""
    found: dict[str, list[Path]] = collections.defaultdict(list)
    for path in sorted(folder.rglob("*")):
        reader = reader_of(path) if path.is_file() and ".git" not in path.parts else None
        if reader in readers:
            found[reader].append(path)
    for files in found.values():
        count = min(limit, len(files))
        files[:] = [files[at * len(files) // count] for at in range(count)]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--readers", default=",".join(ENDINGS))
    parser.add_argument("--limit", type=int, default=10**6, help="files of a reader at most")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--mib", type=int, default=512)
    given = parser.parse_args()
    files = chosen(given.folder, given.readers.split(","), given.limit)
    os.chdir(tempfile.mkdtemp(prefix="aipl-corpora-"))
    bad = 0
    lines = ["| reader | files | ok | typed | panic | abort | timeout | over memory | most MiB | longest s |"]
    lines.append("| --- |" + " ---: |" * 9)
    for reader, paths in files.items():
        outcomes, most, longest, over = collections.Counter(), 0.0, 0.0, 0
        for path in paths:
            outcome, said, took, memory = run(reader, path, given.seconds, given.mib)
            outcomes[outcome] += 1
            most, longest = max(most, memory), max(longest, took)
            over += memory > given.mib
            if outcome not in ("ok", "typed") or memory > given.mib:
                bad += 1
                print(f"{outcome}\t{reader}\t{path}\t{took:.1f} s\t{memory:.0f} MiB\t{said[:300]}", flush=True)
        counted = " | ".join(str(outcomes[name]) for name in ("ok", "typed", "panic", "abort", "timeout"))
        lines.append(f"| {reader} | {len(paths)} | {counted} | {over} | {most:.0f} | {longest:.1f} |")
    print("\n".join(lines))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
