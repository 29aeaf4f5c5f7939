"""Memory and checksums of ingesting: is the limit kept, and what do the checksums cost?

    pip install ./python xxhash
    python benches/compare/memory.py target/bench20m [--limits 256,1024]

For each limit in MiB the folder of the generator is taken into a new bank in a process of its own. Memory is what it
has at most beyond what it had before (`ru_maxrss`). The cost of checksums is the time of hashing the bank's files
as the bank does (XXH3-128 of each file, XXH3-64 of each 256 KiB), on one thread, beside the time of the ingest and of a
cold snapshot.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHILD = """
import json, resource, sys, time, aipl
source, target, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
columns = dict(consumer="user_id", brand="brand", behavior="action", time="ts", amount="amount", rating="rating")
schema = aipl.EventSchema(**columns)
model = aipl.StageModel.preset("databank")
bank = aipl.DataBank.create(target, schema, tz="Asia/Shanghai", model=model)
events = aipl.scan_parquet(source + "/*.parquet", schema, tz="Asia/Shanghai")
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, started = peak(), time.monotonic()
report = bank.ingest(events, batch_id="all", memory_limit=limit << 20)
ingested, after = time.monotonic() - started, peak()
bank.close()
started = time.monotonic()
with aipl.DataBank.open(target) as bank:
    aipl.snapshot(bank, model, as_of="2024-06-30").counts()
print(json.dumps({"seconds": ingested, "MiB": (after - before) / 1024, "snapshot": time.monotonic() - started}))
"""


def hashing(bank: Path) -> tuple[float, int]:
    """Seconds of hashing every file as the bank does, and their bytes."""
    import xxhash

    files = [path.read_bytes() for path in bank.rglob("*") if path.is_file()]
    started = time.monotonic()
    for data in files:
        xxhash.xxh3_128_digest(data)
        for at in range(0, len(data), 256 << 10):
            xxhash.xxh3_64_digest(memoryview(data)[at : at + (256 << 10)])
    return time.monotonic() - started, sum(map(len, files))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limits", default="256,1024")
    given = parser.parse_args()
    over = False
    print("| limit MiB | peak MiB | ingest s | snapshot s | bank MiB | hashing s | of ingest | of snapshot |")
    print("|" + " ---: |" * 8)
    for limit in map(int, given.limits.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "bank")
            command = [sys.executable, "-c", CHILD, str(given.folder), str(target), str(limit)]
            told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            seconds, size = hashing(target)
        over |= told["MiB"] > 1.25 * limit
        shares = f"{seconds / told['seconds']:.1%} | {seconds / told['snapshot']:.1%}"
        row = f"{limit} | {told['MiB']:.0f} | {told['seconds']:.1f} | {told['snapshot']:.2f} | {size / 2**20:.0f}"
        print(f"| {row} | {seconds:.3f} | {shares} |", flush=True)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
