"""One engine, one cold query: what `snapshot.py` starts as a process of its own for every repetition.

Prints one line of JSON: the measurements, and the answer as a sorted list of [brand, stage, consumers] without zeros.
"""

import datetime as dt
import importlib
import importlib.metadata
import json
import resource
import sys
import time


def peak_mib() -> float:
    """Largest resident set of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, KiB elsewhere.
    return peak / 1024 / 1024 if sys.platform == "darwin" else peak / 1024


def main() -> None:
    name, path, as_of, threads = sys.argv[1:]
    engine = importlib.import_module(f"engines.{name}_query")
    begin = time.perf_counter()
    state = engine.prepare(int(threads))
    prepared = time.perf_counter()
    peak_prepared = peak_mib()
    table = engine.snapshot(state, path, dt.date.fromisoformat(as_of))
    done = time.perf_counter()
    # Before the answer is turned into Python objects: that may import another library.
    peak = peak_mib()
    counts = sorted(row for row in engine.rows(table) if row[2])
    result = {
        "version": importlib.metadata.version(engine.MODULE),
        "prepare_seconds": prepared - begin,
        "query_seconds": done - prepared,
        "prepared_mib": peak_prepared,
        "peak_mib": peak,
        "counts": counts,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
